//! Suspend, resume, flush, fail, reroute.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, State};
use serde::{Deserialize, Serialize};
use traject_engine::Timestamp;
use traject_engine::control::{Action, Control, Reach, Refusal, Selector, Suspension};

use super::answer::{Object, Problem, Shown};
use super::{Daemon, Operator, counted, domain_name, instant, message_id};
use crate::explain::columns;

/// Which mail, and whether it is to be done at all.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Asked {
    binding: Option<String>,
    domain: Option<String>,
    message: Option<String>,
    all: bool,
    dry_run: bool,
    /// Of suspend.
    for_s: Option<u64>,
    /// Of fail.
    reason: Option<String>,
    /// Of fail.
    quiet: bool,
    /// Of reroute.
    to_binding: Option<String>,
    /// Of reroute.
    to_domain: Option<String>,
}

/// What was done, or would be.
#[derive(Debug, Serialize)]
struct Done<'a> {
    #[serde(flatten)]
    action: &'a Action,
    dry_run: bool,
    #[serde(flatten)]
    reach: Reach,
    notes: Vec<String>,
}

type Asking = (State<Arc<Daemon>>, ConnectInfo<Operator>, Object<Asked>);

pub(super) async fn suspend((daemon, who, asked): Asking) -> Result<Shown, Problem> {
    let until = asked.0.for_s.map(|seconds| daemon.now() + Duration::from_secs(seconds));
    act(&daemon, &who.0, &asked.0, &["for_s"], |of, _| Ok(Action::Suspend { of, until })).await
}

pub(super) async fn resume((daemon, who, asked): Asking) -> Result<Shown, Problem> {
    act(&daemon, &who.0, &asked.0, &[], |of, _| Ok(Action::Resume { of })).await
}

pub(super) async fn flush((daemon, who, asked): Asking) -> Result<Shown, Problem> {
    act(&daemon, &who.0, &asked.0, &[], |of, _| Ok(Action::Flush { of })).await
}

pub(super) async fn fail((daemon, who, asked): Asking) -> Result<Shown, Problem> {
    act(&daemon, &who.0, &asked.0, &["reason", "quiet"], |of, asked| {
        let reason = asked.reason.as_deref().map(reason).transpose()?;
        Ok(Action::Fail { of, reason, quiet: asked.quiet })
    })
    .await
}

pub(super) async fn reroute((daemon, who, asked): Asking) -> Result<Shown, Problem> {
    act(&daemon, &who.0, &asked.0, &["to_binding", "to_domain"], |of, asked| {
        let to_binding = asked.to_binding.as_deref().map(Arc::from);
        let to_domain = asked.to_domain.as_deref().map(domain_name).transpose()?;
        Ok(Action::Reroute { of, to_binding, to_domain })
    })
    .await
}

/// What senders get to read: printable ASCII, on one line.
fn reason(text: &str) -> Result<Box<str>, Problem> {
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if text.trim().is_empty() || text.len() > REASON_BYTES_MAX || !printable {
        let most = format!("one line of 1 to {REASON_BYTES_MAX} printable ASCII characters");
        return Err(Problem::bad("`reason` cannot be sent").hint(most));
    }
    Ok(text.into())
}

impl Asked {
    fn selector(&self) -> Result<Selector, Problem> {
        let of = Selector {
            binding: self.binding.as_deref().map(Arc::from),
            domain: self.domain.as_deref().map(domain_name).transpose()?,
            message: self.message.as_deref().map(message_id).transpose()?,
        };
        match (of == Selector::default(), self.all) {
            (true, false) => Err(Problem::bad("which mail?")
                .hint("`binding`, `domain` or `message`; `all` for all mail there is")),
            (false, true) => Err(Problem::bad("`all` is said, and something else as well")),
            _ => Ok(of),
        }
    }

