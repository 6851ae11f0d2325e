//! `traject daemon`: deliver mail.

use std::fs::File;
use std::future::pending;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use traject_engine::config::{Config, Sources};
use traject_engine::ids::ListenerId;
use traject_engine::record::Event;
use traject_engine::rng::Seed;
use traject_engine::{Engine, Input, Output, Timestamp};
use traject_net::clock::SystemClock;
use traject_net::driver::{Driver, Handle, Observer};
use traject_net::resolve::{DnsResolver, Upstream};
use traject_net::spool::Journal;
use traject_net::tls::TlsConfigs;
use traject_net::tokio_net::TokioNetwork;
use traject_net::world::{Clock as _, Network as _, World};

use crate::account::Account;
use crate::control;
use crate::control::metrics::Metrics;
use crate::control::trace::Traces;
use crate::error::{CommandError, ErrorKind};
use crate::logs::{self, Logs};
use crate::notify::{Notify, Tell};
use crate::process_log::LogFormat;
use crate::reload::{InForce, Reloader};

/// Receive and deliver mail
///
/// Runs in the foreground until SIGTERM or SIGINT: then it accepts nothing more, finishes what is
/// under way and exits. A second signal ends it at once; mail it had accepted is in the spool and
/// goes on with the next start. SIGHUP opens the logs anew and reads the configuration again: one
/// with errors is refused, and the old one stays in force.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  traject daemon /etc/traject/ecelerity.conf
  traject daemon --records /var/log/traject/records.jsonl ecelerity.conf
  traject daemon --mainlog mainlog.ec --bouncelog bouncelog.ec ecelerity.conf
  traject daemon --control /run/traject/control.sock --metrics 127.0.0.1:9725 ecelerity.conf

Records tell everything that happens to a message; docs/logs.md describes every form of them. What
a person should know goes to standard error; RUST_LOG sets how much (error, warn, info, debug).

Exits with 0 after a signal, with 2 if the system refuses something (a port, the spool) and with 3
if the configuration cannot be used.")]
pub(crate) struct Args {
    /// The configuration file
    #[arg(value_name = "CONFIG")]
    config: String,

    /// How long to finish what is under way after the first signal
    #[arg(long, alias = "grace", value_name = "SECONDS", default_value_t = 10)]
    drain: u64,

    /// The form of what standard error is told about the process
    #[arg(long, value_enum, value_name = "FORM", default_value = "text")]
    log_format: LogFormat,

    #[command(flatten)]
    logs: logs::Args,

    #[command(flatten)]
    control: control::Args,
}

/// Runs the daemon until it is told to end.
pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    args.log_format.start();
    deliver(args).map_err(|error| args.log_format.tell_end(error))
}

fn deliver(args: &Args) -> Result<(), CommandError> {
    let (config, sources) = args.log_format.load(&args.config)?;
    raise_file_limit();
    let config = Arc::new(config);
    let clock = SystemClock::start();
    let account = Account::wanted(&config.security_options())
        .map_err(|error| CommandError::new(ErrorKind::Config, error))?;
    let system = |error: anyhow::Error| account.explain(error);
    // The engine is one task and does its own reading and writing; whatever may block has threads
    // of its own. More threads here would only hand sockets to and fro.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")
        .map_err(system)?;
    // Ports first: the account may not be allowed to bind them. Everything else is opened by the
    // account that has to open it again later.
    let sockets = match account.is_another() {
        true => {
            let sockets = runtime.block_on(bind(&config)).map_err(system)?;
            account.assume().map_err(system)?;
            Some(sockets)
        }
        false => None,
    };
    account.tell();
    let logs = Logs::open(&args.logs, Arc::clone(&config), clock).map_err(system)?;
    let config = (config, Arc::new(sources));
    runtime.block_on(serve(args, config, sockets, (logs, clock))).map_err(system)
}

async fn serve(
    args: &Args,
    (config, sources): (Arc<Config>, Arc<Sources>),
    sockets: Option<Sockets>,
    (logs, clock): (Logs, SystemClock),
) -> anyhow::Result<()> {
    let grace = Duration::from_secs(args.drain);
    let mut signals = Signals::new().context("cannot wait for signals")?;
    let server = config.server_options();
    let spool = Journal::open(Path::new(&*server.spool_base))
        .with_context(|| format!("cannot use the spool in {}", server.spool_base))?;
    let upstream = Upstream::from_option(server.resolv_conf.as_deref());
    let resolver = DnsResolver::new(&upstream).context("cannot ask the DNS")?;
    let tls = TlsConfigs::system();
    tls.load(&config.tls_params()).map_err(|error| anyhow!("TLS: {}", error.text()))?;
    let in_force = InForce { config: Arc::clone(&config), sources };
    let (path, notify) = (args.config.as_str(), Notify::from_env());
    let reloader = Arc::new(Reloader::new(path, in_force, tls.clone(), logs.reopeners(), notify));
    let control = control::bind(&args.control, Path::new(&*server.spool_base))?;
    let world = World { network: TokioNetwork, resolver, spool, clock, tls };
    let sockets = match sockets {
        Some(sockets) => sockets,
        None => bind(&config).await?,
    };
    let seed = seed().context("cannot read random bytes")?;
    let engine = Engine::new(Arc::clone(&config), seed, world.clock.now());
    let (metrics, traces) = (Arc::new(Metrics::default()), Arc::new(Traces::default()));
    let log = Log { logs, metrics: Arc::clone(&metrics) };
    let (mut driver, handle) = Driver::new(engine, world, (log, traces.observer()));
    for (listener, socket) in sockets {
        tracing::info!("listening on {}", socket.local_addr()?);
        driver.listen(listener, socket);
    }
    let (control_handle, reloads) = (handle.clone(), Arc::clone(&reloader));
    let started = clock.now();
    let daemon = control::Daemon {
        handle: control_handle,
        reloader: reloads,
        metrics,
        traces,
        clock,
        started,
    };
    let _control = control.serve(daemon)?;
    reloader.tell(Tell::Ready);
    let mut run = std::pin::pin!(driver.run());
    let finished = tokio::select! {
        biased;
        finished = &mut run => finished,
        () = obey(&handle, &mut signals, grace, &reloader) => run.await,
    };
    let engine = finished.map_err(|error| anyhow!("cannot read the spool: {error:?}"))?.machine;
    tracing::info!(messages = engine.snapshot().messages, "ended; messages left are in the spool");
    Ok(())
}

