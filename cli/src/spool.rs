//! `traject spool`: what is in a spool, and whether it is sound.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde::Serialize;
use traject_engine::Timestamp;
use traject_engine::ids::MessageId;
use traject_engine::io::SpoolError;
use traject_engine::message::{RecipientState, StoredMessage, StoredRecipient};
use traject_engine::smtp::date::rfc5322_date;
use traject_net::clock::SystemClock;
use traject_net::spool::{Damage, Inspection, OpenError};
use traject_net::world::Clock as _;

use crate::error::{CommandError, ErrorKind};

/// Look into a spool: check it, list its messages, show one
///
/// Nothing is ever changed, and the daemon may run meanwhile: what is shown is the spool as it was
/// at one moment.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  traject spool check /var/spool/traject
  traject spool list /var/spool/traject --domain example.com
  traject spool show /var/spool/traject 6531ac9ff1302 --body > message.eml

check exits with 0 if all is sound and with 1 if something is damaged; all of them exit with 2 if
the spool cannot be read.")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Verify every frame: what is damaged, where, and whose it was
    Check {
        /// The folder: `spoolbase` of the configuration
        folder: PathBuf,
    },
    /// List the messages, oldest first
    List {
        /// The folder: `spoolbase` of the configuration
        folder: PathBuf,
        #[command(flatten)]
        filter: Filter,
        /// Print a JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show a message: its envelope, how far each recipient has come, its header
    Show {
        /// The folder: `spoolbase` of the configuration
        folder: PathBuf,
        /// The id of the message, as `list` and the logs have it
        #[arg(value_parser = parse_id)]
        id: MessageId,
        /// Print the message itself and nothing else
        #[arg(long)]
        body: bool,
    },
}

/// Which messages to list.
#[derive(Debug, Default, clap::Args)]
#[group(skip)]
struct Filter {
    /// Only what is to be delivered to this domain
    #[arg(long)]
    domain: Option<String>,
    /// Only mail of this binding
    #[arg(long)]
    binding: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let out = &mut BufWriter::new(io::stdout().lock());
    match &args.verb {
        Verb::Check { folder } => check(&open(folder)?, out),
        Verb::List { folder, filter, json } => {
            let now = SystemClock::start().now();
            list(&open(folder)?, filter, now, *json, out).map_err(system)
        }
        Verb::Show { folder, id, body } => {
            let now = SystemClock::start().now();
            show(&open(folder)?, *id, *body, now, out).map_err(system)
        }
    }
}

fn open(folder: &Path) -> Result<Inspection, CommandError> {
    Inspection::open(folder).map_err(|error| {
        let hint = matches!(error, OpenError::Io(_));
        let error = CommandError::new(ErrorKind::System, error);
        if hint { error.hint("the folder is `spoolbase` of the configuration") } else { error }
    })
}

fn system(error: anyhow::Error) -> CommandError {
    CommandError::new(ErrorKind::System, error)
}

/// The hexadecimal id, alone or as the mainlog has it: with the number of a recipient.
pub(crate) fn parse_id(text: &str) -> Result<MessageId, String> {
    let id = text.split_once('-').map_or(text, |(id, _)| id);
    u64::from_str_radix(id, 16).map(MessageId).map_err(|_| format!("`{text}` is no message id"))
}

fn check(spool: &Inspection, out: &mut impl Write) -> Result<(), CommandError> {
    let sound = write_check(spool, out).map_err(system)?;
    if sound { Ok(()) } else { Err(CommandError::reported(ErrorKind::Damage)) }
}

/// Whether nothing is damaged.
fn write_check(spool: &Inspection, out: &mut impl Write) -> anyhow::Result<bool> {
    let checked = spool.check().context("the spool cannot be read")?;
    let report = &checked.report;
    for Damage { file, offset, bytes, message, what } in &report.damage {
        let whose = message.map_or(String::new(), |message| format!(" (message {message})"));
        writeln!(out, "damage: {file} at {offset}, {bytes} bytes: {what}{whose}")?;
    }
    let more = report.damage_total - report.damage.len() as u64;
    if more > 0 {
        writeln!(out, "damage: {more} more")?;
    }
    if let Some((file, offset)) = &report.torn_at {
        let bytes = report.torn_bytes;
        writeln!(
            out,
            "torn: {file} at {offset}, {bytes} bytes: not acknowledged to anybody; written when a \
             crash came, or being written now",
        )?;
    }
    for name in spool.set_aside() {
        writeln!(out, "set aside: {name}: damage that an earlier start found")?;
    }
    let (messages, segments) = (report.messages, report.segments);
    let (bytes, intact) = (report.bytes, checked.intact);
    let damage = report.damage_total;
    writeln!(
        out,
        "{messages} messages in {segments} segments, {bytes} bytes; {intact} frames intact, \
         {damage} damaged",
    )?;
    out.flush()?;
    Ok(damage == 0)
}

