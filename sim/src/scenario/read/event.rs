//! `[[event]]`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use traject_engine::control::{Action, Selector};

use super::super::reader::Table;
use super::super::{Places, units};
use super::read_config;
use crate::event::{EventKind, EventSpec};
use crate::traffic::domain_name;

/// In the order of their instants.
pub(super) fn read_all(path: &Path, root: &Table<'_>, places: &mut Places) -> Vec<EventSpec> {
    let tables = root.tables("event").into_iter();
    let mut events: Vec<EventSpec> = tables.filter_map(|table| read(path, table, places)).collect();
    events.sort_by_key(|event| event.at);
    events
}

fn read(path: &Path, table: Table<'_>, places: &mut Places) -> Option<EventSpec> {
    if !table.has("at") {
        table.missing("at", "when it happens: `at = \"3h\"`");
    }
    let at = table.parsed("at", units::duration);
    if !table.has("what") {
        let words: Vec<String> = KINDS.iter().map(|(word, _)| format!("`\"{word}\"`")).collect();
        table.missing("what", &format!("what happens: {}", words.join(", ")));
    }
    let what = match table.word("what", &KINDS) {
        Some(Kind::Reload) => read_config(path, &table).map(EventKind::Reload),
        Some(Kind::Restart) => {
            let down = table.parsed("for", units::duration);
            let down = down.map_or(Duration::ZERO, Spanned::into_inner);
            Some(EventKind::Restart { down })
        }
        Some(kind @ (Kind::Crash | Kind::PowerCut)) => {
            let down = table.parsed("for", units::duration);
            if let Some(zero) = down.as_ref().filter(|down| down.get_ref().is_zero()) {
                let message = "another process takes some time to begin";
                table.diagnostics().error(zero.span(), message);
            }
            let default =
                if matches!(kind, Kind::Crash) { CRASH_DEFAULT } else { POWER_CUT_DEFAULT };
            let down = down.map_or(default, Spanned::into_inner);
            Some(match kind {
                Kind::PowerCut => EventKind::PowerCut { down },
                _ => EventKind::Crash { down },
            })
        }
        Some(Kind::Suspend) => {
            let of = read_selector(&table, places);
            let length = table.parsed("for", units::duration);
            if let Some(zero) = length.as_ref().filter(|length| length.get_ref().is_zero()) {
                table.diagnostics().error(zero.span(), "a suspension takes some time");
            }
            let length = length.map(Spanned::into_inner);
            Some(EventKind::Control { action: Action::Suspend { of, until: None }, length })
        }
        Some(Kind::Resume) => control(Action::Resume { of: read_selector(&table, places) }),
        Some(Kind::Flush) => control(Action::Flush { of: read_selector(&table, places) }),
        Some(Kind::Fail) => {
            let of = read_selector(&table, places);
            let reason = table.text("reason").map(|reason| reason.into_inner().into());
            let quiet = table.boolean("quiet").unwrap_or(false);
            control(Action::Fail { of, reason, quiet })
        }
        Some(Kind::Reroute) => {
            let of = read_selector(&table, places);
            let to_binding = read_binding(&table, "to_binding", places);
            let to_domain = table.parsed("to_domain", domain_name).map(Spanned::into_inner);
            if !table.has("to_binding") && !table.has("to_domain") {
                table.missing("to_domain", "where the mail goes: `to_domain` or `to_binding`");
            }
            control(Action::Reroute { of, to_binding, to_domain })
        }
        // What cannot be understood does not make its neighbours unknown keys.
        None => {
            for key in ["config", "config_text", "for", "binding", "domain", "reason"] {
                table.get(key);
            }
            for key in ["to_binding", "to_domain", "quiet"] {
                table.get(key);
            }
            None
        }
    };
    table.finish();
    Some(EventSpec { at: at?.into_inner(), what: what? })
}

const fn control(action: Action) -> Option<EventKind> {
    Some(EventKind::Control { action, length: None })
}

/// Which mail an operator means.
fn read_selector(table: &Table<'_>, places: &mut Places) -> Selector {
    let binding = read_binding(table, "binding", places);
    let domain = table.parsed("domain", domain_name).map(Spanned::into_inner);
    Selector { binding, domain, message: None }
}

fn read_binding(table: &Table<'_>, key: &'static str, places: &mut Places) -> Option<Arc<str>> {
    let binding = table.text(key)?;
    places.bindings.push(binding.clone());
    Some(binding.into_inner().into())
}

#[derive(Clone, Copy)]
enum Kind {
    Reload,
    Restart,
    Crash,
    PowerCut,
    Suspend,
    Resume,
    Flush,
    Fail,
    Reroute,
}

const KINDS: [(&str, Kind); 9] = [
    ("reload", Kind::Reload),
    ("restart", Kind::Restart),
    ("crash", Kind::Crash),
    ("power_cut", Kind::PowerCut),
    ("suspend", Kind::Suspend),
    ("resume", Kind::Resume),
    ("flush", Kind::Flush),
    ("fail", Kind::Fail),
    ("reroute", Kind::Reroute),
];

/// How long it takes whoever watches the process to start another.
const CRASH_DEFAULT: Duration = Duration::from_secs(1);

/// How long it takes a machine to be up again.
const POWER_CUT_DEFAULT: Duration = Duration::from_secs(60);
