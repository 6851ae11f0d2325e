//! Events: what the operator does to the server while mail is under way.

use std::time::Duration;

use traject_engine::control::Action;

use crate::scenario::ConfigSource;

/// One `[[event]]` of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSpec {
    /// When, from the start of the scenario.
    pub at: Duration,
    /// What happens.
    pub what: EventKind,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Another configuration comes into force, as with SIGHUP.
    Reload(ConfigSource),
    /// The process drains and ends, as with SIGTERM, and a new one recovers the spool.
    Restart {
        /// How long there is no process.
        down: Duration,
    },
    /// The operator does something with waiting mail, as with `traject ctl`.
    Control {
        /// What.
        action: Action,
        /// Of a suspension: how long it lasts; `None` until somebody resumes.
        length: Option<Duration>,
    },
    /// The process dies at once, as with SIGKILL, and a new one recovers the spool.
    Crash {
        /// How long there is no process.
        down: Duration,
    },
    /// The machine loses its power: of what was not synced the disk has a part or nothing.
    PowerCut {
        /// How long there is no process.
        down: Duration,
    },
}

impl EventKind {
    /// Whether another process is there afterwards.
    pub const fn ends_process(&self) -> bool {
        match self {
            Self::Reload(_) | Self::Control { .. } => false,
            Self::Restart { .. } | Self::Crash { .. } | Self::PowerCut { .. } => true,
        }
    }

    /// Its name in scenarios.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Reload(_) => "reload",
            Self::Control { action, .. } => action.name(),
            Self::Restart { .. } => "restart",
            Self::Crash { .. } => "crash",
            Self::PowerCut { .. } => "power_cut",
        }
    }

    /// What happens in a few words, without its instant.
    pub fn words(&self) -> String {
        match self {
            Self::Reload(ConfigSource::File(path)) => {
                let name = path.file_name().unwrap_or(path.as_os_str());
                format!("reload of {}", name.to_string_lossy())
            }
            Self::Reload(ConfigSource::Inline(_))
            | Self::Restart { .. }
            | Self::Crash { .. }
            | Self::PowerCut { .. } => self.name().to_owned(),
            Self::Control { action, .. } => control_words(action),
        }
    }
}

/// An operator's action in a few words.
pub fn control_words(action: &Action) -> String {
    let words = format!("{} of {}", action.name(), action.of());
    match action {
        Action::Reroute { to_binding, to_domain, .. } => {
            let by = to_binding.iter().map(|binding| format!(" by {binding}"));
            let to = to_domain.iter().map(|domain| format!(" to {domain}"));
            words + &by.chain(to).collect::<String>()
        }
        Action::Suspend { .. }
        | Action::Resume { .. }
        | Action::Flush { .. }
        | Action::Fail { quiet: false, .. } => words,
        Action::Fail { quiet: true, .. } => words + " without telling senders",
    }
}
