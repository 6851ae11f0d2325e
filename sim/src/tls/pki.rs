//! Who issues certificates in a simulated world.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ED25519, SanType, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use traject_engine::Timestamp;
use traject_engine::rng::{Purpose, Seed, entity};

/// What a certificate is like.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateSpec {
    /// What is right or wrong with it.
    pub kind: CertificateKind,
    /// When its time is over, counted from the start of the world; `None`: years later, or as its
    /// kind says.
    pub expires: Option<Duration>,
    /// The names it is for; without any, its holder's.
    pub names: Vec<Arc<str>>,
}

/// What is right or wrong with a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CertificateKind {
    /// Nothing is wrong. An intermediate authority issued it, whose certificate comes with it.
    #[default]
    Good,
    /// Its time was over a day before the start.
    Expired,
    /// Its time comes ten years after the start.
    NotYetValid,
    /// It issued itself.
    SelfSigned,
    /// It is for another name.
    WrongName,
    /// Nobody trusts its issuer.
    UnknownIssuer,
}

impl CertificateKind {
    /// All, with their names in scenarios.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("good", Self::Good),
        ("expired", Self::Expired),
        ("not_yet_valid", Self::NotYetValid),
        ("self_signed", Self::SelfSigned),
        ("wrong_name", Self::WrongName),
        ("unknown_issuer", Self::UnknownIssuer),
    ];
}

/// A certificate with its chain, and its key.
#[derive(Debug)]
pub struct Credentials {
    /// The certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key.
    pub key: PrivateKeyDer<'static>,
}

/// The authorities of a world: a function of its seed and its start.
#[derive(Debug)]
pub struct Pki {
    seed: Seed,
    start: Timestamp,
    root: Authority,
    intermediate: Authority,
    unknown: Authority,
}

type Authority = CertifiedIssuer<'static, KeyPair>;

impl Pki {
    /// The authorities of the world that starts then.
    pub fn new(seed: Seed, start: Timestamp) -> Self {
        let root = authority(&seed, start, "Simulated Root", None);
        let intermediate = authority(&seed, start, "Simulated Intermediate", Some(&root));
        let unknown = authority(&seed, start, "Unknown Root", None);
        Self { seed, start, root, intermediate, unknown }
    }

    /// The authority that everybody trusts.
    pub fn root(&self) -> &CertificateDer<'static> {
        self.root.der()
    }

    /// Issues a certificate to `holder`. Asked again, the same.
    pub fn issue(&self, holder: &str, spec: &CertificateSpec) -> Credentials {
        let names = match spec.kind {
            CertificateKind::WrongName => vec!["somebody-else.invalid".to_owned()],
            _ if spec.names.is_empty() => vec![holder.to_owned()],
            _ => spec.names.iter().map(|name| name.to_string()).collect(),
        };
        let mut params = params(self.start, holder);
        // Names that no certificate can be for, such as paths of files, are left out.
        let names = names.into_iter().filter_map(|name| name.try_into().ok());
        params.subject_alt_names = names.map(SanType::DnsName).collect();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let start = Duration::from_micros(self.start.as_micros());
        match spec.kind {
            CertificateKind::Expired => {
                params.not_after = date_time_ymd(1970, 1, 1) + start.saturating_sub(DAY)
            }
            CertificateKind::NotYetValid => {
                params.not_before = date_time_ymd(1970, 1, 1) + (start + DAY * 3652)
            }
            _ => {}
        }
        if let Some(expires) = spec.expires {
            params.not_after = date_time_ymd(1970, 1, 1) + (start + expires);
        }
        let key = key(&self.seed, holder);
        let issued = match spec.kind {
            CertificateKind::SelfSigned => params.self_signed(&key),
            CertificateKind::UnknownIssuer => params.signed_by(&key, &self.unknown),
            _ => params.signed_by(&key, &self.intermediate),
        };
        // Unwrap is OK because nothing of this depends on what comes from outside.
        let mut chain = vec![issued.expect("signing with a key of ours").der().clone()];
        let is_below_root =
            !matches!(spec.kind, CertificateKind::SelfSigned | CertificateKind::UnknownIssuer);
        if is_below_root {
            chain.push(self.intermediate.der().clone());
        }
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Credentials { chain, key }
    }
}

fn authority(seed: &Seed, start: Timestamp, name: &str, issuer: Option<&Authority>) -> Authority {
    let mut params = params(start, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = key(seed, name);
    let made = match issuer {
        None => CertifiedIssuer::self_signed(params, key),
        Some(issuer) => CertifiedIssuer::signed_by(params, key, issuer),
    };
    // Unwrap is OK because nothing of this depends on what comes from outside.
    made.expect("signing with a key of ours")
}

/// A certificate that began a month before the start and lasts for years.
fn params(start: Timestamp, name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    let start = Duration::from_micros(start.as_micros());
    params.not_before = date_time_ymd(1970, 1, 1) + start.saturating_sub(DAY * 30);
    params.not_after = date_time_ymd(1970, 1, 1) + (start + DAY * 7305);
    params.serial_number = Some(SerialNumber::from(entity(name.as_bytes()) >> 1));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Traject Simulator");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Ed25519, whose signatures all have one length: packets have the same sizes in every run.
fn key(seed: &Seed, name: &str) -> KeyPair {
    let mut der = ED25519_PKCS8.to_vec();
    let entity = entity(name.as_bytes()) | KEYS;
    der.extend((0..4).flat_map(|n| seed.draw(Purpose::Tls, entity, n).to_le_bytes()));
    let key = PrivatePkcs8KeyDer::from(der);
    // Unwrap is OK because any 32 bytes are a key.
    KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ED25519).expect("a key")
}

/// What comes before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410 section 7).
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// Keeps the draws of keys apart from those of handshakes.
const KEYS: u64 = 1;

const DAY: Duration = Duration::from_secs(86_400);
