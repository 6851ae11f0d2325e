//! The configuration in force: what applies to whom, and another one in its place.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;

use super::Daemon;
use super::answer::{Object, Problem, Shown};
use crate::error::CommandError;
use crate::explain::{self, Asked};
use crate::reload::Reloaded;

/// `option` may come several times, which no struct can say.
#[derive(Debug, Default)]
struct Wanted {
    binding: Option<String>,
    binding_group: Option<String>,
    domain: Option<String>,
    host: Option<String>,
    options: Vec<String>,
}

impl Wanted {
    fn read(uri: &Uri) -> Result<Self, Problem> {
        let pairs: Result<axum::extract::Query<Vec<(String, String)>>, _> =
            axum::extract::Query::try_from_uri(uri);
        let axum::extract::Query(pairs) = pairs.map_err(|error| Problem::bad(error.body_text()))?;
        let mut wanted = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                "option" => wanted.options.push(value),
                "binding" => wanted.binding = Some(value),
                "binding_group" => wanted.binding_group = Some(value),
                "domain" => wanted.domain = Some(value),
                "host" => wanted.host = Some(value),
                _ => return Err(Problem::bad(format!("unknown field `{name}`"))),
            }
        }
        Ok(wanted)
    }

    fn asked(&self) -> Result<Asked<'_>, Problem> {
        let Some(domain) = &self.domain else {
            return Err(Problem::bad("for mail to whom?").hint("`domain`, and `binding`"));
        };
        Ok(Asked {
            binding: self.binding.as_deref().unwrap_or("default"),
            binding_group: self.binding_group.as_deref(),
            domain,
            host: self.host.as_deref(),
            options: &self.options,
        })
    }
}

fn wrong(error: &CommandError) -> Problem {
    let text = error.text();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    match text.split_once("\nhint: ") {
        Some((error, hint)) => Problem::missing(error).hint(hint.trim_end()),
        None => Problem::missing(text.trim_end()),
    }
}

/// Values alone.
pub(super) async fn get(State(daemon): State<Arc<Daemon>>, uri: Uri) -> Result<Shown, Problem> {
    let wanted = Wanted::read(&uri)?;
    if wanted.options.is_empty() {
        return Err(Problem::bad("which option?").hint("`config eval` shows all of them"));
    }
    let in_force = daemon.reloader.in_force();
    let values =
        explain::values(&in_force.config, wanted.asked()?).map_err(|error| wrong(&error))?;
    let lines = values.iter().map(|(name, value)| {
        let value = value.as_deref().unwrap_or("(no value)");
        format!("{name} = {value}\n")
    });
    let text: String = lines.collect();
    Ok(Shown::new(&values, text))
}

/// Every place that was looked at, as `traject explain` tells it.
pub(super) async fn eval(State(daemon): State<Arc<Daemon>>, uri: Uri) -> Result<Shown, Problem> {
    let wanted = Wanted::read(&uri)?;
    let in_force = daemon.reloader.in_force();
    let explained = explain::explain(&in_force.config, &in_force.sources, wanted.asked()?);
    let (json, text) = explained.map_err(|error| wrong(&error))?;
    Ok(Shown::written(json, text))
}

#[derive(Debug, Serialize)]
struct Answer {
    reloaded: bool,
    #[serde(flatten)]
    reloaded_with: Reloaded,
}

/// As SIGHUP, with an answer.
pub(super) async fn reload(
    State(daemon): State<Arc<Daemon>>,
    Object(serde::de::IgnoredAny): Object<serde::de::IgnoredAny>,
) -> Result<Shown, Problem> {
    let reloaded = daemon
        .reloader
        .reload(&daemon.handle)
        .await
        .map_err(|why| Problem::unusable(why).hint("the old configuration stays in force"))?;
    let mut text = reloaded.findings.clone();
    for what in &reloaded.needs_restart {
        text.push_str(&format!("note: {what} changed, which needs a restart\n"));
    }
    text.push_str("reloaded: another configuration is in force\n");
    Ok(Shown::new(&Answer { reloaded: true, reloaded_with: reloaded }, text))
}
