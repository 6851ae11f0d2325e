//! What came of a handshake.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use core::fmt;

use serde::{Deserialize, Serialize};

/// A handshake that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TlsInfo {
    /// The version agreed on.
    pub version: TlsVersion,
    /// The suite agreed on.
    pub cipher: CipherSuite,
    /// What the check of the peer's certificate found.
    pub verification: Verification,
    /// Who issued the peer's certificate, if it showed one.
    pub issuer: Option<Box<str>>,
    /// Whose the peer's certificate is, if it showed one.
    pub subject: Option<Box<str>>,
    /// An earlier session was taken up again.
    pub resumed: bool,
}

/// What a check of the peer's certificate found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Verification {
    /// Nobody looked.
    NotChecked,
    /// Everything that was to be checked is right.
    Verified,
    /// Something is wrong, and it was to have no consequence.
    Failed(CertificateFault),
}

/// Why a handshake failed. The connection is of no further use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum TlsError {
    /// The peer's certificate did not pass the check.
    Certificate(CertificateFault),
    /// The peer sent a fatal alert; its name in RFC 8446.
    Alert(Box<str>),
    /// No version or suite that both sides offer.
    NothingInCommon,
    /// The peer sent something that is not TLS, or broke the protocol.
    Garbage,
    /// The connection ended.
    Lost,
    /// A failure on our side: a file that cannot be read, a key that does not fit. The words say
    /// which.
    Local(Box<str>),
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum CertificateFault {
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// No authority that we trust issued it, directly or through others.
    UnknownIssuer,
    /// It issued itself.
    SelfSigned,
    /// Its issuer took it back.
    Revoked,
    /// It is for somebody else.
    WrongName,
    /// Anything else: a bad signature, an unusable key, a form nobody understands.
    Invalid,
    /// The peer showed none.
    Missing,
}

/// Versions of TLS that exist here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum TlsVersion {
    /// RFC 5246.
    #[serde(rename = "TLSv1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "TLSv1.3")]
    Tls13,
}

impl TlsError {
    /// What happened, in words for people.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Certificate(fault) => Cow::Borrowed(fault.text()),
            Self::Alert(name) => format!("the peer said {name}").into(),
            Self::NothingInCommon => Cow::Borrowed("no version or cipher suite in common"),
            Self::Garbage => Cow::Borrowed("the peer does not speak TLS"),
            Self::Lost => Cow::Borrowed("the connection was lost"),
            Self::Local(words) => Cow::Borrowed(words),
        }
    }
}

impl CertificateFault {
    /// What is wrong, in words for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Expired => "the certificate has expired",
            Self::NotYetValid => "the certificate is not valid yet",
            Self::UnknownIssuer => "the certificate is not signed by a trusted authority",
            Self::SelfSigned => "the certificate is self-signed",
            Self::Revoked => "the certificate was revoked",
            Self::WrongName => "the certificate is for another name",
            Self::Invalid => "the certificate is not valid",
            Self::Missing => "there is no certificate",
        }
    }
}

impl TlsVersion {
    /// Those that exist here, the newest first.
    pub const ALL: &[Self] = &[Self::Tls13, Self::Tls12];

    /// The name in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        }
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! cipher_suites {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $openssl:literal, $iana:literal, $version:ident, $bits:literal;)*) => {
        /// Cipher suites that exist here, in our order of preference.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub enum CipherSuite {
            $($(#[$doc])* #[serde(rename = $openssl)] $name,)*
        }

        impl CipherSuite {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its number in the registry of IANA.
            pub const fn code(self) -> u16 {
                match self { $(Self::$name => $code,)* }
            }

            /// What OpenSSL calls it, and `tls_ciphers`.
            pub const fn openssl_name(self) -> &'static str {
                match self { $(Self::$name => $openssl,)* }
            }

            /// What the registry of IANA calls it.
            pub const fn iana_name(self) -> &'static str {
                match self { $(Self::$name => $iana,)* }
            }

            /// The version it belongs to.
            pub const fn version(self) -> TlsVersion {
                match self { $(Self::$name => TlsVersion::$version,)* }
            }

            /// Bits of its symmetric key.
            pub const fn bits(self) -> u16 {
                match self { $(Self::$name => $bits,)* }
            }

            /// The suite with this number, if it exists here.
            pub const fn from_code(code: u16) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

cipher_suites! {
    /// AES-256 in GCM with SHA-384.
    Aes256GcmSha384 = 0x1302, "TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384", Tls13, 256;
    /// AES-128 in GCM with SHA-256.
    Aes128GcmSha256 = 0x1301, "TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256", Tls13, 128;
    /// ChaCha20 with Poly1305.
    Chacha20Poly1305Sha256 = 0x1303, "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_CHACHA20_POLY1305_SHA256", Tls13, 256;
    /// ECDHE, ECDSA, AES-256.
    EcdheEcdsaAes256GcmSha384 = 0xC02C, "ECDHE-ECDSA-AES256-GCM-SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", Tls12, 256;
    /// ECDHE, ECDSA, AES-128.
    EcdheEcdsaAes128GcmSha256 = 0xC02B, "ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", Tls12, 128;
    /// ECDHE, ECDSA, ChaCha20.
    EcdheEcdsaChacha20Poly1305 = 0xCCA9, "ECDHE-ECDSA-CHACHA20-POLY1305",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", Tls12, 256;
    /// ECDHE, RSA, AES-256.
    EcdheRsaAes256GcmSha384 = 0xC030, "ECDHE-RSA-AES256-GCM-SHA384",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", Tls12, 256;
    /// ECDHE, RSA, AES-128.
    EcdheRsaAes128GcmSha256 = 0xC02F, "ECDHE-RSA-AES128-GCM-SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", Tls12, 128;
    /// ECDHE, RSA, ChaCha20.
    EcdheRsaChacha20Poly1305 = 0xCCA8, "ECDHE-RSA-CHACHA20-POLY1305",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", Tls12, 256;
}
