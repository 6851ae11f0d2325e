//! Real handshakes between pumps over pipes: every way in which they end.

use std::future::poll_fn;
use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use traject_engine::Timestamp;
use traject_engine::ids::MessageId;
use traject_engine::io::NetError;
use traject_engine::tls::info::CertificateFault::{
    Expired, Invalid, Missing, NotYetValid, SelfSigned, UnknownIssuer, WrongName,
};
use traject_engine::tls::info::{CertificateFault, CipherSuite, TlsInfo, Verification};

use super::*;
use crate::memory_spool::MemorySpool;
use crate::pump::{Event, Pump};

const NOW: Timestamp = Timestamp(0);

/// Certificates made for the test, under names instead of paths.
#[derive(Debug)]
struct TestStore(Vec<(&'static str, Vec<CertificateDer<'static>>, Vec<u8>)>);

impl TestStore {
    fn new() -> Self {
        let ca = authority("Good Root");
        let other = authority("Other Root");
        let mut store = Self(Vec::new());
        store.add("ca", vec![ca.der().clone()], &[]);
        let mut leaf = |name, issuer: Option<&Authority>, change: fn(&mut CertificateParams)| {
            let mut params = CertificateParams::new(vec!["mx.example".into()]).unwrap();
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2030, 1, 1);
            params.distinguished_name.push(DnType::CommonName, name);
            change(&mut params);
            let key = KeyPair::generate().unwrap();
            let made = match issuer {
                Some(issuer) => params.signed_by(&key, issuer).unwrap(),
                None => params.self_signed(&key).unwrap(),
            };
            store.add(name, vec![made.der().clone()], &key.serialize_der());
        };
        leaf("good", Some(&ca), |_| {});
        leaf("expired", Some(&ca), |params| params.not_after = date_time_ymd(2021, 1, 1));
        leaf("early", Some(&ca), |params| params.not_before = date_time_ymd(2029, 1, 1));
        leaf("named", Some(&ca), |params| {
            params.subject_alt_names.clear();
        });
        leaf("other", Some(&other), |_| {});
        leaf("self", None, |_| {});
        leaf("self-ca", None, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        leaf("self-expired", None, |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.not_after = date_time_ymd(2021, 1, 1);
        });
        leaf("no-leaf", Some(&ca), |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)
        });
        store
    }

    fn add(&mut self, name: &'static str, chain: Vec<CertificateDer<'static>>, key: &[u8]) {
        self.0.push((name, chain, key.to_vec()));
    }

    fn find(
        &self,
        name: &str,
    ) -> Result<&(&'static str, Vec<CertificateDer<'static>>, Vec<u8>), String> {
        let found = self.0.iter().find(|(known, ..)| *known == name);
        found.ok_or_else(|| format!("cannot read {name}"))
    }
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

impl CertificateStore for TestStore {
    fn authorities(&self, file: Option<&str>) -> Result<Vec<CertificateDer<'static>>, String> {
        Ok(self.find(file.unwrap_or("ca"))?.1.clone())
    }

    fn identity(
        &self,
        identity: &Identity,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
        let key = &self.find(identity.key.as_ref().unwrap_or(&identity.certificate))?.2;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.clone()));
        Ok((self.find(&identity.certificate)?.1.clone(), key))
    }
}

/// The middle of 2026.
#[derive(Debug)]
struct FixedTime;

impl TimeProvider for FixedTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_782_000_000)))
    }
}

fn configs() -> TlsConfigs {
    TlsConfigs::new(TlsSetup {
        provider: rustls::crypto::ring::default_provider(),
        time: Arc::new(FixedTime),
        store: Box::new(TestStore::new()),
        resumption: true,
    })
}

fn everything() -> TlsOffer {
    TlsOffer {
        versions: [TlsVersion::Tls13, TlsVersion::Tls12].into(),
        suites: CipherSuite::ALL.into(),
    }
}

fn only(version: TlsVersion) -> TlsOffer {
    TlsOffer { versions: [version].into(), ..everything() }
}

