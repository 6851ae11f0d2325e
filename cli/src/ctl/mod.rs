//! `traject ctl`: what an operator asks of a running daemon.

mod client;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use clap::{ArgGroup, ValueEnum};
use serde_json::{Map, Value, json};
use traject_sim::scenario::units;

use self::client::{Answer, Request};
use crate::control::queues::Sort;
use crate::error::{CommandError, ErrorKind};
use crate::{control, diagnostics};

/// Ask a running daemon something, or have it do something with waiting mail
///
/// Over its control socket, which docs/control.md describes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  traject ctl summary
  traject ctl queues --sort delayed --limit 20
  traject ctl why gmail.com
  traject ctl suspend --domain gmail.com --for 2h
  traject ctl resume --domain gmail.com
  traject ctl flush --binding bulk --dry-run
  traject ctl fail --message 6531ac9ff1302 --reason 'sent by mistake'
  traject ctl reroute --domain dead.example --to-domain relay.example
  traject ctl config eval --domain gmail.com --binding bulk retry_interval
  traject ctl trace gmail.com

Exits with 0 when it is done, with 1 if the daemon refuses it, with 2 if the command line is wrong
or nobody answers, and with 3 if a new configuration cannot be used.")]
pub(crate) struct Args {
    /// The control socket; unless given, the variable TRAJECT_CONTROL names it
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// The daemon's configuration, whose `spoolbase` says where the socket is; unless given,
    /// /etc/traject/ecelerity.conf
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<String>,

    /// Print the answer as JSON
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Mail, connections and what became of mail since the start
    Summary,
    /// The queues: how much waits in each, and why
    Queues {
        #[command(flatten)]
        pair: PairArgs,
        /// Only those that wait for this, as in the last column
        #[arg(long)]
        reason: Option<String>,
        /// Those with most of it first
        #[arg(long, value_enum, default_value = "waiting")]
        sort: Sort,
        /// How many at most
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Begin with a later one
        #[arg(long, default_value_t = 0)]
        offset: u32,
    },
    /// Why the mail of a domain, or one message, waits
    #[command(group = ArgGroup::new("what").required(true))]
    Why {
        /// The domain
        #[arg(group = "what")]
        domain: Option<String>,
        /// Mail of this binding alone
        #[arg(long, requires = "domain")]
        binding: Option<String>,
        /// One message, by the id of the logs
        #[arg(long, group = "what", value_name = "ID")]
        message: Option<String>,
    },
    /// The connections to exchanges and from clients
    Sessions {
        #[command(flatten)]
        pair: PairArgs,
        /// Only those in one direction
        #[arg(long, value_enum)]
        direction: Option<Direction>,
        /// How many at most
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// Begin with a later one
        #[arg(long, default_value_t = 0)]
        offset: u32,
    },
    /// What operators suspended
    Suspensions,
    /// Hold mail: no attempts until it is resumed
    Suspend {
        #[command(flatten)]
        mail: MailArgs,
        /// Resume of itself after this time
        #[arg(long = "for", value_name = "TIME", value_parser = units::duration)]
        length: Option<Duration>,
    },
    /// Let held mail go
    Resume {
        #[command(flatten)]
        mail: MailArgs,
    },
    /// Have delayed mail tried now; each try counts as any other
    Flush {
        #[command(flatten)]
        mail: MailArgs,
    },
    /// End waiting mail with a permanent failure
    Fail {
        #[command(flatten)]
        mail: MailArgs,
        /// What its senders and the logs read
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Tell no senders, whatever `generate_bounces` says
        #[arg(long)]
        quiet: bool,
    },
    /// Give waiting mail to another queue; its addresses stay as they are
    #[command(group = ArgGroup::new("whither").required(true).multiple(true))]
    Reroute {
        #[command(flatten)]
        mail: MailArgs,
        /// The domain whose exchanges get it
        #[arg(long, group = "whither", value_name = "DOMAIN")]
        to_domain: Option<String>,
        /// The binding that sends it
        #[arg(long, group = "whither", value_name = "NAME")]
        to_binding: Option<String>,
    },
    /// The configuration in force
    Config {
        #[command(subcommand)]
        verb: ConfigVerb,
    },
    /// Read the configuration again
    Reload,
    /// Show the dialogues with a domain's exchanges until interrupted
    Trace {
        /// The domain
        domain: String,
        /// Mail of this binding alone
        #[arg(long)]
        binding: Option<String>,
    },
    /// Whether the engine answers
    Live,
    /// Whether clients can hand in mail
    Ready,
    /// The metrics, as Prometheus reads them
    Metrics,
}

