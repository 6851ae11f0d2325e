//! The resolver against a real name server on the loopback interface.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hickory_server::Server;
use hickory_server::net::runtime::TokioRuntimeProvider as ServerRuntime;
use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, MX, SOA, TXT};
use hickory_server::proto::rr::{LowerName, Record, RecordSet, RrKey};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneHandler, ZoneType};
use tokio::net::{TcpListener, UdpSocket};

use super::*;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// (owner, TTL, data) of the zone `example.org`. Its negative answers hold for 120 s.
fn zone() -> Vec<(&'static str, u32, RData)> {
    let soa = SOA::new(name("ns.example.org."), name("root.example.org."), 1, 9, 9, 9, 120);
    let cname = |target| RData::CNAME(CNAME(name(target)));
    let mx = |preference, exchange| RData::MX(MX::new(preference, name(exchange)));
    let v6 = "2001:db8::1".parse().unwrap();
    let mut zone = vec![
        ("example.org.", 7200, RData::SOA(soa)),
        ("example.org.", 300, mx(20, "mx2.example.org.")),
        ("example.org.", 300, mx(10, "MX1.Example.ORG.")),
        ("null.example.org.", 60, mx(0, ".")),
        ("alias.example.org.", 40, cname("example.org.")),
        ("mx1.example.org.", 600, RData::A(A::new(192, 0, 2, 1))),
        ("mx1.example.org.", 600, RData::A(A::new(192, 0, 2, 2))),
        ("mx1.example.org.", 500, RData::AAAA(AAAA(v6))),
        ("mx2.example.org.", 600, RData::A(A::new(192, 0, 2, 3))),
        ("www.example.org.", 700, cname("far.example.org.")),
        ("far.example.org.", 50, cname("mx2.example.org.")),
        ("text.example.org.", 60, RData::TXT(TXT::new(vec!["no mail here".into()]))),
    ];
    // Does not fit a datagram.
    zone.extend((0..90).map(|n| {
        let exchange = name(&format!("a-long-name-of-exchange-{n}.example.org."));
        ("large.example.org.", 60, RData::MX(MX::new(n, exchange)))
    }));
    zone
}

/// A name server that knows [`zone`] and refuses to talk about anything else.
async fn name_server() -> (SocketAddr, Server<Catalog>) {
    let mut records = BTreeMap::new();
    for (owner, ttl, data) in zone() {
        let record = Record::from_rdata(name(owner), ttl, data);
        let key = RrKey::new(LowerName::new(&record.name), record.record_type());
        let set = || RecordSet::new(record.name.clone(), record.record_type(), 1);
        records.entry(key).or_insert_with(set).insert(record.clone(), 1);
    }
    let origin = name("example.org.");
    let (kind, policy) = (ZoneType::Primary, AxfrPolicy::Deny);
    let zone =
        InMemoryZoneHandler::<ServerRuntime>::new(origin.clone(), records, kind, policy).unwrap();
    let mut catalog = Catalog::new();
    catalog.upsert(LowerName::new(&origin), vec![Arc::new(zone) as Arc<dyn ZoneHandler>]);
    let mut server = Server::new(catalog);
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = udp.local_addr().unwrap();
    let tcp = TcpListener::bind(address).await.unwrap();
    server.register_socket(udp);
    server.register_listener(tcp, Duration::from_secs(5), 4096);
    (address, server)
}

fn resolver(server: SocketAddr) -> DnsResolver {
    DnsResolver::new(&Upstream::from_option(Some(&server.to_string()))).unwrap()
}

fn mx(name: &str) -> Question {
    Question::Mx(name.into())
}

fn addresses(name: &str) -> Question {
    Question::Addresses(name.into())
}

/// One line: what was found, its TTL in seconds.
fn line(result: &Result<DnsAnswer, DnsError>) -> String {
    let mut line = String::new();
    match result {
        Ok(answer) => {
            match &answer.data {
                DnsData::Mx(records) => {
                    let mut records = records.clone();
                    records.sort();
                    for MxRecord { preference, exchange } in &records {
                        write!(line, "{preference} {exchange}, ").unwrap();
                    }
                }
                DnsData::Addresses(addresses) => {
                    let mut addresses = addresses.clone();
                    addresses.sort();
                    for address in &addresses {
                        write!(line, "{address}, ").unwrap();
                    }
                }
            }
            write!(line, "for {} s", answer.ttl.as_secs()).unwrap();
        }
        Err(error) => write!(line, "{:?} for {} s", error.kind, error.ttl.as_secs()).unwrap(),
    }
    line
}

