//! Which binding sends a message that a client handed in.
//!
//! The client's access control list says so, or the message itself does, or nothing does and the
//! binding `default` sends it (decisions D17 and D18).

use alloc::sync::Arc;

use crate::config::effective::{BindingSource, Blackhole, GroupMember};
use crate::config::{Config, DEFAULT_BINDING};
use crate::ids::MessageId;
use crate::rng::{Purpose, Seed, entity};

/// The binding of a message; `None` if nothing assigns one and `default` takes no such mail.
/// `named` is what the message itself names: a binding or, if there is no such binding, a group.
/// `held` tells which bindings an operator suspended.
pub(crate) fn assign(
    config: &Config,
    held: &dyn Fn(&Arc<str>) -> bool,
    (seed, message): (&Seed, MessageId),
    source: &BindingSource,
    named: Option<&str>,
) -> Option<Arc<str>> {
    let of_group = |group: &str| choose(config.group_members(group), held, seed, message).cloned();
    match source {
        BindingSource::Binding(name) => Some(name.clone()),
        BindingSource::Group(group) => of_group(group),
        BindingSource::Default | BindingSource::Refuse => {
            let name = named.and_then(|name| {
                if config.has_binding(name) { Some(Arc::from(name)) } else { of_group(name) }
            });
            name.or_else(|| (*source == BindingSource::Default).then(|| DEFAULT_BINDING.into()))
        }
    }
}

/// The member of a binding group that sends a message; `None` if there is no such group or it has
/// no members (decision D17).
pub fn binding_of_group(
    config: &Config,
    seed: &Seed,
    message: MessageId,
    group: &str,
) -> Option<Arc<str>> {
    choose(config.group_members(group), &|_| false, seed, message).cloned()
}

/// Whether a message may bear that name: of a binding, or of a group that has one.
pub(crate) fn is_known(config: &Config, name: &str) -> bool {
    config.has_binding(name) || !config.group_members(name).is_empty()
}

/// Whether a recipient in a domain is refused when a client names it: `blackhole` is `inline`
/// whichever binding the message may get. `may_name` tells whether it may name one itself.
pub(crate) fn refuses(
    config: &Config,
    source: &BindingSource,
    may_name: bool,
    domain: &str,
) -> bool {
    let inline = |binding: &str| config.blackhole(binding, domain) == Blackhole::Inline;
    match source {
        BindingSource::Binding(name) => inline(name),
        BindingSource::Group(group) => {
            config.group_members(group).iter().all(|member| inline(&member.name))
        }
        BindingSource::Default | BindingSource::Refuse => {
            inline(DEFAULT_BINDING) && (!may_name || config.bindings().all(inline))
        }
    }
}