/// A message as a list shows it.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    message: String,
    /// Microseconds since the epoch.
    received_at: Timestamp,
    age_seconds: u64,
    /// `<>` for bounces.
    sender: String,
    recipients: usize,
    /// Recipients still to be delivered, of those that were asked for.
    left: usize,
    /// The most attempts any of those has had.
    attempts: u16,
    /// When the first of them is due.
    next_attempt_at: Timestamp,
    binding: &'a str,
    size_bytes: u64,
}

impl Filter {
    /// `None` for a message of which nothing is left that was asked for.
    fn entry<'a>(&self, message: &'a StoredMessage, now: Timestamp) -> Option<Entry<'a>> {
        if self.binding.as_ref().is_some_and(|binding| **binding != *message.binding) {
            return None;
        }
        let wanted = |recipient: &&StoredRecipient| match &self.domain {
            Some(domain) => recipient.mailbox.domain.eq_ignore_ascii_case(domain),
            None => true,
        };
        let pending = message.recipients.iter().filter(wanted).filter_map(|r| match r.state {
            RecipientState::Pending { attempts, next_attempt_at } => {
                Some((attempts, next_attempt_at))
            }
            RecipientState::Done => None,
        });
        let (left, attempts, next_attempt_at) = pending
            .fold((0, 0, Timestamp::NEVER), |(left, most, first), (attempts, due)| {
                (left + 1, most.max(attempts), first.min(due))
            });
        (left > 0).then(|| Entry {
            message: message.id.to_string(),
            received_at: message.received_at,
            age_seconds: now.saturating_since(message.received_at).as_secs(),
            sender: message.reverse_path.to_string(),
            recipients: message.recipients.len(),
            left,
            attempts,
            next_attempt_at,
            binding: &message.binding,
            size_bytes: message.size_bytes,
        })
    }
}

fn list(
    spool: &Inspection,
    filter: &Filter,
    now: Timestamp,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let (mut messages, mut recipients, mut unreadable) = (0, 0, 0);
    if !json {
        writeln!(
            out,
            "{:<16} {:>7} {:>5} {:>5} {:>8} {:>9}  BINDING  SENDER",
            "MESSAGE", "AGE", "LEFT", "TRIED", "DUE", "BYTES"
        )?;
    }
    for id in spool.messages() {
        let Ok(Some(message)) = spool.envelope(id) else {
            unreadable += 1;
            continue;
        };
        let Some(entry) = filter.entry(&message, now) else { continue };
        messages += 1;
        recipients += entry.left;
        if json {
            serde_json::to_writer(&mut *out, &entry)?;
            writeln!(out)?;
        } else {
            let Entry { message, left, attempts, size_bytes, binding, sender, .. } = &entry;
            let age = in_words(Duration::from_secs(entry.age_seconds));
            let due = due_in_words(entry.next_attempt_at, now);
            writeln!(
                out,
                "{message:<16} {age:>7} {left:>5} {attempts:>5} {due:>8} {size_bytes:>9}  \
                 {binding}  {sender}"
            )?;
        }
    }
    if !json {
        writeln!(out, "{messages} messages, {recipients} recipients left")?;
    }
    out.flush()?;
    let damaged = unreadable + spool.report().damage_total;
    if damaged > 0 {
        eprintln!("warning: parts of the spool are damaged: see `traject spool check`");
    }
    Ok(())
}

fn show(
    spool: &Inspection,
    id: MessageId,
    body: bool,
    now: Timestamp,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let message = spool.envelope(id).map_err(in_english)?;
    let message = message.ok_or_else(|| anyhow!("there is no message {id} in the spool"))?;
    if body {
        for piece in spool.body(id) {
            out.write_all(&piece.map_err(in_english)?)?;
        }
        return Ok(out.flush()?);
    }
    write_envelope(&message, now, out)?;
    writeln!(out)?;
    write_header(spool, id, out)?;
    Ok(out.flush()?)
}

