//! Why an option has the value it has: every place looked at, in order, and who else depends on it.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Config;
use super::compile::{Binding, Container, Layer};
use super::domain;
use super::effective::MaxRetries;
use super::names::Names;
use super::options::OptionId;
use super::resolve::Chain;
use super::scope::ScopeKind;
use super::source::Span;
use super::suggest::did_you_mean;
use super::tree::DEFAULT;
use super::value::{Kind, Value};
use crate::queue::retry;

/// The value of one option for one pair, and its story.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Which option.
    pub option: OptionId,
    /// The value, as it would be written; `None` if the option has none, not even built in.
    pub value: Option<String>,
    /// Where it was set; `None` if it is built in.
    pub origin: Option<Origin>,
    /// Who else draws on the same throttle. Empty for options that hold for each pair on its own.
    pub shared_with: Vec<String>,
    /// Every place that was looked at, in order. The last one is where the value was found, or the
    /// built-in value.
    pub chain: Vec<Step>,
    /// What to know about this value.
    pub note: Option<String>,
}

/// Where an option was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The stanzas around it, from outside; `global` outside every stanza.
    pub scope: String,
    /// The assignment.
    pub span: Span,
}

/// A place that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The place, as in [`Origin::scope`].
    pub scope: String,
    /// What was there.
    pub found: Found,
}

/// What was found in a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is no such stanza.
    NoStanza,
    /// There is a stanza that does not set the option; the global scope has no heading.
    NotSet(Option<Span>),
    /// The value.
    Set(Span, String),
    /// The built-in value, or that there is none.
    BuiltIn(Option<String>),
}

/// Why a question cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoSuchPlace {
    /// There is no binding of that name; the nearest ones, as a question.
    Binding(Option<String>),
    /// There is no group of that name; the nearest ones, as a question.
    Group(Option<String>),
    /// The binding is not in that group; it is in this one.
    NotInGroup(Option<Arc<str>>),
}

/// What an explanation is about.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The binding.
    pub binding: &'a str,
    /// The group it is expected to be in, if anything is expected.
    pub binding_group: Option<&'a str>,
    /// The destination.
    pub domain: &'a str,
    /// An exchange: answers about options of `host` stanzas are wanted too.
    pub host: Option<&'a str>,
}

impl Config {
    /// Explains one option. An option that can only be set elsewhere (in listeners, say) is
    /// explained by its built-in value.
    pub fn explain(
        &self,
        question: Question<'_>,
        option: OptionId,
    ) -> Result<Explanation, NoSuchPlace> {
        self.check(question)?;
        Ok(match option.spec().name {
            "cluster_max_outbound_connections" => self.explain_cluster_cap(question, option),
            _ => self.explain_pair(question, option),
        })
    }

    /// Explains what a `host` stanza says of an option; `None` if no host is asked about, or the
    /// option cannot be set there. Values do not fall back from hosts to anything else.
    pub fn explain_host(
        &self,
        question: Question<'_>,
        option: OptionId,
    ) -> Result<Option<Explanation>, NoSuchPlace> {
        self.check(question)?;
        let valid = option.spec().scopes.contains(ScopeKind::Host);
        let Some(host) = question.host.filter(|_| valid) else { return Ok(None) };
        let host = domain::key(host);
        let (binding, group) = self.containers(question.binding);
        let mut rows = Vec::new();
        for container in [binding, group, Some(&self.compiled.global)].into_iter().flatten() {
            rows.extend(stanza_rows(container, ScopeKind::Host, &container.hosts, &host));
        }
        let mut explanation = explain_rows(rows, option, Some(String::from("-1")));
        explanation.note = Some(String::from("of the exchange; -1 is no limit"));
        Ok(Some(explanation))
    }

