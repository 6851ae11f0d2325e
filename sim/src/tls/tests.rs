//! Handshakes of the simulated world, without its network.

use std::collections::VecDeque;
use std::io::{Read, Write};

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use traject_engine::Timestamp;
use traject_engine::rng::Seed;

use super::*;

const START: Timestamp = Timestamp::from_secs(1_767_225_600);

/// A clock that stands.
#[derive(Clone, Debug)]
struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }

    async fn sleep_until(&self, _at: Timestamp) {
        std::future::pending().await
    }
}

/// A handshake at `at`: every byte of it, or why it failed.
fn transcript(seed: u64, spec: &CertificateSpec, at: Timestamp) -> Result<Vec<u8>, rustls::Error> {
    let seed = Seed::from_u64(seed);
    let _entropy = Entropy::enter(seed);
    let (pki, provider) = (Pki::new(seed, START), Arc::new(provider()));
    let mut roots = RootCertStore::empty();
    roots.add(pki.root().clone()).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
    let client = ClientConfig::builder_with_details(Arc::clone(&provider), time_of(&At(at)))
        .with_safe_default_protocol_versions()?
        .with_webpki_verifier(verifier.build().unwrap())
        .with_no_client_auth();
    let Credentials { chain, key } = pki.issue("mx.example", spec);
    let mut server = ServerConfig::builder_with_details(provider, time_of(&At(at)))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    server.send_tls13_tickets = 0;
    let name = ServerName::try_from("mx.example").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    let (mut all, mut wire) = (Vec::new(), VecDeque::new());
    client.writer().write_all(b"EHLO a\r\n").unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        all.extend(&wire);
        server.read_tls(&mut wire).unwrap();
        server.process_new_packets()?;
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        all.extend(&wire);
        client.read_tls(&mut wire).unwrap();
        client.process_new_packets()?;
    }
    let mut said = [0; 8];
    server.reader().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"EHLO a\r\n");
    Ok(all)
}

fn spec(kind: CertificateKind) -> CertificateSpec {
    CertificateSpec { kind, ..CertificateSpec::default() }
}

#[test]
fn a_handshake_is_a_function_of_the_seed() {
    let good = spec(CertificateKind::Good);
    let first = transcript(1, &good, START).unwrap();
    assert_eq!(transcript(1, &good, START).unwrap(), first);
    let other = transcript(2, &good, START).unwrap();
    assert_ne!(other, first);
    // What is drawn does not show in the sizes of packets.
    assert_eq!(other.len(), first.len());
}

/// Traces are compared between machines and builds: what goes over the wire must not change
/// unnoticed.
#[test]
fn the_bytes_of_a_handshake_are_pinned() {
    let bytes = transcript(1, &spec(CertificateKind::Good), START).unwrap();
    let hash = traject_engine::rng::entity(&bytes);
    assert_eq!((bytes.len(), format!("{hash:016x}")), (1384, "42ce5e575dfc4f3a".to_owned()));
}

#[test]
fn each_kind_of_certificate_is_wrong_in_its_own_way() {
    for (kind, expected) in [
        (CertificateKind::Good, None),
        (CertificateKind::Expired, Some("Expired")),
        (CertificateKind::NotYetValid, Some("NotValidYet")),
        (CertificateKind::SelfSigned, Some("UnknownIssuer")),
        (CertificateKind::WrongName, Some("NotValidForName")),
        (CertificateKind::UnknownIssuer, Some("UnknownIssuer")),
    ] {
        let found = transcript(1, &spec(kind), START).err();
        let found = found.map(|error| format!("{error:?}"));
        let fits = match (&found, expected) {
            (Some(found), Some(expected)) => found.contains(expected),
            (found, expected) => found.is_none() && expected.is_none(),
        };
        assert!(fits, "{kind:?}: {found:?}");
    }
}

#[test]
fn a_certificate_ends_when_the_scenario_says() {
    let expires = Duration::from_secs(129_600);
    let spec = CertificateSpec { expires: Some(expires), ..CertificateSpec::default() };
    assert!(transcript(1, &spec, START + expires).is_ok());
    assert!(transcript(1, &spec, START + expires + Duration::from_secs(1)).is_err());
}

#[test]
fn without_entropy_there_is_no_handshake() {
    let setup = |provider| {
        ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth()
    };
    let name = ServerName::try_from("mx.example").unwrap();
    let begun = ClientConnection::new(Arc::new(setup(provider())), name);
    assert_eq!(begun.err(), Some(rustls::Error::FailedToGetRandomBytes));
}