    /// Words that are not about this action are mistakes.
    fn check(&self, allowed: &[&str]) -> Result<(), Problem> {
        let said = [
            ("for_s", self.for_s.is_some()),
            ("reason", self.reason.is_some()),
            ("quiet", self.quiet),
            ("to_binding", self.to_binding.is_some()),
            ("to_domain", self.to_domain.is_some()),
        ];
        match said.iter().find(|(name, said)| *said && !allowed.contains(name)) {
            Some((name, _)) => Err(Problem::bad(format!("`{name}` does not belong here"))),
            None => Ok(()),
        }
    }
}

async fn act(
    daemon: &Daemon,
    who: &Operator,
    asked: &Asked,
    allowed: &[&str],
    action: impl FnOnce(Selector, &Asked) -> Result<Action, Problem>,
) -> Result<Shown, Problem> {
    asked.check(allowed)?;
    let action = action(asked.selector()?, asked)?;
    let reach = if asked.dry_run {
        let measured = action.clone();
        let reach = daemon.look(move |engine| engine.measure(&measured)).await?;
        reach.map_err(|refusal| refused(&refusal))?
    } else {
        perform(daemon, who.name(), &action).await?
    };
    let suspensions = daemon.look(|engine| engine.suspensions()).await?;
    let notes = notes(&action, reach, &suspensions);
    let text = told(&action, asked.dry_run, reach, &notes);
    Ok(Shown::new(&Done { action: &action, dry_run: asked.dry_run, reach, notes }, text))
}

/// Does it in portions, so that other inputs get their turn.
async fn perform(daemon: &Daemon, by: Arc<str>, action: &Action) -> Result<Reach, Problem> {
    let mut done = Reach::default();
    let mut planned = None;
    loop {
        let (by, action) = (Arc::clone(&by), action.clone());
        let control = Control { by, action, portion: Some(PORTION_RECIPIENTS) };
        let reach = daemon.handle.control(control).await?.map_err(|refusal| refused(&refusal))?;
        // Mail that comes in meanwhile is not meant.
        let planned = *planned.get_or_insert(reach.recipients + reach.left);
        done.queues = done.queues.max(reach.queues);
        done.messages += reach.messages;
        done.recipients += reach.recipients;
        done.in_flight = reach.in_flight;
        if reach.left == 0 || reach.recipients == 0 || done.recipients >= planned {
            return Ok(done);
        }
    }
}

fn refused(refusal: &Refusal) -> Problem {
    match refusal {
        Refusal::UnknownBinding { .. } | Refusal::UnknownMessage { .. } => {
            Problem::missing(refusal.to_string())
        }
        Refusal::MessageSuspended | Refusal::Past | Refusal::Nowhere => {
            Problem::bad(refusal.to_string())
        }
    }
}

/// What else there is to know.
fn notes(action: &Action, reach: Reach, suspensions: &[Suspension]) -> Vec<String> {
    let mut notes = Vec::new();
    if reach.in_flight > 0 {
        let recipients = counted(reach.in_flight, "recipient");
        notes.push(format!("{recipients} in a transaction now, which is not touched"));
    }
    let still = suspensions.iter().find(|one| one.of.covers(action.of()));
    match (action, still) {
        (Action::Suspend { until: None, .. }, _) => notes.push(
            "until `traject ctl resume`, or the process ends (suspend_delivery lasts)".to_owned(),
        ),
        (Action::Resume { .. } | Action::Flush { .. }, Some(suspension)) => {
            notes.push(format!("{} is suspended, so this waits", suspension.of));
        }
        (
            Action::Suspend { .. }
            | Action::Resume { .. }
            | Action::Flush { .. }
            | Action::Fail { .. }
            | Action::Reroute { .. },
            _,
        ) => {}
    }
    notes
}