    fn check(&self, question: Question<'_>) -> Result<(), NoSuchPlace> {
        if !self.has_binding(question.binding) {
            let names = self.compiled.bindings.keys();
            let near = did_you_mean(question.binding, names.map(|name| &**name));
            return Err(NoSuchPlace::Binding(near));
        }
        let Some(wanted) = question.binding_group else { return Ok(()) };
        let group = self.group_of(question.binding);
        match group {
            Some(group) if group == wanted => Ok(()),
            _ if wanted != DEFAULT && !self.compiled.groups.contains_key(wanted) => {
                let names = self.compiled.groups.keys();
                Err(NoSuchPlace::Group(did_you_mean(wanted, names.map(|name| &**name))))
            }
            _ => Err(NoSuchPlace::NotInGroup(group.map(Arc::from))),
        }
    }

    /// The group a binding is in; `default` for one that is not configured.
    pub fn group_of(&self, binding: &str) -> Option<&str> {
        match self.compiled.bindings.get(binding) {
            Some(Binding { group, .. }) => group.as_deref(),
            None => Some(DEFAULT),
        }
    }

    fn containers(&self, binding: &str) -> (Option<&Container>, Option<&Container>) {
        let group = self.group_of(binding).and_then(|group| self.compiled.groups.get(group));
        (self.compiled.bindings.get(binding).map(|binding| &binding.container), group)
    }

    fn explain_pair(&self, question: Question<'_>, option: OptionId) -> Explanation {
        let name = domain::key(question.domain);
        let (binding, group) = self.containers(question.binding);
        let mut rows = Vec::new();
        for container in [binding, group].into_iter().flatten() {
            rows.extend(stanza_rows(container, ScopeKind::Domain, &container.domains, &name));
        }
        match binding {
            Some(binding) => rows.push(row(&binding.layer)),
            None => rows.push((format!("binding \"{}\"", question.binding), None)),
        }
        rows.extend(group.map(|group| row(&group.layer)));
        let global = &self.compiled.global;
        rows.extend(stanza_rows(global, ScopeKind::Domain, &global.domains, &name));
        rows.push(row(&global.layer));

        let built_in = self.defaults[option.index()].as_ref().map(Value::to_string);
        let mut explanation = explain_rows(rows, option, built_in);
        explanation.shared_with = self.sharers(question, option);
        explanation.note = self.note(question, option);
        explanation
    }

    /// `cluster_max_outbound_connections` has an order of its own: the exchange before the domain,
    /// and groups are passed over.
    fn explain_cluster_cap(&self, question: Question<'_>, option: OptionId) -> Explanation {
        let (binding, _) = self.containers(question.binding);
        let containers = || [binding, Some(&self.compiled.global)].into_iter().flatten();
        let mut rows = Vec::new();
        if let Some(host) = question.host.map(domain::key) {
            for container in containers() {
                rows.extend(stanza_rows(container, ScopeKind::Host, &container.hosts, &host));
            }
        }
        let name = domain::key(question.domain);
        for container in containers() {
            rows.extend(stanza_rows(container, ScopeKind::Domain, &container.domains, &name));
            rows.push(row(&container.layer));
        }
        let built_in = self.defaults[option.index()].as_ref().map(Value::to_string);
        explain_rows(rows, option, built_in)
    }

    /// Who else draws on the throttle that this pair draws on.
    fn sharers(&self, question: Question<'_>, option: OptionId) -> Vec<String> {
        if option.spec().kind != Kind::Rate {
            return Vec::new();
        }
        let source = |binding: &str| {
            let chain = Chain::of_pair(&self.compiled, &self.defaults, binding, question.domain);
            chain.layer(option).map(core::ptr::from_ref::<Layer>)
        };
        let Some(own) = source(question.binding) else { return Vec::new() };
        let mut sharers = Vec::new();
        let names = self.compiled.bindings.keys().map(|name| &**name);
        let default = (!self.compiled.bindings.contains_key(DEFAULT)).then_some(DEFAULT);
        for binding in names.chain(default).filter(|&name| name != question.binding) {
            if source(binding) == Some(own) {
                sharers.push(format!("binding \"{binding}\""));
            }
        }
        let chain =
            Chain::of_pair(&self.compiled, &self.defaults, question.binding, question.domain);
        if let Some(layer) = chain.layer(option) {
            let named = format!("domain \"{}\"", domain::key(question.domain));
            if layer.scope.ends_with("/\"") {
                sharers.push(String::from("every other domain that the pattern matches"));
            } else if !layer.scope.ends_with(&named) {
                sharers.push(String::from("every other domain that sets no value of its own"));
            }
        }
        sharers
    }

