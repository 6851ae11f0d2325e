//! Config: the value of an option that is in force for a pair is what a slow resolver finds, which
//! reads the text again for each question. It knows the plain form that random worlds are written
//! in: one stanza's head, one option or one closing brace a line.

use traject_engine::Timestamp;
use traject_engine::config::Config;
use traject_engine::config::effective::DeliveryOptions;

use super::{Entity, Finding, Law, Violation, ensure};

/// Judges the options of each of these pairs of a binding and a domain.
///
/// # Errors
///
/// When one is another than the text says.
pub fn judge<'a>(
    text: &str,
    config: &Config,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), Violation> {
    // Unwrap is OK because an empty configuration is one.
    let built_in = Config::from_text("").expect("an empty configuration");
    let slow = Slow::read(text);
    for (binding, domain) in pairs {
        let fast = config.delivery_options(binding, domain);
        let unset = built_in.delivery_options(binding, domain);
        for (option, value) in OPTIONS {
            let said = slow.find(option, binding, domain).map(str::to_owned);
            let expected = said.unwrap_or_else(|| value(&unset));
            let found = value(&fast);
            let judged = ensure(Law::Config, found == expected, || {
                format!("{option} of {binding}/{domain} is {found}, the text says {expected}")
            });
            judged.map_err(|finding: Finding| finding.at(Timestamp(0), Entity::Run))?;
        }
    }
    Ok(())
}

type Value = fn(&DeliveryOptions) -> String;

/// Options whose text is their value.
const OPTIONS: &[(&str, Value)] = &[
    ("retry_interval", |o| o.retry_interval.as_secs().to_string()),
    ("max_retry_interval", |o| o.max_retry_interval.as_secs().to_string()),
    ("message_expiration", |o| o.message_expiration.as_secs().to_string()),
    ("never_retry", |o| o.never_retry.to_string()),
    ("never_attempt_expired_messages", |o| o.never_attempt_expired_messages.to_string()),
    ("max_outbound_connections", |o| o.max_outbound_connections.to_string()),
    ("max_deliveries_per_connection", |o| o.max_deliveries_per_connection.to_string()),
    ("max_recipients_per_batch", |o| o.max_recipients_per_batch.to_string()),
    ("max_recipients_per_connection", |o| o.max_recipients_per_connection.to_string()),
    ("connect_timeout", |o| o.connect_timeout.as_secs().to_string()),
    ("ehlo_timeout", |o| o.ehlo_timeout.as_secs().to_string()),
    ("mailfrom_timeout", |o| o.mailfrom_timeout.as_secs().to_string()),
    ("rcptto_timeout", |o| o.rcptto_timeout.as_secs().to_string()),
    ("body_timeout", |o| o.body_timeout.as_secs().to_string()),
    ("idle_timeout", |o| o.idle_timeout.as_secs().to_string()),
    ("host_failure_retry", |o| o.host_failure_retry.as_secs().to_string()),
    ("mx_failures_to_delay", |o| o.mx_failures_to_delay.to_string()),
    ("dns_failures_to_purge", |o| o.dns_failures_to_purge.to_string()),
];

/// Every setting with the stanzas around it, in the order of the text.
struct Slow<'t> {
    settings: Vec<(Place<'t>, &'t str, &'t str)>,
    /// Every stanza.
    stanzas: Vec<Place<'t>>,
}

/// The stanzas around a setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place<'t> {
    group: Option<&'t str>,
    binding: Option<&'t str>,
    domain: Option<&'t str>,
    host: Option<&'t str>,
}

impl<'t> Slow<'t> {
    fn read(text: &'t str) -> Self {
        let mut around = vec![Place::default()];
        let (mut settings, mut stanzas) = (Vec::new(), Vec::new());
        for line in text.lines().map(str::trim) {
            let place = around.last().copied().unwrap_or_default();
            if line == "}" {
                around.pop();
            } else if let Some(head) = line.strip_suffix('{') {
                around.push(place.inside(head));
                stanzas.push(place.inside(head));
            } else if let Some((option, value)) = line.split_once(" = ") {
                settings.push((place, option, value));
            }
        }
        Self { settings, stanzas }
    }

    /// The value that is nearest to a pair: of the binding's and then the group's domain stanzas,
    /// of the binding, of the group, of the global domain stanzas, of the global scope.
    fn find(&self, option: &str, binding: &str, domain: &str) -> Option<&'t str> {
        let group = self.group_of(binding);
        let of_binding = Place { group, binding: Some(binding), ..Place::default() };
        let of_group = Place { group, ..Place::default() };
        let global = Place::default();
        let mut places = self.domains(of_binding, domain);
        if group.is_some() {
            places.extend(self.domains(of_group, domain));
        }
        places.push(of_binding);
        if group.is_some() {
            places.push(of_group);
        }
        places.extend(self.domains(global, domain));
        places.push(global);
        places.into_iter().find_map(|place| {
            let here = |(at, name, _): &&(Place<'_>, &str, &str)| *at == place && *name == option;
            self.settings.iter().rfind(here).map(|(.., value)| *value)
        })
    }

    /// The group that a binding is written in.
    fn group_of(&self, binding: &str) -> Option<&'t str> {
        let mut of_binding = self.stanzas.iter().filter(|at| at.binding == Some(binding));
        of_binding.next().and_then(|at| at.group)
    }

    /// The domain stanzas in a place that a domain matches, exact names first.
    fn domains(&self, around: Place<'t>, domain: &str) -> Vec<Place<'t>> {
        let within = |at: &Place<'_>| Place { domain: None, ..*at } == around;
        let all = self.settings.iter().map(|(at, ..)| *at).filter(within);
        let named: Vec<Place<'t>> = all.filter(|at| at.domain.is_some()).collect();
        let exact = named.iter().filter(|at| at.domain == Some(domain));
        let pattern = named.iter().filter(|at| at.domain.is_some_and(|of| matches(of, domain)));
        exact.chain(pattern).copied().collect()
    }
}

impl<'t> Place<'t> {
    /// Inside of a stanza with this head.
    fn inside(self, head: &'t str) -> Self {
        let (kind, name) = head.trim().split_once(' ').unwrap_or_else(|| (head.trim(), ""));
        let name = Some(name.trim_matches('"'));
        match kind {
            "binding_group" => Self { group: name, ..self },
            "binding" => Self { binding: name, ..self },
            "domain" => Self { domain: name, ..self },
            _ => Self { host: name, ..self },
        }
    }
}

/// Whether a domain is like a pattern: a piece of a name in slashes, which `^` binds to its begin
/// and `$` to its end.
fn matches(pattern: &str, domain: &str) -> bool {
    let inner = pattern.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
    let Some(inner) = inner.map(|inner| inner.replace("\\.", ".")) else { return false };
    match (inner.strip_prefix('^'), inner.strip_suffix('$')) {
        (Some(begin), _) => domain.starts_with(begin),
        (None, Some(end)) => domain.ends_with(end),
        (None, None) => domain.contains(&inner),
    }
}
