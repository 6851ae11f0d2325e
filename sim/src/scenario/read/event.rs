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
        table.missing("what", "`what = \"reload\"` or `\"restart\"`");
    }
    let what = match table.word("what", &KINDS) {
        Some(Kind::Reload) => read_config(path, &table).map(EventKind::Reload),
        Some(Kind::Restart) => {
            let down = table.parsed("for", units::duration);
            let down = down.map_or(Duration::ZERO, Spanned::into_inner);
            Some(EventKind::Restart { down })
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
}

const KINDS: [(&str, Kind); 2] = [("reload", Kind::Reload), ("restart", Kind::Restart)];
