//! The bindings of each group, as the choice of a binding for a message sees them.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::compile::{Compiled, Container};
use super::effective::{DefaultBinding, GroupMember};
use super::options::{OptionId, id};
use super::resolve::Defaults;
use super::tree::DEFAULT;
use super::value::Value;

/// By group, in the order of their names.
pub(super) type Groups = BTreeMap<Arc<str>, Vec<GroupMember>>;

/// Looks up who is in which group and whether it is suspended as a whole.
pub(super) fn members(
    compiled: &Compiled,
    defaults: &Defaults,
    default_binding: DefaultBinding,
) -> Groups {
    let suspended = |name: &str, group: &str, own: Option<&Container>| {
        let group = compiled.groups.get(group);
        let places = own.into_iter().chain(group).chain([&compiled.global]);
        let mut set = places.filter_map(|place| place.layer.settings.get(&SUSPEND_DELIVERY));
        let value = set.next().map(|setting| &setting.value);
        let held = name == DEFAULT && default_binding == DefaultBinding::Suspended;
        held || value.or(defaults[SUSPEND_DELIVERY.index()].as_ref()) == Some(&Value::Bool(true))
    };
    let mut groups = Groups::new();
    for (name, binding) in &compiled.bindings {
        let Some(group) = &binding.group else { continue };
        let suspended = suspended(name, group, Some(&binding.container));
        groups
            .entry(group.clone())
            .or_default()
            .push(GroupMember { name: name.clone(), suspended });
    }
    if !compiled.bindings.contains_key(DEFAULT) {
        let suspended = suspended(DEFAULT, DEFAULT, None);
        let member = GroupMember { name: DEFAULT.into(), suspended };
        groups.entry(DEFAULT.into()).or_default().push(member);
    }
    groups
}

const SUSPEND_DELIVERY: OptionId = id("suspend_delivery");
