//! What becomes of mail when TLS does not: the one decision about it.

use alloc::format;

use serde::{Deserialize, Serialize};

use super::info::{CertificateFault, TlsError};
use crate::smtp::reply::{EnhancedCode, Reply};

/// `tls`: whether outbound connections use STARTTLS.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum TlsMode {
    /// Never, even where it is offered.
    #[default]
    No,
    /// Where it is offered.
    #[serde(rename = "ifavailable")]
    IfAvailable,
    /// Always: mail waits rather than go in clear.
    Required,
}

/// What a pair wants: `tls` and `tls_ifavailable_fallback`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TlsPolicy {
    /// `tls`.
    pub mode: TlsMode,
    /// `tls_ifavailable_fallback`: rather in clear than late.
    pub fallback: bool,
}

/// What is said to a server after its reply to EHLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Nothing about TLS.
    InClear,
    /// STARTTLS.
    StartTls,
    /// Goodbye: it does not offer what is required.
    GiveUp,
}

/// Why there is no TLS, as far as it decides anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum TlsFault {
    /// The server did not offer STARTTLS.
    NotOffered,
    /// It offered STARTTLS and refused it.
    Refused,
    /// The handshake failed, or did not end in time.
    Negotiation,
    /// The server's certificate did not pass the check.
    Certificate,
    /// We cannot do what the configuration asks for: a file is missing, a key does not fit.
    Local,
}

impl TlsFault {
    /// All of them.
    pub const ALL: &[Self] =
        &[Self::NotOffered, Self::Refused, Self::Negotiation, Self::Certificate, Self::Local];
}

/// What follows from a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Consequence {
    /// Nothing: the mail goes in clear over the connection there is.
    InClear,
    /// The mail goes in clear, at once and over a new connection.
    Fallback,
    /// The address is of no use for this mail: another one, or later.
    Unfit,
}

impl TlsPolicy {
    /// What to say to a server, by whether it offers STARTTLS.
    pub const fn opening(self, offered: bool) -> Opening {
        match (self.mode, offered) {
            (TlsMode::No, _) | (TlsMode::IfAvailable, false) => Opening::InClear,
            (TlsMode::IfAvailable | TlsMode::Required, true) => Opening::StartTls,
            (TlsMode::Required, false) => Opening::GiveUp,
        }
    }

    /// What follows from a fault.
    ///
    /// A certificate that does not pass is never a reason to go in clear: checking it would mean
    /// nothing then (decision D12). Nor is a mistake in our own configuration.
    pub const fn consequence(self, fault: TlsFault) -> Consequence {
        match (self.mode, fault) {
            (TlsMode::No, _) | (TlsMode::IfAvailable, TlsFault::NotOffered) => Consequence::InClear,
            (TlsMode::IfAvailable, TlsFault::Refused | TlsFault::Negotiation) => {
                match self.fallback {
                    true => Consequence::Fallback,
                    false => Consequence::Unfit,
                }
            }
            (TlsMode::IfAvailable, TlsFault::Certificate | TlsFault::Local)
            | (TlsMode::Required, _) => Consequence::Unfit,
        }
    }
}

/// Why there is no TLS, with everything that is known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsFailure {
    /// The server did not offer STARTTLS.
    NotOffered,
    /// It refused STARTTLS with this reply.
    Refused(Reply),
    /// It fell silent.
    Stalled,
    /// The handshake failed.
    Failed(TlsError),
}

impl TlsFailure {
    /// What decides what follows.
    pub const fn fault(&self) -> TlsFault {
        match self {
            Self::NotOffered => TlsFault::NotOffered,
            Self::Refused(_) => TlsFault::Refused,
            Self::Failed(TlsError::Certificate(_)) => TlsFault::Certificate,
            Self::Failed(TlsError::Local(_)) => TlsFault::Local,
            Self::Stalled
            | Self::Failed(
                TlsError::Alert(_) | TlsError::NothingInCommon | TlsError::Garbage | TlsError::Lost,
            ) => TlsFault::Negotiation,
        }
    }

    /// The words for mail that has to wait because of it. All of them are transient.
    pub fn reply(&self) -> Reply {
        let (code, enhanced) = (451, EnhancedCode(4, 7, 5));
        match self {
            Self::NotOffered => {
                let text = "STARTTLS required but not advertised";
                Reply::local(451, EnhancedCode(4, 7, 6), text)
            }
            Self::Refused(reply) => {
                let text = format!("no go-ahead for STARTTLS: {reply}");
                Reply::local(code, enhanced, &text)
            }
            Self::Stalled => {
                Reply::local(code, enhanced, "TLS negotiation failed: no answer in time")
            }
            Self::Failed(TlsError::Certificate(fault)) => {
                Reply::local(certificate_code(*fault), enhanced, fault.text())
            }
            Self::Failed(error) => {
                let text = format!("TLS negotiation failed: {}", error.text());
                Reply::local(code, enhanced, &text)
            }
        }
    }
}