/// The member of a group that sends a message: the one with the highest draw, among those that are
/// not suspended if there are any. So all have equal shares, and when one is suspended or added the
/// others keep their messages. `None` for a group without members.
fn choose<'a>(
    members: &'a [GroupMember],
    held: &dyn Fn(&Arc<str>) -> bool,
    seed: &Seed,
    message: MessageId,
) -> Option<&'a Arc<str>> {
    let draw = |member: &&GroupMember| {
        seed.draw(Purpose::BindingChoice, message.0, entity(member.name.as_bytes()))
    };
    let awake = members.iter().filter(|member| !member.suspended && !held(&member.name));
    let chosen = awake.max_by_key(draw).or_else(|| members.iter().max_by_key(draw));
    chosen.map(|member| &member.name)
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use super::*;

    const CONFIG: &str = r#"
        binding "red" { }
        binding_group "g" {
            binding "g1" { }
            binding "g2" { suspend_delivery = true }
            binding "g3" { }
        }
        binding_group "held" {
            suspend_delivery = true
            binding "h1" { }
            binding "h2" { suspend_delivery = false }
        }
        binding_group "all_held" { binding "a1" { suspend_delivery = true } }
        binding_group "empty" { }
    "#;

    fn assigned(source: &BindingSource, named: Option<&str>, message: u64) -> Option<Arc<str>> {
        let config = Config::from_text(CONFIG).unwrap();
        assign(&config, &|_| false, (&Seed::from_u64(1), MessageId(message)), source, named)
    }

    #[test]
    fn what_is_said_first_counts() {
        let binding = |name: &str| BindingSource::Binding(name.into());
        let group = |name: &str| BindingSource::Group(name.into());
        for (source, named, expected) in [
            (binding("red"), None, Some("red")),
            (binding("red"), Some("g1"), Some("red")),
            (group("held"), Some("red"), Some("h2")),
            (group("all_held"), None, Some("a1")),
            (group("default"), None, Some("default")),
            (BindingSource::Default, None, Some("default")),
            (BindingSource::Default, Some("red"), Some("red")),
            (BindingSource::Default, Some("held"), Some("h2")),
            (BindingSource::Default, Some("default"), Some("default")),
            // Names are case-sensitive; an unknown one says nothing.
            (BindingSource::Default, Some("Red"), Some("default")),
            (BindingSource::Default, Some("empty"), Some("default")),
            (BindingSource::Default, Some(""), Some("default")),
            (BindingSource::Refuse, None, None),
            (BindingSource::Refuse, Some("nobody"), None),
            (BindingSource::Refuse, Some("red"), Some("red")),
            (BindingSource::Refuse, Some("default"), Some("default")),
        ] {
            let got = assigned(&source, named, 1);
            assert_eq!(got.as_deref(), expected, "{source:?} {named:?}");
        }
        let config = Config::from_text(CONFIG).unwrap();
        for (name, expected) in
            [("red", true), ("held", true), ("default", true), ("empty", false), ("Red", false)]
        {
            assert_eq!(is_known(&config, name), expected, "{name}");
        }
    }

    #[test]
    fn recipients_are_refused_when_every_binding_would_discard_them() {
        let config = Config::from_text(
            r#"
            domain "void.test" { blackhole = inline }
            domain "later.test" { blackhole = internal }
            binding "red" { domain "red.test" { blackhole = inline } }
            binding_group "g" {
                domain "g.test" { blackhole = inline }
                binding "g1" { domain "half.test" { blackhole = inline } }
                binding "g2" { }
            }"#,
        )
        .unwrap();
        let red = BindingSource::Binding("red".into());
        let group = BindingSource::Group("g".into());
        let default = BindingSource::Default;
        for (source, domain, expected) in [
            (&red, "void.test", true),
            (&red, "red.test", true),
            (&red, "x.test", false),
            (&red, "later.test", false),
            (&group, "void.test", true),
            (&group, "g.test", true),
            (&group, "half.test", false),
            (&default, "void.test", true),
            (&default, "red.test", false),
            (&default, "g.test", false),
        ] {
            assert_eq!(refuses(&config, source, false, domain), expected, "{source:?} {domain}");
        }
        // A message that may name any binding is refused when all of them would discard it.
        for (source, domain, expected) in [
            (&default, "void.test", true),
            (&default, "half.test", false),
            (&red, "red.test", true),
        ] {
            assert_eq!(refuses(&config, source, true, domain), expected, "{source:?} {domain}");
        }
        let config = Config::from_text("binding default { blackhole = inline } binding red { }");
        let config = config.unwrap();
        assert!(refuses(&config, &default, false, "x.test"));
        assert!(!refuses(&config, &default, true, "x.test"));
    }

    #[test]
    fn members_have_equal_shares_and_the_suspended_none() {
        let config = Config::from_text(CONFIG).unwrap();
        let mut counts = BTreeMap::new();
        for message in 0..4000 {
            let members = config.group_members("g");
            let seed = Seed::from_u64(1);
            let name = choose(members, &|_| false, &seed, MessageId(message)).unwrap();
            // An operator's suspension counts like one of the configuration.
            let g3_is_held = |name: &Arc<str>| &**name == "g3";
            let other = choose(members, &g3_is_held, &seed, MessageId(message)).unwrap();
            assert_eq!(&**other, "g1");
            *counts.entry(name.clone()).or_insert(0_u32) += 1;
        }
        assert_eq!(counts.len(), 2);
        assert!(counts.values().all(|count| (1850..2150).contains(count)), "{counts:?}");
    }

    #[test]
    fn whoever_is_not_concerned_by_a_change_keeps_its_messages() {
        let member = |name: &str, suspended| GroupMember { name: name.into(), suspended };
        let all = [member("a", false), member("b", false), member("c", false)];
        let without_b = [member("a", false), member("b", true), member("c", false)];
        for message in (0..500).map(MessageId) {
            let before = choose(&all, &|_| false, &Seed::from_u64(2), message).unwrap();
            let after = choose(&without_b, &|_| false, &Seed::from_u64(2), message).unwrap();
            assert!(before == after || (&**before == "b" && &**after != "b"));
        }
    }
}
