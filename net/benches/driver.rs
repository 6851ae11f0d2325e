//! What a message costs on its way through the driver: a client hands messages to the engine,
//! which relays them to a sink, all on one thread, over pipes in memory and over the loopback
//! interface. `direct` is the same client talking to the sink itself: what the peers and the
//! network cost; `tls` is the relay to a sink that wants TLS, with twenty messages a connection and
//! with one, which is a handshake for each message.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use traject_engine::Engine;
use traject_engine::config::Config;
use traject_engine::dns::{DnsAnswer, DnsError, DnsErrorKind, Question};
use traject_engine::rng::Seed;
use traject_net::clock::SystemClock;
use traject_net::driver::Driver;
use traject_net::memory_spool::MemorySpool;
use traject_net::tls::TlsConfigs;
use traject_net::tokio_net::TokioNetwork;
use traject_net::world::{Clock as _, Network, Resolver, World};

/// Clients, each with a connection of its own.
const CLIENTS: u64 = 50;

/// Messages of each client in one iteration.
const MESSAGES: u64 = 20;

const BODY_BYTES: usize = 4096;

/// Pipes in memory.
#[derive(Clone, Default)]
struct Pipes(Arc<Mutex<BTreeMap<u16, mpsc::Sender<DuplexStream>>>>);

struct PipeListener(u16, AsyncMutex<mpsc::Receiver<DuplexStream>>);

impl Network for Pipes {
    type Stream = DuplexStream;
    type Listener = PipeListener;

    async fn connect(
        &self,
        _source: Option<IpAddr>,
        peer: SocketAddr,
    ) -> io::Result<(DuplexStream, SocketAddr)> {
        let (ours, theirs) = duplex(64 << 10);
        let clients = self.0.lock().unwrap()[&peer.port()].clone();
        clients.send(theirs).await.map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok((ours, (Ipv4Addr::LOCALHOST, 40_000).into()))
    }

    async fn bind(&self, local: SocketAddr, backlog: u32) -> io::Result<PipeListener> {
        let (sender, clients) = mpsc::channel(backlog as usize);
        let mut listeners = self.0.lock().unwrap();
        let port = if local.port() == 0 { 1 + listeners.len() as u16 } else { local.port() };
        listeners.insert(port, sender);
        Ok(PipeListener(port, AsyncMutex::new(clients)))
    }

    async fn accept(&self, listener: &PipeListener) -> io::Result<(DuplexStream, SocketAddr)> {
        match listener.1.lock().await.recv().await {
            Some(stream) => Ok((stream, (Ipv4Addr::LOCALHOST, 40_000).into())),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self, listener: &PipeListener) -> io::Result<SocketAddr> {
        Ok((Ipv4Addr::LOCALHOST, listener.0).into())
    }

    fn abort(&self, stream: DuplexStream) {
        drop(stream);
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }
}

/// The next hop is an address: there is nothing to be asked.
#[derive(Clone)]
struct NoDns;

impl Resolver for NoDns {
    async fn resolve(&self, question: Question) -> Result<DnsAnswer, DnsError> {
        let text = format!("{question} was asked").into();
        Err(DnsError { kind: DnsErrorKind::Timeout, ttl: Default::default(), text })
    }
}

/// A connection in clear or under TLS.
trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Io for S {}

/// Takes messages, and tells of each.
async fn sink<N: Network>(
    network: N,
    listener: N::Listener,
    tls: Option<TlsAcceptor>,
    taken: mpsc::UnboundedSender<()>,
) {
    while let Ok((stream, _)) = network.accept(&listener).await {
        let (tls, taken) = (tls.clone(), taken.clone());
        tokio::spawn(async move {
            let mut stream: Box<dyn Io> = Box::new(stream);
            stream.write_all(b"220 sink\r\n").await?;
            if let Some(stream) = take(stream, tls.is_some(), &taken).await?
                && let Some(tls) = tls
            {
                take(Box::new(tls.accept(stream).await?), false, &taken).await?;
            }
            io::Result::Ok(())
        });
    }
}

/// Serves until the end or STARTTLS; then the stream comes back.
async fn take(
    stream: Box<dyn Io>,
    offers_tls: bool,
    taken: &mpsc::UnboundedSender<()>,
) -> io::Result<Option<Box<dyn Io>>> {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    let mut in_body = false;
    while stream.read_until(b'\n', &mut line).await? > 0 {
        let reply: &[u8] = match &*line {
            b".\r\n" => {
                in_body = false;
                let _ = taken.send(());
                b"250 taken\r\n"
            }
            _ if in_body => b"",
            b"DATA\r\n" => {
                in_body = true;
                b"354 go on\r\n"
            }
            b"STARTTLS\r\n" => {
                stream.write_all(b"220 go on\r\n").await?;
                return Ok(Some(stream.into_inner()));
            }
            line if offers_tls && line.starts_with(b"EHLO") => b"250-sink\r\n250 STARTTLS\r\n",
            _ => b"250 go on\r\n",
        };
        stream.write_all(reply).await?;
        line.clear();
    }
    Ok(None)
}

/// What a sink that wants TLS shows: a certificate that nobody checks.
fn acceptor() -> TlsAcceptor {
    let key = KeyPair::generate().expect("a key");
    let made = CertificateParams::default().self_signed(&key).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
            builder.with_no_client_auth().with_single_cert(vec![made.der().clone()], key.into())
        });
    TlsAcceptor::from(Arc::new(config.expect("a good configuration")))
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Through {
    /// The client talks to the sink.
    Direct,
    /// The engine relays.
    Relay,
    /// The engine relays under TLS, so many messages a connection.
    Tls(u64),
}