#[tokio::test]
async fn questions_are_answered_as_the_zone_says() {
    let (address, _server) = name_server().await;
    let resolver = resolver(address);
    let cases = [
        (mx("example.org"), "10 mx1.example.org, 20 mx2.example.org, for 300 s"),
        (mx("null.example.org"), "0 , for 60 s"),
        (mx("alias.example.org"), "10 mx1.example.org, 20 mx2.example.org, for 40 s"),
        (mx("nobody.example.org"), "NxDomain for 120 s"),
        (mx("text.example.org"), "NoData for 120 s"),
        (mx("elsewhere.test"), "ServFail for 0 s"),
        (addresses("mx1.example.org"), "192.0.2.1, 192.0.2.2, 2001:db8::1, for 500 s"),
        (addresses("mx2.example.org"), "192.0.2.3, for 600 s"),
        (addresses("www.example.org"), "192.0.2.3, for 50 s"),
        (addresses("nobody.example.org"), "NxDomain for 120 s"),
        (addresses("text.example.org"), "NoData for 120 s"),
        (addresses("a..b"), "NxDomain for 0 s"),
        (addresses(&"x".repeat(64)), "NxDomain for 0 s"),
    ];
    for (question, expected) in cases {
        assert_eq!(line(&resolver.resolve(question.clone()).await), expected, "{question}");
    }
}

#[tokio::test]
async fn an_answer_too_large_for_a_datagram_is_fetched_over_tcp() {
    let (address, _server) = name_server().await;
    let answer = resolver(address).resolve(mx("large.example.org")).await.unwrap();
    let DnsData::Mx(records) = answer.data else { panic!("{answer:?}") };
    assert_eq!(records.len(), 90);
}

#[tokio::test]
async fn a_server_that_fails_is_not_one_that_knows_of_nothing() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let resolver = resolver(socket.local_addr().unwrap());
    tokio::spawn(async move {
        let mut packet = [0; 512];
        loop {
            let (len, peer) = socket.recv_from(&mut packet).await.unwrap();
            packet[2] |= 0x80; // QR: a response
            packet[3] = 0x82; // RA, and the code SERVFAIL
            socket.send_to(&packet[..len], peer).await.unwrap();
        }
    });
    assert_eq!(line(&resolver.resolve(mx("example.org")).await), "ServFail for 0 s");
    assert_eq!(line(&resolver.resolve(addresses("example.org")).await), "ServFail for 0 s");
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_and_no_server_time_out() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let silent_resolver = resolver(silent.local_addr().unwrap());
    assert_eq!(line(&silent_resolver.resolve(mx("example.org")).await), "Timeout for 0 s");

    let nobody = silent.local_addr().unwrap();
    drop(silent);
    assert_eq!(line(&resolver(nobody).resolve(mx("example.org")).await), "Timeout for 0 s");
}

#[test]
fn one_family_is_enough_and_the_vaguer_failure_decides() {
    let found = |address: &str, ttl| {
        let data = DnsData::Addresses(vec![address.parse().unwrap()]);
        Ok(DnsAnswer { data, ttl: Duration::from_secs(ttl) })
    };
    let failed = |kind, ttl| Err(DnsError { kind, ttl: Duration::from_secs(ttl), text: "".into() });
    use DnsErrorKind::{NoData, NxDomain, ServFail, Timeout};
    let cases = [
        (found("192.0.2.1", 9), found("::1", 8), "192.0.2.1, ::1, for 8 s"),
        (found("192.0.2.1", 9), failed(NoData, 3), "192.0.2.1, for 9 s"),
        (failed(ServFail, 0), found("::1", 8), "::1, for 8 s"),
        (failed(NoData, 5), failed(NoData, 3), "NoData for 3 s"),
        (failed(NxDomain, 5), failed(NxDomain, 5), "NxDomain for 5 s"),
        (failed(NxDomain, 5), failed(NoData, 3), "NoData for 3 s"),
        (failed(NoData, 5), failed(ServFail, 0), "ServFail for 0 s"),
        (failed(ServFail, 0), failed(Timeout, 0), "Timeout for 0 s"),
        (failed(Timeout, 0), failed(NxDomain, 5), "Timeout for 0 s"),
    ];
    for (v4, v6, expected) in cases {
        let both = format!("{} and {}", line(&v4), line(&v6));
        assert_eq!(line(&both_families(v4, v6)), expected, "{both}");
    }
}

#[test]
fn upstreams_are_told_apart() {
    let server = |text: &str| Upstream::Server(text.parse().unwrap());
    let cases = [
        (None, Upstream::System),
        (Some("127.0.0.1:5353"), server("127.0.0.1:5353")),
        (Some("[::1]:5353"), server("[::1]:5353")),
        (Some("192.0.2.53"), server("192.0.2.53:53")),
        (Some("::1"), server("[::1]:53")),
        (Some("/etc/other.conf"), Upstream::File("/etc/other.conf".into())),
    ];
    for (option, upstream) in cases {
        assert_eq!(Upstream::from_option(option), upstream);
    }
}

#[test]
fn resolv_conf_without_a_server_means_this_machine() {
    let servers = |text: &str| {
        let (config, _) = parse(text.as_bytes()).unwrap();
        config.name_servers().iter().map(|server| server.ip.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(servers("nameserver 192.0.2.1\n nameserver ::1"), ["192.0.2.1", "::1"]);
    assert_eq!(servers("search example.org"), ["127.0.0.1"]);
    assert_eq!(servers(""), ["127.0.0.1"]);
}

#[tokio::test]
async fn a_file_that_was_asked_for_must_be_there() {
    let error = DnsResolver::new(&Upstream::File("/nowhere/resolv.conf".into())).unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/resolv.conf: "), "{error}");
}