/// Completes when the driver has to stop, having been drained as far as signals and time allow.
/// While a driver drains it may end by itself before.
async fn obey<P, C>(
    handle: &Handle<Engine, P, C>,
    signals: &mut Signals,
    grace: Duration,
    reloader: &Reloader,
) where
    P: traject_net::world::Spool,
    C: traject_net::world::Clock,
{
    while signals.next().await == Told::Reload {
        // What became of it is in the log.
        let _ = reloader.reload(handle).await;
    }
    reloader.tell(Tell::Stopping);
    tracing::info!("ending: no new connections; again to end at once");
    // The driver takes this, or has ended.
    let _ = handle.drain().await;
    tokio::select! {
        biased;
        () = signals.end() => tracing::warn!("ending at once"),
        () = tokio::time::sleep(grace) => {
            tracing::warn!("ending with connections open: {} s have passed", grace.as_secs());
        }
    }
    let _ = handle.stop().await;
}

/// Where clients connect.
type Sockets = Vec<(ListenerId, TcpListener)>;

async fn bind(config: &Config) -> anyhow::Result<Sockets> {
    let mut sockets = Vec::new();
    for endpoint in config.listeners() {
        for address in endpoint.addresses.iter() {
            let socket = TokioNetwork.bind(*address, endpoint.backlog).await;
            sockets.push((
                endpoint.id,
                socket.with_context(|| format!("cannot listen on {address}"))?,
            ));
        }
    }
    Ok(sockets)
}

/// What a signal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// To read the configuration again.
    Reload,
    /// To end.
    End,
}

/// The signals a daemon listens to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        let arrived = tokio::select! {
            arrived = self.terminate.recv() => arrived.map(|()| Told::End),
            arrived = self.interrupt.recv() => arrived.map(|()| Told::End),
            arrived = self.hangup.recv() => arrived.map(|()| Told::Reload),
        };
        match arrived {
            Some(told) => told,
            // Without a runtime's signal driver there are no signals.
            None => pending().await,
        }
    }

    async fn end(&mut self) {
        while self.next().await != Told::End {}
    }
}

/// Writes the records down, and tells a person about trouble of our own.
struct Log {
    logs: Logs,
    metrics: Arc<Metrics>,
}

impl Observer for Log {
    fn input(&mut self, _now: Timestamp, input: &Input<'_>) {
        if let Input::Reload(config) = input {
            self.logs.reconfigure(Arc::clone(config));
        }
    }

    fn output(&mut self, _now: Timestamp, output: &Output) {
        let Output::Record(record) = output else { return };
        self.logs.add(record);
        self.metrics.count(record);
        match &record.event {
            Event::SpoolFailure { message, error } => {
                tracing::error!(%message, ?error, "the spool refused a write");
            }
            Event::DnsFailure { question, error, text } => {
                tracing::debug!(%question, ?error, %text, "no answer from the DNS");
            }
            Event::QueueDelayed { pair, recipients, reply, .. } => {
                let (binding, domain) = (&pair.binding, &pair.domain);
                tracing::info!(%binding, %domain, recipients, %reply, "queue delayed");
            }
            Event::Control { by, action, reach, refusal: None } => {
                let (what, of) = (action.name(), action.of());
                tracing::info!(%by, recipients = reach.recipients, left = reach.left, "{what} {of}");
            }
            Event::Reconfigured { queues, moved } => {
                tracing::info!(queues, moved, "reloaded: another configuration is in force");
            }
            Event::TlsFailed { remote, exchange, reply, consequence, .. } => {
                tracing::info!(address = %remote.ip(), %exchange, %reply, ?consequence, "no TLS");
            }
            Event::ClientTlsFailed { peer, error, .. } => {
                tracing::debug!(%peer, error = %error.text(), "no TLS with a client");
            }
            Event::HostSetAside { address, exchange, reply, .. } => {
                tracing::info!(%address, %exchange, %reply, "exchange set aside");
            }
            _ => {}
        }
    }
}

/// A connection is an open file, and most systems allow a process a thousand of them unless it
/// asks for more.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

fn seed() -> io::Result<Seed> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(Seed(bytes))
}
