//! A name server: every domain of `example.net` has one exchange. That of `d<n>` is at 127.0.0.1,
//! that of `t<n>` at an address of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_server::Server;
use hickory_server::net::runtime::TokioRuntimeProvider;
use hickory_server::proto::rr::rdata::{A, MX, SOA};
use hickory_server::proto::rr::{LowerName, Name, RData, Record, RecordSet, RrKey};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneHandler, ZoneType};
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::Runtime;

/// Domains `d0.example.net` to `d99.example.net`, and as many `t`.
const DOMAINS: u32 = 100;

/// A name server on a port of its own, until it is dropped.
pub(crate) struct DnsServer {
    pub(crate) address: SocketAddr,
    _runtime: Runtime,
    _server: Server<Catalog>,
}

impl DnsServer {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (address, server) = runtime.block_on(serve());
        Self { address, _runtime: runtime, _server: server }
    }
}

async fn serve() -> (SocketAddr, Server<Catalog>) {
    let origin = name("example.net.");
    let (kind, policy) = (ZoneType::Primary, AxfrPolicy::Deny);
    let zone =
        InMemoryZoneHandler::<TokioRuntimeProvider>::new(origin.clone(), zone(), kind, policy);
    let mut catalog = Catalog::new();
    catalog.upsert(LowerName::new(&origin), vec![Arc::new(zone.unwrap()) as Arc<dyn ZoneHandler>]);
    let mut server = Server::new(catalog);
    let (address, udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = udp.local_addr().unwrap();
        // The same port may be taken for TCP.
        if let Ok(tcp) = TcpListener::bind(address).await {
            break (address, udp, tcp);
        }
    };
    server.register_socket(udp);
    server.register_listener(tcp, Duration::from_secs(5), 4096);
    (address, server)
}

fn zone() -> BTreeMap<RrKey, RecordSet> {
    let mut zone = BTreeMap::new();
    let mut add = |owner: &str, data: RData| {
        let record = Record::from_rdata(name(owner), 300, data);
        let key = RrKey::new(LowerName::new(&record.name), record.record_type());
        let set = RecordSet::new(record.name.clone(), record.record_type(), 1);
        zone.entry(key).or_insert(set).insert(record, 1);
    };
    let soa = SOA::new(name("ns.example.net."), name("root.example.net."), 1, 9, 9, 9, 60);
    add("example.net.", RData::SOA(soa));
    for n in 0..DOMAINS {
        let exchange = format!("mx{n}.example.net.");
        add(&format!("d{n}.example.net."), RData::MX(MX::new(10, name(&exchange))));
        add(&exchange, RData::A(A::new(127, 0, 0, 1)));
        let exchange = format!("mx-t{n}.example.net.");
        add(&format!("t{n}.example.net."), RData::MX(MX::new(10, name(&exchange))));
        add(&exchange, RData::A(A::new(127, 1, 0, 1 + n as u8)));
    }
    zone
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}