fn write_envelope(message: &StoredMessage, now: Timestamp, out: &mut impl Write) -> io::Result<()> {
    let age = in_words(now.saturating_since(message.received_at));
    writeln!(out, "message   {}", message.id)?;
    writeln!(out, "received  {} ({age} ago)", rfc5322_date(message.received_at))?;
    if let Some(origin) = &message.origin {
        let helo = origin.helo.as_deref().unwrap_or("no name given");
        writeln!(out, "client    {} ({})", origin.address, plain(helo))?;
    }
    writeln!(out, "binding   {}", message.binding)?;
    let eight_bit = if message.eight_bit { ", 8-bit" } else { "" };
    writeln!(out, "size      {} bytes{eight_bit}", message.size_bytes)?;
    writeln!(out, "sender    {}", message.reverse_path)?;
    for (number, StoredRecipient { mailbox, state }) in message.recipients.iter().enumerate() {
        let state = match state {
            RecipientState::Done => "done".to_owned(),
            RecipientState::Pending { attempts, next_attempt_at } => {
                format!("tried {attempts} times, due {}", due_in_words(*next_attempt_at, now))
            }
        };
        writeln!(out, "{number:<9} <{mailbox}>: {state}")?;
    }
    Ok(())
}

/// The lines up to the first empty one. Whoever wrote them does not get at the terminal.
fn write_header(spool: &Inspection, id: MessageId, out: &mut impl Write) -> anyhow::Result<()> {
    let mut header = Vec::new();
    for piece in spool.body(id) {
        header.extend_from_slice(&piece.map_err(in_english)?);
        let end = header.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            header.truncate(end);
            break;
        }
        if header.len() > HEADER_BYTES_MAX {
            break;
        }
    }
    header.truncate(HEADER_BYTES_MAX);
    for line in String::from_utf8_lossy(&header).split("\r\n").filter(|line| !line.is_empty()) {
        writeln!(out, "{}", plain(line))?;
    }
    Ok(())
}

/// Without anything that a terminal would obey.
fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

fn in_english(error: SpoolError) -> anyhow::Error {
    match error {
        SpoolError::Full => anyhow!("no space left"),
        SpoolError::Io(words) => anyhow!("{words}"),
    }
}

fn due_in_words(due: Timestamp, now: Timestamp) -> String {
    if due <= now { "now".to_owned() } else { in_words(due.saturating_since(now)) }
}

/// The two largest units: `3h05m`.
fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        (_, _, _) => format!("{days}d{:02}h", hours % 24),
    }
}

/// Longest header that is shown.
const HEADER_BYTES_MAX: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use traject_engine::smtp::address::{Mailbox, ReversePath};

    use super::*;

    fn message() -> StoredMessage {
        let recipient = |address: &str, state| StoredRecipient {
            mailbox: address.parse::<Mailbox>().unwrap(),
            state,
        };
        let pending = |attempts, due| RecipientState::Pending {
            attempts,
            next_attempt_at: Timestamp::from_secs(due),
        };
        StoredMessage {
            id: MessageId(0xab),
            reverse_path: ReversePath(None),
            recipients: vec![
                recipient("a@one.test", pending(1, 400)),
                recipient("b@one.test", pending(3, 300)),
                recipient("c@two.test", pending(2, 200)),
                recipient("d@three.test", RecipientState::Done),
            ],
            received_at: Timestamp::from_secs(10),
            size_bytes: 5,
            eight_bit: false,
            binding: "red".into(),
            origin: None,
            rerouted: Vec::new(),
        }
    }

    #[test]
    fn entries_are_about_what_was_asked_for() {
        let message = message();
        for (domain, binding, found) in [
            (None, None, Some((3, 3, 200))),
            (Some("ONE.test"), None, Some((2, 3, 300))),
            (Some("two.test"), Some("red"), Some((1, 2, 200))),
            // Nothing is left of it.
            (Some("three.test"), None, None),
            (None, Some("blue"), None),
        ] {
            let filter =
                Filter { domain: domain.map(str::to_owned), binding: binding.map(str::to_owned) };
            let entry = filter.entry(&message, Timestamp::from_secs(110));
            let found_now = entry.map(|e| (e.left, e.attempts, e.next_attempt_at.as_secs()));
            assert_eq!(found_now, found, "{filter:?}");
        }
    }

    #[test]
    fn times_are_told_in_two_units() {
        for (seconds, words) in [
            (0, "0s"),
            (59, "59s"),
            (61, "1m01s"),
            (3600 + 300, "1h05m"),
            (86_400 * 3 + 7200, "3d02h"),
        ] {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
        assert_eq!(due_in_words(Timestamp::from_secs(5), Timestamp::from_secs(5)), "now");
    }

    #[test]
    fn ids_are_read_as_the_logs_write_them() {
        assert_eq!(parse_id("6531ac9ff1302"), Ok(MessageId(0x0006_531a_c9ff_1302)));
        assert_eq!(parse_id("ab-17"), Ok(MessageId(0xab)));
        assert!(parse_id("xyz").is_err());
    }

    #[test]
    fn a_header_cannot_move_the_cursor() {
        assert_eq!(
            plain("Subject:\t\u{1b}[2J\u{9b}x\u{7}"),
            "Subject:\t\u{fffd}[2J\u{fffd}x\u{fffd}"
        );
    }
}
