//! `[[event]]`.

use std::path::Path;
use std::time::Duration;

use toml::Spanned;

use super::super::reader::Table;
use super::super::units;
use super::read_config;
use crate::event::{EventKind, EventSpec};

/// In the order of their instants.
pub(super) fn read_all(path: &Path, root: &Table<'_>) -> Vec<EventSpec> {
    let read = |table| read(path, table);
    let mut events: Vec<EventSpec> = root.tables("event").into_iter().filter_map(read).collect();
    events.sort_by_key(|event| event.at);
    events
}

fn read(path: &Path, table: Table<'_>) -> Option<EventSpec> {
    if !table.has("at") {
        table.missing("at", "when it happens: `at = \"3h\"`");
    }
    let at = table.parsed("at", units::duration);
    if !table.has("what") {
        table.missing("what", "`what = \"reload\"`, `\"restart\"`, `\"crash\"` or `\"power_cut\"`");
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
        // What cannot be understood does not make its neighbours unknown keys.
        None => {
            for key in ["config", "config_text", "for"] {
                table.get(key);
            }
            None
        }
    };
    table.finish();
    Some(EventSpec { at: at?.into_inner(), what: what? })
}

#[derive(Clone, Copy)]
enum Kind {
    Reload,
    Restart,
    Crash,
    PowerCut,
}

const KINDS: [(&str, Kind); 4] = [
    ("reload", Kind::Reload),
    ("restart", Kind::Restart),
    ("crash", Kind::Crash),
    ("power_cut", Kind::PowerCut),
];

/// How long it takes whoever watches the process to start another.
const CRASH_DEFAULT: Duration = Duration::from_secs(1);

/// How long it takes a machine to be up again.
const POWER_CUT_DEFAULT: Duration = Duration::from_secs(60);