    /// What an operator should know about a value, because the original's manual leaves it open.
    fn note(&self, question: Question<'_>, option: OptionId) -> Option<String> {
        let options = self.delivery_options(question.binding, question.domain);
        match option.spec().name {
            "max_retries" if options.max_retries == MaxRetries::Auto => {
                let retries = retry::retries_allowed(&options)?;
                Some(format!(
                    "auto is {retries} here: as many retries as fit message_expiration if the wait \
                     doubled without limit"
                ))
            }
            "suspend_delivery" if question.binding == DEFAULT && self.holds_default_binding() => {
                Some(String::from("`default_binding = suspended` holds all mail of this binding"))
            }
            "message_expiration" => Some(String::from(
                "looked at after a failed attempt; the next attempt may be due later than that",
            )),
            "outbound_throttle_messages" | "outbound_throttle_connections" => {
                Some(String::from("a bound on every window of that length, not an average"))
            }
            _ => None,
        }
    }
}

/// A place, and the stanza that is there.
type Row<'a> = (String, Option<&'a Layer>);

fn row(layer: &Layer) -> Row<'_> {
    (scope_name(layer), Some(layer))
}

fn scope_name(layer: &Layer) -> String {
    if layer.scope.is_empty() { String::from("global") } else { layer.scope.to_string() }
}

/// The stanzas of a container that are about a name; one empty place if there are none.
fn stanza_rows<'a>(
    container: &'a Container,
    kind: ScopeKind,
    names: &'a Names,
    name: &str,
) -> Vec<Row<'a>> {
    let mut rows: Vec<_> = names.matching(name).map(row).collect();
    if rows.is_empty() {
        let outside = &container.layer.scope;
        let blank = if outside.is_empty() { "" } else { " " };
        rows.push((format!("{outside}{blank}{} \"{name}\"", kind.name()), None));
    }
    rows
}

fn explain_rows(rows: Vec<Row<'_>>, option: OptionId, built_in: Option<String>) -> Explanation {
    let mut chain = Vec::new();
    for (scope, layer) in rows {
        let Some(layer) = layer else {
            chain.push(Step { scope, found: Found::NoStanza });
            continue;
        };
        let Some(setting) = layer.settings.get(&option) else {
            let heading = (!layer.scope.is_empty()).then_some(layer.heading);
            chain.push(Step { scope, found: Found::NotSet(heading) });
            continue;
        };
        let value = setting.value.to_string();
        let found = Found::Set(setting.span, value.clone());
        chain.push(Step { scope: scope.clone(), found });
        let origin = Some(Origin { scope, span: setting.span });
        return Explanation {
            option,
            value: Some(value),
            origin,
            shared_with: Vec::new(),
            chain,
            note: None,
        };
    }
    let found = Found::BuiltIn(built_in.clone());
    chain.push(Step { scope: String::from("built in"), found });
    Explanation {
        option,
        value: built_in,
        origin: None,
        shared_with: Vec::new(),
        chain,
        note: None,
    }
}

/// The option of a name in the sense of outbound mail; a name of options of listeners alone finds
/// those.
pub fn find_option(name: &str) -> Option<OptionId> {
    let mut named: Vec<_> = OptionId::all()
        .filter(|id| {
            let spec = id.spec();
            let mut names = core::iter::once(&spec.name).chain(spec.aliases);
            names.any(|known| known.eq_ignore_ascii_case(name))
        })
        .collect();
    named.sort_by_key(|id| !id.spec().scopes.contains(ScopeKind::Global));
    named.first().copied()
}