fn told(action: &Action, dry_run: bool, reach: Reach, notes: &[String]) -> String {
    let of = action.of();
    let what = match action {
        Action::Suspend { until: None, .. } => format!("suspend {of}"),
        Action::Suspend { until: Some(until), .. } => {
            format!("suspend {of} until {}", instant(*until))
        }
        Action::Resume { .. } => format!("resume {of}"),
        Action::Flush { .. } => format!("flush {of}"),
        Action::Fail { quiet: false, .. } => format!("fail {of}"),
        Action::Fail { quiet: true, .. } => format!("fail {of} without telling senders"),
        Action::Reroute { to_binding, to_domain, .. } => {
            let by = to_binding.iter().map(|binding| format!(" by {binding}"));
            let to = to_domain.iter().map(|domain| format!(" to {domain}"));
            format!("reroute {of}{}", by.chain(to).collect::<String>())
        }
    };
    let would = if dry_run { "would " } else { "" };
    let (messages, recipients) =
        (counted(reach.messages, "message"), counted(reach.recipients, "recipient"));
    let queues = counted(u64::from(reach.queues), "queue");
    let mut text = format!("{would}{what}: {recipients} of {messages} in {queues}\n");
    for note in notes {
        text.push_str(&format!("note: {note}\n"));
    }
    text
}

pub(super) async fn suspensions(State(daemon): State<Arc<Daemon>>) -> Result<Shown, Problem> {
    let all = daemon.look(|engine| engine.suspensions()).await?;
    let text = show_suspensions(&all);
    Ok(Shown::new(&all, text))
}

/// A table, or that there are none.
pub(super) fn show_suspensions(all: &[Suspension]) -> String {
    if all.is_empty() {
        return "nothing is suspended by an operator\n".to_owned();
    }
    let until = |until: Option<Timestamp>| until.map_or_else(|| "resumed".to_owned(), instant);
    let mut rows = vec![["SUSPENDED", "UNTIL"].map(String::from)];
    rows.extend(all.iter().map(|one| [one.of.to_string(), until(one.until)]));
    columns(&rows)
}

/// Recipients done with at once; other inputs come in between.
const PORTION_RECIPIENTS: u64 = 5_000;

/// Longest reason.
const REASON_BYTES_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(json: &str) -> Result<Selector, String> {
        let asked: Asked = serde_json::from_str(json).map_err(|error| error.to_string())?;
        asked.selector().map_err(|problem| format!("{problem:?}"))
    }

    #[test]
    fn all_mail_must_be_said() {
        assert_eq!(asked(r#"{"all":true}"#), Ok(Selector::default()));
        assert_eq!(&*asked(r#"{"domain":"X.Test"}"#).unwrap().domain.unwrap(), "x.test");
        for (json, complaint) in [
            ("{}", "which mail?"),
            (r#"{"all":true,"domain":"x.test"}"#, "and something else"),
            (r#"{"domian":"x.test"}"#, "unknown field `domian`"),
            (r#"{"domain":"x test"}"#, "is no domain"),
            (r#"{"message":"xyz"}"#, "is no message id"),
        ] {
            let found = asked(json).unwrap_err();
            assert!(found.contains(complaint), "{json}: {found}");
        }
    }

    #[test]
    fn reasons_cannot_break_a_line() {
        assert!(reason("sent by mistake").is_ok());
        for bad in ["", " ", "a\r\nb", "a\nb", "gr\u{fc}n", &"x".repeat(201)] {
            assert!(reason(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_said_afterwards() {
        let of = Selector { domain: Some("x.test".into()), ..Selector::default() };
        let reach = Reach { queues: 1, messages: 2, recipients: 3, in_flight: 1, left: 0 };
        let action = Action::Reroute {
            of: of.clone(),
            to_binding: Some("red".into()),
            to_domain: Some("y.test".into()),
        };
        assert_eq!(
            told(&action, true, reach, &notes(&action, reach, &[])),
            "would reroute mail to x.test by red to y.test: 3 recipients of 2 messages in 1 queue\n\
             note: 1 recipient in a transaction now, which is not touched\n"
        );
        let all = [Suspension { of: Selector::default(), until: None }];
        for (action, expected) in [
            (Action::Resume { of: of.clone() }, &["all mail is suspended, so this waits"][..]),
            (Action::Fail { of, reason: None, quiet: true }, &[]),
        ] {
            assert_eq!(notes(&action, Reach::default(), &all), expected);
        }
    }
}