fn identity(name: &str) -> Identity {
    Identity { certificate: name.into(), key: None }
}

fn client(verify: TlsVerify) -> ClientTls {
    ClientTls {
        server_name: "mx.example".into(),
        verify,
        accepted_names: ["example".into(), "mx.example".into()].into(),
        ca: None,
        identity: None,
        offer: everything(),
    }
}

fn server(certificate: &str) -> ServerTls {
    ServerTls {
        identity: identity(certificate),
        client_ca: None,
        client_required: false,
        offer: everything(),
    }
}

/// A pump with its buffer.
struct Side {
    pump: Pump<DuplexStream, MemorySpool>,
    buffer: Box<[u8]>,
}

impl Side {
    fn new(stream: DuplexStream) -> Self {
        Self { pump: Pump::new(stream), buffer: vec![0; 100].into() }
    }

    fn start(&mut self, configs: &TlsConfigs, params: &TlsParams) {
        self.pump.start_tls(configs.starter(params));
    }

    async fn next(&mut self) -> Event {
        poll_fn(|cx| self.pump.poll(NOW, cx, &mut self.buffer)).await
    }

    async fn secured(&mut self) -> Result<TlsInfo, TlsError> {
        match self.next().await {
            Event::Secured(result) => result,
            other => panic!("{other:?} during a handshake"),
        }
    }

    /// The next bytes; none at the end of the stream.
    async fn read(&mut self) -> Vec<u8> {
        match self.next().await {
            Event::Received(len) => self.buffer[..len].to_vec(),
            other => panic!("{other:?} instead of bytes"),
        }
    }

    async fn is_silent(&mut self) -> bool {
        let patience = std::time::Duration::from_secs(600);
        tokio::time::timeout(patience, self.next()).await.is_err()
    }
}

type Results = (Result<TlsInfo, TlsError>, Result<TlsInfo, TlsError>);

/// A handshake, and what each side has of it. A side that has failed closes.
async fn handshake(configs: &TlsConfigs, ours: ClientTls, theirs: ServerTls) -> Results {
    let (near, far) = duplex(200);
    let side = |stream, params: TlsParams| async move {
        let mut side = Side::new(stream);
        side.start(configs, &params);
        let result = side.secured().await;
        if result.is_ok() {
            // What the other side says of our certificate comes with its first record.
            return (result, Some(side));
        }
        side.pump.close(false);
        side.next().await;
        (result, None)
    };
    let ours = side(near, TlsParams::Client(ours.into()));
    let theirs = side(far, TlsParams::Server(theirs.into()));
    let ((ours, _ours), (theirs, _theirs)) = tokio::join!(ours, theirs);
    (ours, theirs)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn both_sides_learn_what_was_agreed_on() {
    let configs = configs();
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let ours = ClientTls { offer: only(version), ..client(TlsVerify::Host) };
        let (ours, theirs) = handshake(&configs, ours, server("good")).await;
        let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
        assert_eq!((ours.version, theirs.version), (version, version));
        assert_eq!(ours.cipher, theirs.cipher);
        assert_eq!(ours.cipher.version(), version);
        assert_eq!(ours.verification, Verification::Verified);
        assert_eq!(ours.subject.as_deref(), Some("CN=good"));
        assert_eq!(ours.issuer.as_deref(), Some("CN=Good Root"));
        assert_eq!(theirs.verification, Verification::NotChecked);
        assert_eq!((theirs.subject, theirs.issuer), (None, None));
    }
}

#[tokio::test(start_paused = true)]
async fn each_suite_can_be_agreed_on() {
    let configs = configs();
    for suite in CipherSuite::ALL {
        let offer = TlsOffer { versions: [suite.version()].into(), suites: [*suite].into() };
        let ours = ClientTls { offer, ..client(TlsVerify::No) };
        let (ours, _) = handshake(&configs, ours, server("good")).await;
        // The test's certificates have ECDSA keys.
        let expected = match suite.openssl_name().starts_with("ECDHE-RSA") {
            false => Ok((*suite, suite.version())),
            true => Err(TlsError::Alert("handshake_failure".into())),
        };
        assert_eq!(ours.map(|info| (info.cipher, info.version)), expected);
    }
}

