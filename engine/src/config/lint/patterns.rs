//! Regular expressions that match too much, or nothing.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use regex_syntax::hir::{Class, Hir, HirKind, Look};

use super::super::compile::Layer;
use super::super::diagnostic::Diagnostic;
use super::super::names::Names;
use super::super::options::OptionId;
use super::{NEVER_MATCHES, SHADOWED, UNANCHORED, View};

pub(super) fn check(view: &View<'_>, found: &mut Vec<Diagnostic>) {
    for (container, _) in view.containers() {
        for names in [&container.domains, &container.hosts] {
            check_names(names, found);
        }
    }
}

fn check_names(names: &Names, found: &mut Vec<Diagnostic>) {
    // For each option, the first pattern that matches everything and sets it.
    let mut settled: BTreeMap<OptionId, &Layer> = BTreeMap::new();
    for (regex, layer) in names.patterns() {
        let Ok(hir) = regex_syntax::parse(regex.as_str()) else { continue };
        if let Some(why) = never_matches(&hir) {
            found.push(
                Diagnostic::warning(layer.heading, "no domain matches this pattern")
                    .code(NEVER_MATCHES)
                    .label(why),
            );
        } else if matches_everything(&hir) {
            for &option in layer.settings.keys() {
                settled.entry(option).or_insert(layer);
            }
            continue;
        } else {
            found.extend(unanchored(&hir, layer));
        }
        let shadow = layer.settings.keys().find_map(|option| settled.get(option).copied());
        if let Some(earlier) = shadow {
            found.push(
                Diagnostic::warning(layer.heading, "options of this stanza never apply")
                    .code(SHADOWED)
                    .related(earlier.heading, "this one matches every domain")
                    .help("put the general stanza behind the special ones"),
            );
        }
    }
}

/// What is missing at the ends of a pattern.
fn unanchored(hir: &Hir, layer: &Layer) -> Option<Diagnostic> {
    let label = match (begins_at_boundary(hir), ends_at_end(hir)) {
        (true, true) => return None,
        (true, false) => "does not say where the domain ends",
        (false, true) => "does not say where a name begins",
        (false, false) => "may match in the middle of a name",
    };
    Some(
        Diagnostic::warning(layer.heading, "this pattern matches more than it seems to")
            .code(UNANCHORED)
            .label(label)
            .help("write `/(?:^|[.])example[.]com$/`"),
    )
}

/// Whether every match begins at the beginning or at a dot, or with anything at all: who writes
/// `.*` means it.
fn begins_at_boundary(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Look(look) => matches!(look, Look::Start | Look::StartLF | Look::StartCRLF),
        HirKind::Literal(literal) => literal.0.first() == Some(&b'.'),
        HirKind::Class(class) => is_dot(class),
        HirKind::Capture(capture) => begins_at_boundary(&capture.sub),
        HirKind::Alternation(parts) => parts.iter().all(begins_at_boundary),
        HirKind::Concat(parts) => parts.first().is_some_and(begins_at_boundary),
        HirKind::Repetition(repetition) => {
            repetition.max.is_none() && repetition.min == 0
                || repetition.min > 0 && begins_at_boundary(&repetition.sub)
        }
        HirKind::Empty => false,
    }
}

fn ends_at_end(hir: &Hir) -> bool {
    hir.properties().look_set_suffix().contains(Look::End)
}

fn is_dot(class: &Class) -> bool {
    class.literal().is_some_and(|literal| literal == b".")
}

/// Whether the pattern matches whatever the domain.
fn matches_everything(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Class(_) => is_any(hir),
        HirKind::Capture(capture) => matches_everything(&capture.sub),
        HirKind::Repetition(repetition) => {
            repetition.min == 0 || repetition.min == 1 && is_any(&repetition.sub)
        }
        HirKind::Concat(parts) => {
            let open = |part: &&Hir| !matches!(part.kind(), HirKind::Look(_));
            let mut parts = parts.iter().filter(open);
            // `^.*$`: one part that takes anything, between the ends.
            parts.next().is_some_and(is_any_run) && parts.next().is_none()
        }
        HirKind::Literal(_) | HirKind::Alternation(_) => false,
    }
}

/// `.*` or `.+`
fn is_any_run(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Repetition(repetition) => {
            repetition.min <= 1 && repetition.max.is_none() && is_any(&repetition.sub)
        }
        HirKind::Capture(capture) => is_any_run(&capture.sub),
        _ => false,
    }
}

/// `.`
fn is_any(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => "az09.-_"
            .chars()
            .all(|c| class.iter().any(|range| (range.start()..=range.end()).contains(&c))),
        HirKind::Capture(capture) => is_any(&capture.sub),
        _ => false,
    }
}

/// Why no domain matches, if the pattern demands something that no domain has.
fn never_matches(hir: &Hir) -> Option<&'static str> {
    if let Some(why) = demands(hir) {
        return Some(why);
    }
    let HirKind::Concat(parts) = hir.kind() else { return None };
    let [.., last, end] = &parts[..] else { return None };
    let dot = match last.kind() {
        HirKind::Literal(literal) => literal.0.last() == Some(&b'.'),
        HirKind::Class(class) => is_dot(class),
        _ => false,
    };
    (dot && matches!(end.kind(), HirKind::Look(Look::End)))
        .then_some("a domain does not end with a dot")
}

/// The first literal that every match has and no domain has.
fn demands(hir: &Hir) -> Option<&'static str> {
    match hir.kind() {
        HirKind::Literal(literal) => literal.0.iter().find_map(|&byte| match byte {
            b'A'..=b'Z' => Some("domains are compared in lower case"),
            b'\\' => Some("a domain has no backslash: inside quotes write it once"),
            b' ' | b'\t' | b'/' | b'@' => Some("a domain has no blank, slash or at sign"),
            _ => None,
        }),
        HirKind::Capture(capture) => demands(&capture.sub),
        HirKind::Concat(parts) => parts.iter().find_map(demands),
        HirKind::Repetition(repetition) if repetition.min > 0 => demands(&repetition.sub),
        HirKind::Alternation(parts) => {
            let whys: Option<Vec<_>> = parts.iter().map(demands).collect();
            whys?.first().copied()
        }
        HirKind::Repetition(_) | HirKind::Class(_) | HirKind::Look(_) | HirKind::Empty => None,
    }
}