#[derive(Debug, clap::Subcommand)]
enum ConfigVerb {
    /// The values of options, alone
    Get {
        #[command(flatten)]
        place: PlaceArgs,
        /// The options
        #[arg(required = true)]
        options: Vec<String>,
    },
    /// What applies and where it is set; with options, every place that was looked at
    Eval {
        #[command(flatten)]
        place: PlaceArgs,
        /// The options; none for a table of all
        options: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
#[group(skip)]
struct PairArgs {
    /// Mail of this binding alone
    #[arg(long)]
    binding: Option<String>,
    /// Mail to this domain alone
    #[arg(long)]
    domain: Option<String>,
}

#[derive(Debug, clap::Args)]
#[group(skip)]
struct PlaceArgs {
    /// The domain the mail is for
    #[arg(long)]
    domain: String,
    /// The binding that sends it
    #[arg(long, default_value = "default")]
    binding: String,
    /// The group that binding is expected to be in
    #[arg(long)]
    binding_group: Option<String>,
    /// An exchange: tells what its host stanzas say, too
    #[arg(long)]
    host: Option<String>,
}

/// Which mail.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(group = ArgGroup::new("mail")
    .required(true)
    .multiple(true)
    .args(["of_binding", "of_domain", "message", "all"]))]
struct MailArgs {
    /// Mail of this binding
    #[arg(id = "of_binding", long = "binding", value_name = "NAME", conflicts_with = "all")]
    binding: Option<String>,
    /// Mail to this domain
    #[arg(id = "of_domain", long = "domain", value_name = "DOMAIN", conflicts_with = "all")]
    domain: Option<String>,
    /// One message, by the id of the logs; it cannot be suspended alone
    #[arg(long, value_name = "ID", conflicts_with = "all")]
    message: Option<String>,
    /// All mail there is
    #[arg(long)]
    all: bool,
    /// Only say how much mail that would be
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Direction {
    Out,
    In,
}

/// Asks, and prints what is answered as it comes.
pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let socket = socket(args)?;
    let request = request(&args.verb)?;
    let mut out = io::stdout().lock();
    let mut print = |bytes: &[u8]| {
        out.write_all(bytes)?;
        out.flush()
    };
    match client::ask(&socket, &request, args.json, &mut print)? {
        Answer::Done => Ok(()),
        Answer::Refused { status, text } => Err(refused(status, &text, args.json)),
    }
}

/// Where the daemon is to be found.
fn socket(args: &Args) -> Result<PathBuf, CommandError> {
    if let Some(path) = &args.socket {
        return Ok(path.clone());
    }
    if let (None, Some(path)) = (&args.config, std::env::var_os("TRAJECT_CONTROL")) {
        return Ok(path.into());
    }
    let path = args.config.as_deref().unwrap_or(CONFIG_DEFAULT);
    match diagnostics::load(path).config {
        Some(config) => {
            Ok(control::default_path(std::path::Path::new(&*config.server_options().spool_base)))
        }
        None => {
            let error = anyhow!("{path} does not say where the control socket is");
            Err(CommandError::new(ErrorKind::System, error)
                .hint("`--socket` names it, and `--config` the daemon's configuration")
                .hint(format!("`traject check {path}` says what is wrong with that file")))
        }
    }
}

fn refused(status: u16, text: &str, json: bool) -> CommandError {
    let kind = match status {
        422 => ErrorKind::Config,
        _ => ErrorKind::Refused,
    };
    match json {
        // What the daemon said is all there is to say.
        true => {
            eprint!("{text}");
            CommandError::reported(kind)
        }
        false => {
            let text = text.strip_prefix("error: ").unwrap_or(text).trim_end();
            match text.rsplit_once("\nhint: ") {
                Some((error, hint)) => {
                    CommandError::new(kind, anyhow!("{}", error.trim_end())).hint(hint)
                }
                None => CommandError::new(kind, anyhow!("{text}")),
            }
        }
    }
}

