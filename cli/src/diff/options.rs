//! Which options change for which mail, inherited ones included.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use traject_engine::config::explain::{Explanation, Question, pair_options};
use traject_engine::config::options::OptionId;
use traject_engine::config::{Config, Sources};

/// A configuration, and the files it came from.
pub(super) struct Side {
    pub(super) config: Config,
    pub(super) sources: Sources,
}

/// A binding and a domain.
pub(super) type PairName = (Arc<str>, Arc<str>);

/// An option that has another value for some mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct OptionChange {
    /// Its name.
    pub(super) option: &'static str,
    /// Its value in the old configuration.
    pub(super) base: Setting,
    /// Its value in the new one.
    pub(super) head: Setting,
    /// The mail it holds for.
    pub(super) pairs: Vec<PairName>,
}

/// A value, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Setting {
    /// As it would be written; `None` when there is none, not even built in.
    pub(super) value: Option<String>,
    /// `file:line`; `None` when it is built in.
    pub(super) set_at: Option<String>,
}

/// The options whose values differ for any of the pairs, in the order of their names.
pub(super) fn changes(base: &Side, head: &Side, pairs: &BTreeSet<PairName>) -> Vec<OptionChange> {
    let mut changes = Vec::new();
    for option in pair_options() {
        let mut found: BTreeMap<(Setting, Setting), Vec<PairName>> = BTreeMap::new();
        for pair in pairs {
            let (before, after) = (base.setting(option, pair), head.setting(option, pair));
            if before.value != after.value {
                found.entry((before, after)).or_default().push(pair.clone());
            }
        }
        changes.extend(found.into_iter().map(|((base, head), pairs)| {
            let option = option.spec().name;
            OptionChange { option, base, head, pairs }
        }));
    }
    changes
}

impl Side {
    fn setting(&self, option: OptionId, (binding, domain): &PairName) -> Setting {
        let question = Question { binding, binding_group: None, domain, host: None };
        match self.config.explain(question, option) {
            Ok(Explanation { value, origin, .. }) => Setting {
                value,
                set_at: origin.map(|origin| {
                    let file = self.sources.name(origin.span.file);
                    format!("{file}:{}", self.sources.line(origin.span))
                }),
            },
            // A scenario is checked for bindings that do not exist.
            Err(_) => Setting { value: None, set_at: None },
        }
    }
}