/// The code for a certificate fault, as the original documents them.
const fn certificate_code(fault: CertificateFault) -> u16 {
    match fault {
        CertificateFault::Expired | CertificateFault::NotYetValid => 454,
        CertificateFault::UnknownIssuer
        | CertificateFault::SelfSigned
        | CertificateFault::Revoked
        | CertificateFault::WrongName
        | CertificateFault::Invalid
        | CertificateFault::Missing => 451,
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::*;

    const NO: TlsPolicy = TlsPolicy { mode: TlsMode::No, fallback: true };
    const IF_AVAILABLE: TlsPolicy = TlsPolicy { mode: TlsMode::IfAvailable, fallback: true };
    const NO_FALLBACK: TlsPolicy = TlsPolicy { mode: TlsMode::IfAvailable, fallback: false };
    const REQUIRED: TlsPolicy = TlsPolicy { mode: TlsMode::Required, fallback: true };

    #[test]
    fn the_whole_table() {
        use Consequence::{Fallback, InClear, Unfit};
        let policies = [NO, IF_AVAILABLE, NO_FALLBACK, REQUIRED];
        let table = [
            (TlsFault::NotOffered, [InClear, InClear, InClear, Unfit]),
            (TlsFault::Refused, [InClear, Fallback, Unfit, Unfit]),
            (TlsFault::Negotiation, [InClear, Fallback, Unfit, Unfit]),
            (TlsFault::Certificate, [InClear, Unfit, Unfit, Unfit]),
            (TlsFault::Local, [InClear, Unfit, Unfit, Unfit]),
        ];
        assert_eq!(table.map(|(fault, _)| fault), TlsFault::ALL);
        for (fault, row) in table {
            let found: Vec<_> = policies.iter().map(|policy| policy.consequence(fault)).collect();
            assert_eq!(found, row, "{fault:?}");
        }
        // Neither fallback nor its absence means anything to the other modes.
        for fault in TlsFault::ALL {
            for mode in [TlsMode::No, TlsMode::Required] {
                let with = |fallback| TlsPolicy { mode, fallback }.consequence(*fault);
                assert_eq!(with(true), with(false), "{mode:?} {fault:?}");
            }
        }
    }

    #[test]
    fn starttls_is_said_where_it_is_wanted_and_offered() {
        for (policy, offered, not_offered) in [
            (NO, Opening::InClear, Opening::InClear),
            (IF_AVAILABLE, Opening::StartTls, Opening::InClear),
            (NO_FALLBACK, Opening::StartTls, Opening::InClear),
            (REQUIRED, Opening::StartTls, Opening::GiveUp),
        ] {
            assert_eq!((policy.opening(true), policy.opening(false)), (offered, not_offered));
        }
    }

    #[test]
    fn failures_have_a_fault_and_words() {
        let refused = TlsFailure::Refused(Reply::local(454, EnhancedCode(4, 7, 0), "not now"));
        let failed = TlsFailure::Failed;
        let certificate = |fault| failed(TlsError::Certificate(fault));
        for (failure, fault, words) in [
            (
                TlsFailure::NotOffered,
                TlsFault::NotOffered,
                "451 4.7.6 STARTTLS required but not advertised",
            ),
            (refused, TlsFault::Refused, "451 4.7.5 no go-ahead for STARTTLS: 454 4.7.0 not now"),
            (
                TlsFailure::Stalled,
                TlsFault::Negotiation,
                "451 4.7.5 TLS negotiation failed: no answer in time",
            ),
            (
                failed(TlsError::Alert("handshake_failure".into())),
                TlsFault::Negotiation,
                "451 4.7.5 TLS negotiation failed: the peer said handshake_failure",
            ),
            (
                failed(TlsError::NothingInCommon),
                TlsFault::Negotiation,
                "451 4.7.5 TLS negotiation failed: no version or cipher suite in common",
            ),
            (
                failed(TlsError::Garbage),
                TlsFault::Negotiation,
                "451 4.7.5 TLS negotiation failed: the peer does not speak TLS",
            ),
            (
                failed(TlsError::Lost),
                TlsFault::Negotiation,
                "451 4.7.5 TLS negotiation failed: the connection was lost",
            ),
            (
                failed(TlsError::Local("cannot read /k".into())),
                TlsFault::Local,
                "451 4.7.5 TLS negotiation failed: cannot read /k",
            ),
            (
                certificate(CertificateFault::Expired),
                TlsFault::Certificate,
                "454 4.7.5 the certificate has expired",
            ),
            (
                certificate(CertificateFault::NotYetValid),
                TlsFault::Certificate,
                "454 4.7.5 the certificate is not valid yet",
            ),
            (
                certificate(CertificateFault::WrongName),
                TlsFault::Certificate,
                "451 4.7.5 the certificate is for another name",
            ),
        ] {
            assert_eq!(failure.fault(), fault, "{failure:?}");
            assert_eq!(failure.reply().to_string(), words);
            assert!(failure.reply().local, "{failure:?}");
        }
    }
}