/// The options whose names are nearest to a misspelt one.
pub fn near_options(name: &str) -> Option<String> {
    did_you_mean(name, OptionId::all().map(|id| id.spec().name))
}

/// The options that can be set for pairs of binding and domain, in order of their names.
pub fn pair_options() -> Vec<OptionId> {
    let outbound = [ScopeKind::Binding, ScopeKind::BindingGroup, ScopeKind::Domain];
    let mut options: Vec<_> = OptionId::all()
        .filter(|id| outbound.iter().any(|&kind| id.spec().scopes.contains(kind)))
        .collect();
    options.sort_by_key(|id| id.spec().name);
    options
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    const TEXT: &str = r#"
        outbound_throttle_messages = 100
        domain "shop.test" { retry_interval = 500 }
        domain "/test$/" { outbound_throttle_connections = 5 max_outbound_connections = 9 }
        host "mx.shop.test" { max_outbound_connections = 3 }
        binding "red" { max_outbound_connections = 8 }
        binding_group "g" {
          outbound_throttle_messages = "10/60"
          binding "green" { host "/shop/" { } }
          binding "grey" { }
          binding "loud" { outbound_throttle_messages = 4 }
        }
    "#;

    fn question<'a>(binding: &'a str, domain: &'a str) -> Question<'a> {
        Question { binding, binding_group: None, domain, host: Some("MX.shop.test") }
    }

    /// The story on lines.
    fn story(explanation: &Explanation) -> String {
        let mut text = format!("{:?}", explanation.value);
        for step in &explanation.chain {
            let found = match &step.found {
                Found::NoStanza => String::from("no stanza"),
                Found::NotSet(_) => String::from("not set"),
                Found::Set(_, value) => format!("set to {value}"),
                Found::BuiltIn(value) => format!("{value:?}"),
            };
            text += &format!("\n  {}: {found}", step.scope);
        }
        for sharer in &explanation.shared_with {
            text += &format!("\n  shared with {sharer}");
        }
        text
    }

    fn tell(binding: &str, domain: &str, option: &str) -> String {
        let config = Config::from_text(TEXT).unwrap();
        let option = find_option(option).unwrap();
        story(&config.explain(question(binding, domain), option).unwrap())
    }

    #[test]
    fn every_place_is_told_up_to_the_one_that_counts() {
        assert_snapshot!(tell("green", "Shop.Test", "max_outbound_connections"), @r##"
        Some("9")
          binding_group "g" binding "green" domain "shop.test": no stanza
          binding_group "g" domain "shop.test": no stanza
          binding_group "g" binding "green": not set
          binding_group "g": not set
          domain "shop.test": not set
          domain "/test$/": set to 9
        "##);
        assert_snapshot!(tell("red", "shop.test", "max_outbound_connections"), @r##"
        Some("8")
          binding "red" domain "shop.test": no stanza
          binding "red": set to 8
        "##);
        assert_snapshot!(tell("default", "x.example", "gateway"), @r##"
        None
          binding "default": no stanza
          domain "x.example": no stanza
          global: not set
          built in: None
        "##);
    }

    #[test]
    fn throttles_tell_who_shares_them() {
        assert_snapshot!(tell("green", "x.example", "outbound_throttle_messages"), @r##"
        Some("10/60")
          binding_group "g" binding "green" domain "x.example": no stanza
          binding_group "g" domain "x.example": no stanza
          binding_group "g" binding "green": not set
          binding_group "g": set to 10/60
          shared with binding "grey"
          shared with every other domain that sets no value of its own
        "##);
        assert_snapshot!(tell("red", "x.example", "outbound_throttle_messages"), @r##"
        Some("100")
          binding "red" domain "x.example": no stanza
          binding "red": not set
          domain "x.example": no stanza
          global: set to 100
          shared with binding "default"
          shared with every other domain that sets no value of its own
        "##);
        assert_snapshot!(tell("loud", "x.example", "outbound_throttle_messages"), @r##"
        Some("4")
          binding_group "g" binding "loud" domain "x.example": no stanza
          binding_group "g" domain "x.example": no stanza
          binding_group "g" binding "loud": set to 4
          shared with every other domain that sets no value of its own
        "##);
        assert_snapshot!(tell("loud", "a.test", "outbound_throttle_connections"), @r##"
        Some("5")
          binding_group "g" binding "loud" domain "a.test": no stanza
          binding_group "g" domain "a.test": no stanza
          binding_group "g" binding "loud": not set
          binding_group "g": not set
          domain "/test$/": set to 5
          shared with binding "green"
          shared with binding "grey"
          shared with binding "red"
          shared with binding "default"
          shared with every other domain that the pattern matches
        "##);
    }

    #[test]
    fn hosts_have_a_chain_of_their_own() {
        let config = Config::from_text(TEXT).unwrap();
        let cap = find_option("max_outbound_connections").unwrap();
        let host = |binding| config.explain_host(question(binding, "x.test"), cap).unwrap();
        assert_snapshot!(story(&host("green").unwrap()), @r##"
        Some("3")
          binding_group "g" binding "green" host "/shop/": not set
          binding_group "g" host "mx.shop.test": no stanza
          host "mx.shop.test": set to 3
        "##);
        let interval = find_option("retry_interval").unwrap();
        let other = config.explain_host(question("green", "x.test"), interval).unwrap();
        assert!(other.is_none());
    }

    #[test]
    fn the_cap_of_the_cluster_looks_at_the_exchange_first_and_never_at_groups() {
        let text = "cluster_max_outbound_connections = 90
            domain \"x.test\" { cluster_max_outbound_connections = 50 }
            host \"mx.x.test\" { cluster_max_outbound_connections = 7 }
            binding_group \"g\" { binding \"green\" { } }";
        let config = Config::from_text(text).unwrap();
        let cap = find_option("cluster_max_outbound_connections").unwrap();
        let ask = |host| {
            let question = Question { host, ..question("green", "x.test") };
            story(&config.explain(question, cap).unwrap())
        };
        assert_snapshot!(ask(Some("mx.x.test")), @r#"
        Some("7")
          binding_group "g" binding "green" host "mx.x.test": no stanza
          host "mx.x.test": set to 7
        "#);
        assert_snapshot!(ask(Some("mx.y.test")), @r#"
        Some("50")
          binding_group "g" binding "green" host "mx.y.test": no stanza
          host "mx.y.test": no stanza
          binding_group "g" binding "green" domain "x.test": no stanza
          binding_group "g" binding "green": not set
          domain "x.test": set to 50
        "#);
        assert_snapshot!(ask(None), @r#"
        Some("50")
          binding_group "g" binding "green" domain "x.test": no stanza
          binding_group "g" binding "green": not set
          domain "x.test": set to 50
        "#);
    }

    #[test]
    fn places_that_do_not_exist_are_told() {
        let config = Config::from_text(TEXT).unwrap();
        let option = find_option("tls").unwrap();
        let ask = |binding, binding_group| {
            let question = Question { binding, binding_group, domain: "x.test", host: None };
            config.explain(question, option).map(|_| ())
        };
        assert_eq!(ask("pink", None), Err(NoSuchPlace::Binding(None)));
        let near = Some(String::from("did you mean `green`?"));
        assert_eq!(ask("greenn", None), Err(NoSuchPlace::Binding(near)));
        assert_eq!(ask("green", Some("h")), Err(NoSuchPlace::Group(None)));
        let other = NoSuchPlace::NotInGroup(Some(Arc::from("g")));
        assert_eq!(ask("green", Some("default")), Err(other));
        assert_eq!(ask("red", Some("g")), Err(NoSuchPlace::NotInGroup(None)));
        assert_eq!(ask("green", Some("g")), Ok(()));
        assert_eq!(ask("default", Some("default")), Ok(()));
    }
}
