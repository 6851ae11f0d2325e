//! Why mail waits: of a domain or of a message.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use traject_engine::Timestamp;
use traject_engine::control::{MessageStory, Place};
use traject_engine::why::Why;
use traject_sim::report::why::render;

use super::answer::{Params, Problem, Shown};
use super::{Daemon, domain_name, instant, message_id};
use crate::explain::columns;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    domain: Option<String>,
    binding: Option<String>,
    message: Option<String>,
}

#[derive(Debug, Serialize)]
struct OfDomain {
    at: Timestamp,
    domain: Arc<str>,
    queues: Vec<Why>,
}

#[derive(Debug, Serialize)]
struct OfMessage {
    at: Timestamp,
    #[serde(flatten)]
    story: MessageStory,
}

pub(super) async fn why(
    State(daemon): State<Arc<Daemon>>,
    Params(wanted): Params<Wanted>,
) -> Result<Shown, Problem> {
    let Wanted { domain, binding, message } = wanted;
    match (domain, message) {
        (Some(domain), None) => of_domain(&daemon, domain_name(&domain)?, binding).await,
        (None, Some(message)) if binding.is_none() => of_message(&daemon, &message).await,
        _ => Err(Problem::bad("why what?")
            .hint("`domain`, with `binding` or without, or `message` alone")),
    }
}

async fn of_domain(
    daemon: &Daemon,
    domain: Arc<str>,
    binding: Option<String>,
) -> Result<Shown, Problem> {
    let asked = Arc::clone(&domain);
    let queues = daemon.look(move |engine| engine.why(&asked, binding.as_deref())).await?;
    let answer = OfDomain { at: daemon.now(), domain, queues };
    let text = render(&answer.queues, &answer.domain, answer.at, &instant);
    Ok(Shown::new(&answer, text))
}

async fn of_message(daemon: &Daemon, message: &str) -> Result<Shown, Problem> {
    let id = message_id(message)?;
    let story = daemon.look(move |engine| engine.message_story(id)).await?;
    let Some(story) = story else {
        return Err(Problem::missing(format!("there is no message {id} that waits"))
            .hint("what became of it is in the logs"));
    };
    let answer = OfMessage { at: daemon.now(), story };
    let text = show(&answer);
    Ok(Shown::new(&answer, text))
}

fn show(OfMessage { at, story }: &OfMessage) -> String {
    let from = story.reverse_path.0.as_ref().map(ToString::to_string).unwrap_or_default();
    let mut text = format!(
        "message {} from <{from}>, {} bytes, received {}\n\n",
        story.message,
        story.size_bytes,
        instant(story.received_at)
    );
    let titles = ["RECIPIENT", "QUEUE", "WHERE", "TRIES", "NEXT"];
    let mut rows = vec![titles.map(String::from)];
    rows.extend(story.recipients.iter().map(|recipient| {
        let place = match recipient.place {
            Place::Active => "active",
            Place::Delayed => "delayed",
            Place::InFlight => "in a transaction",
        };
        [
            recipient.mailbox.to_string(),
            format!("{}/{}", recipient.queue.binding, recipient.queue.domain),
            place.to_owned(),
            recipient.attempts.to_string(),
            recipient.due.map_or_else(|| "-".to_owned(), instant),
        ]
    }));
    text.push_str(&columns(&rows));
    text.push('\n');
    text + &render(&story.queues, "it", *at, &instant)
}
