//! Stanzas by name: exact names, and patterns in file order.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use regex::Regex;
use regex_syntax::hir::Look;
use regex_syntax::hir::literal::{ExtractKind, Extractor};

use super::compile::Layer;

/// The `domain` or the `host` stanzas of one container.
#[derive(Debug, Default)]
pub(super) struct Names {
    exact: BTreeMap<Arc<str>, Layer>,
    /// In file order.
    patterns: Vec<(Regex, Layer)>,
    /// Positions in `patterns` of those that match only names with one of these endings.
    by_ending: BTreeMap<Box<[u8]>, Vec<usize>>,
    /// The length of the longest of those endings.
    longest_ending: usize,
    /// Positions of the other patterns, which must be tried on every name.
    any_ending: Vec<usize>,
}

impl Names {
    /// Adds a stanza that is not there yet.
    pub(super) fn add(&mut self, name: Arc<str>, pattern: Option<Regex>, layer: Layer) {
        let Some(regex) = pattern else {
            self.exact.insert(name, layer);
            return;
        };
        let position = self.patterns.len();
        match endings(regex.as_str()) {
            None => self.any_ending.push(position),
            Some(endings) => {
                for ending in endings {
                    self.longest_ending = self.longest_ending.max(ending.len());
                    self.by_ending.entry(ending).or_default().push(position);
                }
            }
        }
        self.patterns.push((regex, layer));
    }

    /// Whether there are no stanzas.
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.patterns.is_empty()
    }

    /// The exact names with their stanzas.
    pub(super) fn exact(&self) -> impl Iterator<Item = (&str, &Layer)> {
        self.exact.iter().map(|(name, layer)| (&**name, layer))
    }

    /// The patterns with their stanzas, in file order.
    pub(super) fn patterns(&self) -> impl Iterator<Item = (&Regex, &Layer)> {
        self.patterns.iter().map(|(regex, layer)| (regex, layer))
    }

    /// The stanzas for a name, most specific first: its own, then the patterns that match it.
    pub(super) fn matching(&self, name: &str) -> impl Iterator<Item = &Layer> {
        let mut positions = self.any_ending.clone();
        for length in 1..=self.longest_ending.min(name.len()) {
            let ending = &name.as_bytes()[name.len() - length..];
            positions.extend(self.by_ending.get(ending).into_iter().flatten());
        }
        positions.sort_unstable();
        positions.dedup();
        let patterns = positions.into_iter().map(|position| &self.patterns[position]);
        let matching = patterns.filter(move |(regex, _)| regex.is_match(name));
        // The names live as long as the result, which is collected at once.
        let matching: Vec<_> = matching.map(|(_, layer)| layer).collect();
        self.exact.get(name).into_iter().chain(matching)
    }
}

/// The endings of which a name must have one for the pattern to match it; `None` if the pattern
/// does not say.
fn endings(pattern: &str) -> Option<Vec<Box<[u8]>>> {
    let hir = regex_syntax::parse(pattern).ok()?;
    if !hir.properties().look_set_suffix().contains(Look::End) {
        return None;
    }
    let mut extractor = Extractor::new();
    extractor.kind(ExtractKind::Suffix);
    let literals = extractor.extract(&hir);
    let endings: Vec<Box<[u8]>> =
        literals.literals()?.iter().map(|literal| literal.as_bytes().into()).collect();
    let useless = endings.is_empty() || endings.iter().any(|ending| ending.is_empty());
    (!useless).then_some(endings)
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::{String, ToString as _};

    use super::*;
    use crate::config::source::Span;

    fn names(patterns: &[&str]) -> Names {
        let mut names = Names::default();
        for pattern in patterns {
            let scope = Arc::from(*pattern);
            let layer = Layer { scope, heading: Span::default(), settings: BTreeMap::new() };
            names.add(Arc::from(*pattern), Some(Regex::new(pattern).unwrap()), layer);
        }
        names
    }

    #[test]
    fn anchored_patterns_have_endings() {
        let shown = |pattern: &str| {
            let mut endings: Vec<_> = endings(pattern)?
                .iter()
                .map(|ending| String::from_utf8_lossy(ending).into_owned())
                .collect();
            endings.sort();
            Some(endings.join(" "))
        };
        let table = [
            (r"(?:^|[.])example[.](?:com|co[.]uk)$", Some("example.co.uk example.com")),
            (r"\.test$", Some(".test")),
            (r"^(a|b)+[.]c$", Some(".c")),
            (r"example[.]com", None),
            (r"(a$|b)", None),
            (r"$", None),
        ];
        for (pattern, want) in table {
            let got = shown(pattern);
            // Longer endings than needed are as good; what matters is that none is left out.
            assert_eq!(got.is_some(), want.is_some(), "{pattern}: {got:?}");
            for ending in want.unwrap_or("").split_whitespace() {
                assert!(got.as_deref().unwrap().contains(ending), "{pattern}: {got:?}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn the_index_changes_nothing(
            patterns in proptest::collection::vec("[(]?[ab.]{0,3}([|][ab]|[ab]?)[)]?[$]?", 0..8),
            name in "[ab.]{0,6}",
        ) {
            let patterns: Vec<_> =
                patterns.iter().filter(|pattern| Regex::new(pattern).is_ok()).collect();
            let wanted: Vec<_> = patterns
                .iter()
                .filter(|pattern| Regex::new(pattern).unwrap().is_match(&name))
                .map(|pattern| pattern.to_string())
                .collect();
            let patterns: Vec<_> = patterns.iter().map(|pattern| pattern.as_str()).collect();
            let names = names(&patterns);
            let got: Vec<_> =
                names.matching(&name).map(|layer| format!("{}", layer.scope)).collect();
            proptest::prop_assert_eq!(got, wanted);
        }
    }
}
