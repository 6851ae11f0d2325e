//! The control socket: what an operator asks of a running daemon, as HTTP over a Unix socket.
//!
//! It has a thread and a runtime of its own, so that a large answer or a slow reader keeps no mail
//! waiting. Whatever concerns mail is one input of the engine, or one look at it between two
//! inputs. `docs/control.md` describes every endpoint.

mod actions;
mod answer;
mod config;
mod health;
pub(crate) mod metrics;
pub(crate) mod queues;
mod sessions;
mod socket;
mod summary;
pub(crate) mod trace;
mod why;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::connect_info::Connected;
use axum::middleware::from_fn;
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use tokio::net::UnixListener;
use traject_engine::ids::MessageId;
use traject_engine::smtp::address::Mailbox;
use traject_engine::smtp::date::utc_date;
use traject_engine::{Engine, Timestamp};
use traject_net::clock::SystemClock;
use traject_net::driver::Handle;
use traject_net::spool::Journal;
use traject_net::world::Clock as _;

use self::answer::Problem;
use self::metrics::Metrics;
use self::trace::Traces;
use crate::reload::Reloader;

/// Where operators reach a daemon.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Control (docs/control.md)")]
pub(crate) struct Args {
    /// The control socket; `none` for no socket. Unless given: `control.sock` in `spoolbase`
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,

    /// Let the group of the daemon use the control socket, too
    #[arg(long)]
    control_group: bool,

    /// Answer /metrics, /live and /ready at this loopback address, too
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = loopback)]
    metrics: Option<SocketAddr>,
}

/// Nobody is asked who he is, so nobody else's machine may connect.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| format!("`{text}` is no address with a port"))?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("only a loopback address: whoever connects is not asked who he is".to_owned())
    }
}

/// A daemon, as far as operators reach it.
pub(crate) struct Daemon {
    pub(crate) handle: Handle<Engine, Journal, SystemClock>,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) traces: Arc<Traces>,
    pub(crate) clock: SystemClock,
    pub(crate) started: Timestamp,
}

/// The open control socket; closed, and its file removed, when it is dropped.
#[derive(Debug)]
pub(crate) struct Control {
    _file: Option<socket::SocketFile>,
}

/// Sockets that are bound, and not served yet.
#[derive(Debug)]
pub(crate) struct Bound {
    unix: Option<(std::os::unix::net::UnixListener, socket::SocketFile)>,
    tcp: Option<TcpListener>,
}

/// Binds what was asked for.
pub(crate) fn bind(args: &Args, spool: &Path) -> anyhow::Result<Bound> {
    let path = match &args.control {
        Some(path) if path.as_os_str() == "none" => None,
        Some(path) => Some(path.clone()),
        None => Some(default_path(spool)),
    };
    let mode = if args.control_group { 0o660 } else { 0o600 };
    let unix = path.map(|path| {
        let bound = socket::bind(&path, mode);
        bound.with_context(|| format!("cannot open the control socket {}", path.display()))
    });
    let unix = match unix.transpose() {
        // Nobody asked for it, so mail need not wait for it.
        Err(error) if args.control.is_none() => {
            tracing::warn!("{error:#}; --control names another path");
            None
        }
        unix => unix?,
    };
    let tcp = args.metrics.map(|address| {
        let bound = TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            tracing::info!("metrics at http://{}/metrics", listener.local_addr()?);
            Ok(listener)
        });
        bound.with_context(|| format!("cannot listen on {address}"))
    });
    Ok(Bound { unix, tcp: tcp.transpose()? })
}

/// Where the control socket is unless somebody says otherwise.
pub(crate) fn default_path(spool: &Path) -> PathBuf {
    spool.join("control.sock")
}