/// Sends messages over one connection.
async fn client<N: Network>(network: N, server: SocketAddr) -> io::Result<()> {
    let (mut stream, _) = network.connect(None, server).await?;
    let mut reply = [0; 1024];
    let line = [&[b'x'; 70][..], b"\r\n"].concat();
    let mut body = line.repeat(BODY_BYTES / line.len());
    body.extend_from_slice(b".\r\n");
    let _ = stream.read(&mut reply).await?;
    stream.write_all(b"EHLO client\r\n").await?;
    let _ = stream.read(&mut reply).await?;
    let parts: [&[u8]; 4] =
        [b"MAIL FROM:<a@b.test>\r\n", b"RCPT TO:<c@d.test>\r\n", b"DATA\r\n", &body];
    for _ in 0..MESSAGES {
        for part in parts {
            stream.write_all(part).await?;
            let len = stream.read(&mut reply).await?;
            assert!(matches!(reply[0], b'2' | b'3'), "{}", String::from_utf8_lossy(&reply[..len]));
        }
    }
    Ok(())
}

/// One world: a sink, and the engine in front of it when it is to relay.
async fn start<N: Network>(
    network: &N,
    through: Through,
) -> io::Result<(SocketAddr, mpsc::UnboundedReceiver<()>)> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = network.bind(any, 100).await?;
    let sink_addr = network.local_addr(&listener)?;
    let (sender, taken) = mpsc::unbounded_channel();
    let tls = matches!(through, Through::Tls(_)).then(acceptor);
    tokio::spawn(sink(network.clone(), listener, tls, sender));
    let options = match through {
        Through::Direct => return Ok((sink_addr, taken)),
        Through::Relay => String::new(),
        Through::Tls(messages) => {
            format!("tls = required max_deliveries_per_connection = {messages}")
        }
    };
    let config = format!(
        "relay_hosts = ( \"127.0.0.1\" )\ngateway = \"127.0.0.1\"\nremote_smtp_port = {}\n\
         max_outbound_connections = 20 {options}\nesmtp_listener {{ listen \"127.0.0.1:0\" {{ }} }}",
        sink_addr.port(),
    );
    let config = Arc::new(Config::from_text(&config).expect("a good configuration"));
    let clock = SystemClock::start();
    let engine = Engine::new(Arc::clone(&config), Seed::from_u64(1), clock.now());
    let world = World {
        network: network.clone(),
        resolver: NoDns,
        spool: MemorySpool::default(),
        clock,
        tls: TlsConfigs::system(),
    };
    let listener = network.bind(any, 100).await?;
    let addr = network.local_addr(&listener)?;
    let (mut driver, handle) = Driver::new(engine, world, ());
    driver.listen(config.listeners()[0].id, listener);
    tokio::spawn(async move {
        let _handle = handle;
        driver.run().await.expect("the spool can be read");
    });
    Ok((addr, taken))
}

async fn relay<N: Network>(
    network: &N,
    server: SocketAddr,
    taken: &mut mpsc::UnboundedReceiver<()>,
) {
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(client(network.clone(), server));
    }
    while let Some(done) = clients.join_next().await {
        done.expect("no panic").expect("no failure");
    }
    for _ in 0..CLIENTS * MESSAGES {
        taken.recv().await;
    }
}

fn messages<N: Network>(c: &mut Criterion, name: &str, network: N) {
    let mut group = c.benchmark_group("messages");
    group.throughput(Throughput::Elements(CLIENTS * MESSAGES)).sample_size(20);
    for (name_of, through) in [
        ("direct", Through::Direct),
        ("relay", Through::Relay),
        ("tls-20", Through::Tls(20)),
        ("tls-1", Through::Tls(1)),
    ] {
        let runtime: Runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (server, mut taken) =
            runtime.block_on(start(&network, through)).expect("a world that starts");
        group.bench_function(BenchmarkId::new(name_of, name), |b| {
            b.iter(|| runtime.block_on(relay(&network, server, &mut taken)));
        });
    }
    group.finish();
}

fn bench(c: &mut Criterion) {
    messages(c, "pipes", Pipes::default());
    messages(c, "loopback", TokioNetwork);
}

criterion_group!(benches, bench);
criterion_main!(benches);
