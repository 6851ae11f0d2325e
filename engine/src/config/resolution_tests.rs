//! Fallback against a second resolver that is slow and obviously right.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use proptest::prelude::*;
use proptest::sample::select;
use regex::Regex;

use super::Config;
use super::explain::{Question, find_option};

/// One option set in one place; a configuration is a list of them.
#[derive(Clone, Debug)]
struct Assignment {
    group: Option<&'static str>,
    binding: Option<&'static str>,
    domain: Option<&'static str>,
    option: &'static str,
    value: u32,
}

const OPTIONS: [&str; 2] = ["retry_interval", "body_timeout"];
const NAMES: [&str; 4] = ["shop.test", "a.test", "Shop.Example", "x.example"];
/// Which binding is in which group.
const BINDINGS: [(&str, Option<&str>); 4] =
    [("default", Some("default")), ("red", None), ("green", Some("g")), ("grey", Some("g"))];

fn assignment() -> impl Strategy<Value = Assignment> {
    let places = [
        (None, None),
        (Some("g"), None),
        (Some("default"), None),
        (Some("default"), Some("default")),
        (None, Some("red")),
        (Some("g"), Some("green")),
        (Some("g"), Some("grey")),
    ];
    let domains = ["shop.test", "SHOP.test", "a.test", "shop.example", "/[.]test$/", "/^s/", "/o/"];
    (
        select(places.to_vec()),
        proptest::option::weighted(0.7, select(domains.to_vec())),
        0..2_usize,
        1..50_u32,
    )
        .prop_map(|((group, binding), domain, option, value)| Assignment {
            group,
            binding,
            domain,
            option: OPTIONS[option],
            value,
        })
        .boxed()
}

/// Each assignment in stanzas of its own, so that all of them have to be merged.
fn text(assignments: &[Assignment]) -> String {
    let mut text =
        String::from("binding red { }\nbinding_group g { binding green { } binding grey { } }\n");
    for Assignment { group, binding, domain, option, value } in assignments {
        let mut line = format!("{option} = {value}");
        if let Some(domain) = domain {
            line = format!("domain \"{domain}\" {{ {line} }}");
        }
        if let Some(binding) = binding {
            line = format!("binding \"{binding}\" {{ {line} }}");
        }
        if let Some(group) = group {
            line = format!("binding_group \"{group}\" {{ {line} }}");
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// The places of the fallback order, one after the other; in each, what was assigned last.
fn slow(assignments: &[Assignment], binding: &str, domain: &str, option: &str) -> Option<u32> {
    let group = BINDINGS.iter().find(|(name, _)| *name == binding).unwrap().1;
    let containers = [(group, Some(binding)), (group, None)];
    let mut places: Vec<(Option<&str>, Option<&str>, Option<&str>)> = Vec::new();
    for (index, &(group, name)) in containers.iter().enumerate() {
        if index == 1 && group.is_none() {
            continue;
        }
        places.extend(stanzas(assignments, group, name, domain).map(|d| (group, name, Some(d))));
    }
    places.push((group, Some(binding), None));
    if group.is_some() {
        places.push((group, None, None));
    }
    places.extend(stanzas(assignments, None, None, domain).map(|d| (None, None, Some(d))));
    places.push((None, None, None));
    places.into_iter().find_map(|(group, binding, domain)| {
        let mut last = None;
        for assignment in assignments {
            let same_domain = match (assignment.domain, domain) {
                (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
                (None, None) => true,
                _ => false,
            };
            let here = (assignment.group, assignment.binding) == (group, binding);
            if here && same_domain && assignment.option == option {
                last = Some(assignment.value);
            }
        }
        last
    })
}

/// The domain stanzas of a container that are about a domain, exact ones first.
fn stanzas(
    assignments: &[Assignment],
    group: Option<&str>,
    binding: Option<&str>,
    domain: &str,
) -> impl Iterator<Item = &'static str> {
    let all: Vec<_> = assignments
        .iter()
        .filter(|assignment| (assignment.group, assignment.binding) == (group, binding))
        .filter_map(|assignment| assignment.domain)
        .collect();
    let lower = domain.to_lowercase();
    let exact = all.iter().filter(|name| name.eq_ignore_ascii_case(domain)).copied();
    let regex = all.iter().copied().filter(move |name| {
        let pattern = name.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
        pattern.is_some_and(|pattern| Regex::new(pattern).unwrap().is_match(&lower))
    });
    exact.chain(regex).collect::<Vec<_>>().into_iter()
}

proptest! {
    #[test]
    fn both_resolvers_agree(assignments in prop::collection::vec(assignment(), 0..30)) {
        let config = Config::from_text(&text(&assignments)).unwrap();
        for (binding, _) in BINDINGS {
            for domain in NAMES {
                let options = config.delivery_options(binding, domain);
                let fast = [options.retry_interval, options.body_timeout];
                for ((option, fast), built_in) in OPTIONS.iter().zip(fast).zip([1200, 600]) {
                    let slow = slow(&assignments, binding, domain, option);
                    prop_assert_eq!(
                        fast.as_secs(),
                        u64::from(slow.unwrap_or(built_in)),
                        "{} of {} to {}", option, binding, domain
                    );
                    let question = Question { binding, binding_group: None, domain, host: None };
                    let story = config.explain(question, find_option(option).unwrap()).unwrap();
                    let told = story.value.unwrap();
                    prop_assert_eq!(told, format!("{}", fast.as_secs()));
                    prop_assert_eq!(story.origin.is_some(), slow.is_some());
                }
            }
        }
    }
}