impl Bound {
    /// Answers requests from now on, in a thread of its own.
    pub(crate) fn serve(self, daemon: Daemon) -> anyhow::Result<Control> {
        let Self { unix, tcp } = self;
        let (unix, file) = unix.unzip();
        if unix.is_none() && tcp.is_none() {
            return Ok(Control { _file: file });
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start")?;
        let daemon = Arc::new(daemon);
        let serve = move || {
            let served: io::Result<()> = runtime.block_on(async {
                let both = tokio::try_join!(
                    serve_unix(unix, Arc::clone(&daemon)),
                    serve_tcp(tcp, Arc::clone(&daemon))
                );
                both.map(|_| ())
            });
            if let Err(error) = served {
                tracing::error!(%error, "the control socket is closed");
            }
        };
        std::thread::Builder::new().name("control".to_owned()).spawn(serve)?;
        Ok(Control { _file: file })
    }
}

async fn serve_unix(
    listener: Option<std::os::unix::net::UnixListener>,
    daemon: Arc<Daemon>,
) -> io::Result<()> {
    let Some(listener) = listener else { return Ok(()) };
    let listener = UnixListener::from_std(listener)?;
    let app = everything(daemon).into_make_service_with_connect_info::<Operator>();
    axum::serve(listener, app).await
}

async fn serve_tcp(listener: Option<TcpListener>, daemon: Arc<Daemon>) -> io::Result<()> {
    let Some(listener) = listener else { return Ok(()) };
    let listener = tokio::net::TcpListener::from_std(listener)?;
    axum::serve(listener, harmless().with_state(daemon)).await
}

/// What tells nothing that a stranger on the same machine could use.
fn harmless() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/metrics", get(metrics::exposition))
        .route("/live", get(health::live))
        .route("/ready", get(health::ready))
        .fallback(no_such_endpoint)
        .layer(from_fn(answer::in_the_form_wanted))
}

fn everything(daemon: Arc<Daemon>) -> Router {
    Router::new()
        .route("/v1/summary", get(summary::summary))
        .route("/v1/queues", get(queues::queues))
        .route("/v1/why", get(why::why))
        .route("/v1/sessions", get(sessions::sessions))
        .route("/v1/suspensions", get(actions::suspensions))
        .route("/v1/suspend", post(actions::suspend))
        .route("/v1/resume", post(actions::resume))
        .route("/v1/flush", post(actions::flush))
        .route("/v1/fail", post(actions::fail))
        .route("/v1/reroute", post(actions::reroute))
        .route("/v1/config/get", get(config::get))
        .route("/v1/config/eval", get(config::eval))
        .route("/v1/reload", post(config::reload))
        .route("/v1/trace", get(trace::stream))
        .merge(harmless())
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(answer::in_the_form_wanted))
        .with_state(daemon)
}

async fn no_such_endpoint(request: axum::extract::Request) -> Problem {
    let path = request.uri().path();
    Problem::missing(format!("there is no {path}")).hint("docs/control.md describes what there is")
}

async fn wrong_method(request: axum::extract::Request) -> Problem {
    let (method, path) = (request.method(), request.uri().path());
    Problem::bad(format!("{path} does not take {method}"))
        .hint("what changes something is a POST, everything else a GET")
}

/// Who is at the other end of the socket.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Operator {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: stream.io().peer_cred().ok().map(|peer| peer.uid()) }
    }
}

impl Operator {
    /// For the record.
    fn name(&self) -> Arc<str> {
        match self.uid {
            Some(uid) => format!("uid {uid}").into(),
            None => "control socket".into(),
        }
    }
}

impl Daemon {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What `look` sees of the engine between two inputs.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Engine) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        Ok(self.handle.inspect(look).await?)
    }
}

/// A message id as logs have it.
fn message_id(text: &str) -> Result<MessageId, Problem> {
    crate::spool::parse_id(text).map_err(|error| {
        Problem::bad(error).hint("ids are hexadecimal, as in the logs and `traject spool list`")
    })
}

/// A domain in the form of queues.
fn domain_name(text: &str) -> Result<Arc<str>, Problem> {
    let mailbox: Result<Mailbox, _> = format!("x@{text}").parse();
    match mailbox {
        Ok(mailbox) => Ok(mailbox.domain.to_ascii_lowercase().into()),
        Err(_) => Err(Problem::bad(format!("`{text}` is no domain"))),
    }
}

/// An instant for people.
fn instant(at: Timestamp) -> String {
    utc_date(at) + "Z"
}

/// `1 queue`, `2 queues`.
fn counted(count: u64, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        n => format!("{n} {one}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_go_without_authentication() {
        for (text, good) in [
            ("127.0.0.1:9100", true),
            ("127.9.9.9:1", true),
            ("[::1]:9100", true),
            ("0.0.0.0:9100", false),
            ("192.0.2.1:9100", false),
            ("[::]:9100", false),
            ("localhost:9100", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(loopback(text).is_ok(), good, "{text}");
        }
    }
}