fn request(verb: &Verb) -> Result<Request, CommandError> {
    Ok(match verb {
        Verb::Summary => Request::get("/v1/summary"),
        Verb::Queues { pair, reason, sort, limit, offset } => Request::get("/v1/queues")
            .with("binding", pair.binding.as_deref())
            .with("domain", pair.domain.as_deref())
            .with("reason", reason.as_deref())
            .with("sort", Some(word(*sort).as_str()))
            .with("limit", Some(&limit.to_string()))
            .with("offset", Some(&offset.to_string())),
        Verb::Why { domain, binding, message } => Request::get("/v1/why")
            .with("domain", domain.as_deref())
            .with("binding", binding.as_deref())
            .with("message", message.as_deref()),
        Verb::Sessions { pair, direction, limit, offset } => Request::get("/v1/sessions")
            .with("binding", pair.binding.as_deref())
            .with("domain", pair.domain.as_deref())
            .with("direction", direction.map(word).as_deref())
            .with("limit", Some(&limit.to_string()))
            .with("offset", Some(&offset.to_string())),
        Verb::Suspensions => Request::get("/v1/suspensions"),
        Verb::Suspend { mail, length } => {
            let seconds = length.map(|length| length.as_secs().max(1));
            Request::post("/v1/suspend", mail.object([("for_s", seconds.map(Value::from))]))
        }
        Verb::Resume { mail } => Request::post("/v1/resume", mail.object([])),
        Verb::Flush { mail } => Request::post("/v1/flush", mail.object([])),
        Verb::Fail { mail, reason, quiet } => {
            let reason = reason.clone().map(Value::from);
            let quiet = quiet.then(|| true.into());
            Request::post("/v1/fail", mail.object([("reason", reason), ("quiet", quiet)]))
        }
        Verb::Reroute { mail, to_domain, to_binding } => {
            let to = |name: &Option<String>| name.clone().map(Value::from);
            let to = [("to_domain", to(to_domain)), ("to_binding", to(to_binding))];
            Request::post("/v1/reroute", mail.object(to))
        }
        Verb::Config { verb: ConfigVerb::Get { place, options } } => {
            place.request("/v1/config/get", options)
        }
        Verb::Config { verb: ConfigVerb::Eval { place, options } } => {
            place.request("/v1/config/eval", options)
        }
        Verb::Reload => Request::post("/v1/reload", json!({})),
        Verb::Trace { domain, binding } => Request::get("/v1/trace")
            .with("domain", Some(domain))
            .with("binding", binding.as_deref()),
        Verb::Live => Request::get("/live"),
        Verb::Ready => Request::get("/ready"),
        Verb::Metrics => Request::get("/metrics"),
    })
}

/// A choice as the daemon calls it.
fn word(choice: impl ValueEnum) -> String {
    let value = choice.to_possible_value();
    value.map(|value| value.get_name().to_owned()).unwrap_or_default()
}

impl MailArgs {
    fn object<const N: usize>(&self, more: [(&str, Option<Value>); N]) -> Value {
        let text = |text: &Option<String>| text.clone().map(Value::from);
        let all = [
            ("binding", text(&self.binding)),
            ("domain", text(&self.domain)),
            ("message", text(&self.message)),
            ("all", self.all.then(|| true.into())),
            ("dry_run", self.dry_run.then(|| true.into())),
        ];
        let said = all.into_iter().chain(more);
        let said = said.filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(said.collect::<Map<_, _>>())
    }
}

impl PlaceArgs {
    fn request(&self, path: &'static str, options: &[String]) -> Request {
        let request = Request::get(path)
            .with("domain", Some(&self.domain))
            .with("binding", Some(&self.binding))
            .with("binding_group", self.binding_group.as_deref())
            .with("host", self.host.as_deref());
        options.iter().fold(request, |request, option| request.with("option", Some(option)))
    }
}

/// The configuration of the packages.
const CONFIG_DEFAULT: &str = "/etc/traject/ecelerity.conf";

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn asked(line: &str) -> Result<Request, String> {
        let words = ["ctl"].into_iter().chain(line.split(' '));
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        request(&cli.args.verb).map_err(|error| error.text())
    }

    #[test]
    fn verbs_are_requests() {
        for (line, expected) in [
            ("summary", Request::get("/v1/summary")),
            (
                "why x.test --binding b",
                Request::get("/v1/why").with("domain", Some("x.test")).with("binding", Some("b")),
            ),
            ("why --message 1a", Request::get("/v1/why").with("message", Some("1a"))),
            (
                "suspend --domain x.test --for 2h",
                Request::post("/v1/suspend", json!({ "domain": "x.test", "for_s": 7200 })),
            ),
            (
                "fail --all --dry-run",
                Request::post("/v1/fail", json!({ "all": true, "dry_run": true })),
            ),
            (
                "fail --message 1a --quiet",
                Request::post("/v1/fail", json!({ "message": "1a", "quiet": true })),
            ),
            (
                "reroute --binding a --domain x.test --to-binding b",
                Request::post(
                    "/v1/reroute",
                    json!({ "binding": "a", "domain": "x.test", "to_binding": "b" }),
                ),
            ),
            ("sessions --direction in --limit 9 --offset 1", {
                let request = Request::get("/v1/sessions").with("direction", Some("in"));
                request.with("limit", Some("9")).with("offset", Some("1"))
            }),
        ] {
            assert_eq!(asked(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn which_mail_has_to_be_said() {
        for line in [
            "fail",
            "fail --dry-run",
            "flush --dry-run",
            "suspend --all --domain x.test",
            "reroute --all",
            "why",
            "why x.test --message 1a",
            "config get --domain x.test",
        ] {
            assert!(asked(line).is_err(), "{line}");
        }
    }
}