/// What each way of checking makes of each certificate: no, optional, ca, host.
#[test]
fn certificates_are_judged_as_the_options_say() {
    let table: [(&str, Option<CertificateFault>, Option<CertificateFault>); 9] = [
        ("good", None, None),
        ("expired", Some(Expired), Some(Expired)),
        ("early", Some(NotYetValid), Some(NotYetValid)),
        ("named", None, Some(WrongName)),
        ("other", Some(UnknownIssuer), Some(UnknownIssuer)),
        ("self", Some(SelfSigned), Some(SelfSigned)),
        ("self-ca", Some(SelfSigned), Some(SelfSigned)),
        ("self-expired", Some(Expired), Some(Expired)),
        ("no-leaf", Some(Invalid), Some(Invalid)),
    ];
    let configs = configs();
    for (certificate, by_ca, by_host) in table {
        for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
            let judged = |verify| {
                let ours = ClientTls { offer: only(version), ..client(verify) };
                let (ours, theirs) =
                    runtime().block_on(handshake(&configs, ours, server(certificate)));
                if ours.is_err() && version == TlsVersion::Tls12 {
                    assert!(matches!(theirs, Err(TlsError::Alert(_))), "{theirs:?}");
                }
                ours.map(|info| info.verification)
            };
            let result = |fault: Option<CertificateFault>| match fault {
                None => Ok(Verification::Verified),
                Some(fault) => Err(TlsError::Certificate(fault)),
            };
            let optional = by_host.map_or(Verification::Verified, Verification::Failed);
            assert_eq!(judged(TlsVerify::No), Ok(Verification::NotChecked), "{certificate}");
            assert_eq!(judged(TlsVerify::Optional), Ok(optional), "{certificate}");
            assert_eq!(judged(TlsVerify::Ca), result(by_ca), "{certificate}");
            assert_eq!(judged(TlsVerify::Host), result(by_host), "{certificate}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_in_the_list_is_trusted_itself_while_its_time_lasts() {
    let configs = configs();
    for (certificate, expected) in [
        ("self", Ok(Verification::Verified)),
        ("self-ca", Ok(Verification::Verified)),
        ("self-expired", Err(TlsError::Certificate(Expired))),
    ] {
        let ours = ClientTls { ca: Some(certificate.into()), ..client(TlsVerify::Host) };
        let (ours, _) = handshake(&configs, ours, server(certificate)).await;
        assert_eq!(ours.map(|info| info.verification), expected, "{certificate}");
    }
}

#[tokio::test(start_paused = true)]
async fn any_of_the_accepted_names_will_do() {
    let configs = configs();
    for (names, expected) in [
        (vec!["example", "mx.example"], Ok(Verification::Verified)),
        (vec!["MX.Example"], Ok(Verification::Verified)),
        (vec!["example", "no name at all"], Err(TlsError::Certificate(WrongName))),
        (vec![], Err(TlsError::Certificate(WrongName))),
    ] {
        let accepted_names = names.iter().map(|name| (*name).into()).collect();
        let ours = ClientTls { accepted_names, ..client(TlsVerify::Host) };
        let (ours, _) = handshake(&configs, ours, server("good")).await;
        assert_eq!(ours.map(|info| info.verification), expected, "{names:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn clients_are_asked_and_judged_as_the_listener_says() {
    let configs = configs();
    let table: [(Option<&str>, Verification, Option<TlsError>); 4] = [
        (Some("good"), Verification::Verified, None),
        (
            Some("other"),
            Verification::Failed(UnknownIssuer),
            Some(TlsError::Certificate(UnknownIssuer)),
        ),
        (Some("expired"), Verification::Failed(Expired), Some(TlsError::Certificate(Expired))),
        (None, Verification::Failed(Missing), Some(TlsError::Certificate(Missing))),
    ];
    for (shown, asked, required) in table {
        let ours = ClientTls { identity: shown.map(identity), ..client(TlsVerify::No) };
        let theirs = ServerTls { client_ca: Some("ca".into()), ..server("good") };
        let (_, result) = handshake(&configs, ours.clone(), theirs.clone()).await;
        let result = result.unwrap();
        assert_eq!(result.verification, asked, "{shown:?}");
        assert_eq!(result.subject, shown.map(|name| format!("CN={name}").into()));
        let theirs = ServerTls { client_required: true, ..theirs };
        let (_, result) = handshake(&configs, ours, theirs).await;
        assert_eq!(result.err(), required, "{shown:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_version_in_common_the_server_says_so() {
    let configs = configs();
    let ours = ClientTls { offer: only(TlsVersion::Tls12), ..client(TlsVerify::No) };
    let theirs = ServerTls { offer: only(TlsVersion::Tls13), ..server("good") };
    let (ours, theirs) = handshake(&configs, ours, theirs).await;
    assert_eq!(ours, Err(TlsError::Alert("protocol_version".into())));
    assert_eq!(theirs, Err(TlsError::NothingInCommon));
}

/// What our client makes of a server that answers its hello with these bytes and then closes.
async fn answered(bytes: &[u8]) -> Result<TlsInfo, TlsError> {
    let (near, mut far) = duplex(4096);
    let mut side = Side::new(near);
    side.start(&configs(), &TlsParams::Client(client(TlsVerify::No).into()));
    let peer = async {
        assert!(far.read_u8().await.unwrap() == 0x16);
        far.write_all(bytes).await.unwrap();
        drop(far);
    };
    tokio::join!(side.secured(), peer).0
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_something_else_is_told_apart() {
    let alert = b"\x15\x03\x03\0\x02\x02\x28";
    assert_eq!(answered(alert).await, Err(TlsError::Alert("handshake_failure".into())));
    assert_eq!(answered(b"250 Hello\r\n").await, Err(TlsError::Garbage));
    assert_eq!(answered(b"").await, Err(TlsError::Lost));
    assert_eq!(answered(&alert[..4]).await, Err(TlsError::Lost));
    // A hello of TLS 1.1.
    let mut hello = b"\x16\x03\x02\0\x2a\x02\0\0\x26\x03\x02".to_vec();
    hello.extend([7; 32]);
    hello.extend(b"\0\xc0\x2b\0");
    assert_eq!(answered(&hello).await, Err(TlsError::NothingInCommon));
}

#[tokio::test(start_paused = true)]
async fn failures_of_our_own_say_which_file() {
    let configs = configs();
    let local = |words: &str| Err(TlsError::Local(words.into()));
    let missing = ClientTls { ca: Some("nowhere".into()), ..client(TlsVerify::Ca) };
    let no_key = ClientTls {
        identity: Some(Identity { certificate: "good".into(), key: Some("expired".into()) }),
        ..client(TlsVerify::No)
    };
    let nothing = TlsOffer { versions: Arc::default(), suites: Arc::default() };
    let nothing = ClientTls { offer: nothing, ..client(TlsVerify::No) };
    for (params, expected) in [
        (missing, "cannot read nowhere"),
        (
            no_key,
            "good and expired do not make an identity: keys may not be consistent: KeyMismatch",
        ),
        (nothing, "unexpected error: no usable cipher suites configured"),
    ] {
        let params = TlsParams::Client(params.into());
        assert_eq!(configs.load(std::slice::from_ref(&params)), local(expected));
        let (near, _far) = duplex(100);
        let mut side = Side::new(near);
        side.start(&configs, &params);
        assert_eq!(side.secured().await.map(drop), local(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_handshake_bytes_and_bodies_go_both_ways() {
    let configs = configs();
    // Smaller than a record: everything is cut.
    let (near, far) = duplex(50);
    let (mut ours, mut theirs) = (Side::new(near), Side::new(far));
    ours.pump.write(b"STARTTLS\r\n".to_vec());
    let body = b"a line of a body\r\n".repeat(20_000);
    let spool = MemorySpool::default();
    spool.stage_bytes(MessageId(7), body.clone().into());
    let near = async {
        assert_eq!(ours.read().await, b"220 b\r\n");
        ours.start(&configs, &TlsParams::Client(client(TlsVerify::Host).into()));
        ours.secured().await.unwrap();
        ours.pump.write(b"EHLO a\r\n".to_vec());
        assert_eq!(ours.read().await, b"250 b\r\n");
        ours.pump.send_body(spool, MessageId(7), NOW);
        while !matches!(ours.next().await, Event::BodyDone(Ok(_))) {}
        ours.pump.close(false);
        assert!(matches!(ours.next().await, Event::Closed(None)));
    };
    let far = async {
        assert_eq!(theirs.read().await, b"STARTTLS\r\n");
        theirs.pump.write(b"220 b\r\n".to_vec());
        theirs.start(&configs, &TlsParams::Server(server("good").into()));
        theirs.secured().await.unwrap();
        assert_eq!(theirs.read().await, b"EHLO a\r\n");
        theirs.pump.write(b"250 b\r\n".to_vec());
        let mut received = Vec::new();
        loop {
            let bytes = theirs.read().await;
            if bytes.is_empty() {
                break received;
            }
            received.extend(bytes);
        }
    };
    let ((), received) = tokio::join!(near, far);
    assert_eq!(received, [&body[..], b".\r\n"].concat());
}

/// Two sides that have shaken hands, and what they did it with.
async fn secured() -> (Side, Side) {
    let configs = configs();
    let (near, far) = duplex(4096);
    let (mut ours, mut theirs) = (Side::new(near), Side::new(far));
    ours.start(&configs, &TlsParams::Client(client(TlsVerify::No).into()));
    theirs.start(&configs, &TlsParams::Server(server("good").into()));
    let (one, two) = tokio::join!(ours.secured(), theirs.secured());
    one.and(two).unwrap();
    (ours, theirs)
}

#[tokio::test(start_paused = true)]
async fn an_orderly_end_is_told_from_a_cut() {
    let (mut ours, mut theirs) = secured().await;
    theirs.pump.close(false);
    assert!(matches!(theirs.next().await, Event::Closed(None)));
    assert_eq!(ours.read().await, b"");
    let (mut ours, theirs) = secured().await;
    drop(theirs);
    assert!(matches!(ours.next().await, Event::Closed(Some(NetError::Reset))));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_encrypted_is_not_read_after_the_handshake() {
    let (mut ours, theirs) = secured().await;
    let mut below = theirs.pump.into_stream();
    below.write_all(b"250 sent in clear\r\n").await.unwrap();
    assert!(matches!(ours.next().await, Event::Closed(Some(_))));
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_nothing_is_written_in_clear() {
    let (near, mut far) = duplex(4096);
    let mut side = Side::new(near);
    side.start(&configs(), &TlsParams::Client(client(TlsVerify::No).into()));
    far.write_all(b"this is not TLS\r\n").await.unwrap();
    assert_eq!(side.secured().await, Err(TlsError::Garbage));
    side.pump.write(b"MAIL FROM:<secret@example>\r\n".to_vec());
    assert!(side.is_silent().await);
    side.pump.close(false);
    assert!(matches!(side.next().await, Event::Closed(None)));
    drop(side);
    let mut said = Vec::new();
    far.read_to_end(&mut said).await.unwrap();
    assert!(!said.windows(4).any(|bytes| bytes == b"MAIL"));
    // The last thing said is the alert.
    assert_eq!(said[said.len() - 7..][..3], *b"\x15\x03\x03");
}

#[tokio::test(start_paused = true)]
async fn closing_does_not_wait_for_a_handshake_that_stalls() {
    let (near, far) = duplex(4096);
    let mut side = Side::new(near);
    side.start(&configs(), &TlsParams::Client(client(TlsVerify::No).into()));
    assert!(side.is_silent().await);
    for abort in [false, true] {
        side.pump.close(abort);
        assert!(matches!(side.next().await, Event::Closed(None)));
    }
    drop(far);
}

#[tokio::test(start_paused = true)]
async fn sessions_are_taken_up_by_the_configuration_that_began_them_alone() {
    let configs = configs();
    let resumed = async |params: &ClientTls| {
        let (near, far) = duplex(4096);
        let (mut ours, mut theirs) = (Side::new(near), Side::new(far));
        ours.start(&configs, &TlsParams::Client(params.clone().into()));
        theirs.start(&configs, &TlsParams::Server(server("expired").into()));
        let (ours_secured, theirs_secured) = tokio::join!(ours.secured(), theirs.secured());
        // Tickets come with what is said first.
        theirs.pump.write(b"250 b\r\n".to_vec());
        if let (Ok(info), Ok(_)) = (&ours_secured, theirs_secured) {
            let (said, ()) = tokio::join!(ours.read(), async {
                let _ =
                    tokio::time::timeout(std::time::Duration::from_secs(1), theirs.next()).await;
            });
            assert_eq!(said, b"250 b\r\n");
            return Ok(info.resumed);
        }
        ours_secured.map(|info| info.resumed)
    };
    let unchecked = client(TlsVerify::No);
    assert_eq!(resumed(&unchecked).await, Ok(false));
    assert_eq!(resumed(&unchecked).await, Ok(true));
    assert_eq!(resumed(&client(TlsVerify::Ca)).await, Err(TlsError::Certificate(Expired)));
    assert_eq!(resumed(&client(TlsVerify::Optional)).await, Ok(false));
    configs.load(&[]).unwrap();
    assert_eq!(resumed(&unchecked).await, Ok(false));
}

#[test]
fn files_are_read_and_faults_of_theirs_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let key = KeyPair::generate().unwrap();
    let made = CertificateParams::new(vec!["a.example".into()]).unwrap().self_signed(&key).unwrap();
    let both = format!("{}\n{}", made.pem(), key.serialize_pem());
    let broken = "-----BEGIN CERTIFICATE-----\nMIIB";
    for (name, text) in [
        ("cert.pem", made.pem()),
        ("key.pem", key.serialize_pem()),
        ("both.pem", both),
        ("broken.pem", broken.to_owned()),
        ("empty.pem", String::new()),
    ] {
        std::fs::write(path(name), text).unwrap();
    }
    let read = |certificate: &str, key: Option<&str>| {
        let key = key.map(|key| path(key).into());
        let identity = Identity { certificate: path(certificate).into(), key };
        let read = PemFiles.identity(&identity);
        read.map(|(chain, _)| chain.len()).map_err(|error| error.replace(&path(""), ""))
    };
    assert_eq!(read("cert.pem", Some("key.pem")), Ok(1));
    assert_eq!(read("both.pem", None), Ok(1));
    for (certificate, key, expected) in [
        ("cert.pem", None, "cert.pem has no private key: "),
        ("key.pem", None, "key.pem has no certificate"),
        ("broken.pem", None, "broken.pem is not in PEM form: "),
        ("nowhere.pem", None, "cannot read nowhere.pem: No such file"),
    ] {
        let error = read(certificate, key).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
    assert_eq!(PemFiles.authorities(Some(&path("cert.pem"))).unwrap().len(), 1);
    assert!(PemFiles.authorities(Some(&path("empty.pem"))).is_err());
}

#[test]
fn names_for_sni() {
    let address = |text: &str| ServerName::from(text.parse::<IpAddr>().unwrap());
    assert_eq!(server_name("mx.example").to_str(), "mx.example");
    assert_eq!(server_name("192.0.2.1"), address("192.0.2.1"));
    assert_eq!(server_name("no name"), address("0.0.0.0"));
}
