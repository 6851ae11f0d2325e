//! Options set otherwise than the files have it: `traject sim --set` and `--what-if`.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::ast::{Assignment, Item, Scope, Word};
use super::diagnostic::{Diagnostic, Findings};
use super::options::OptionId;
use super::parser;
use super::scope::ScopeKind;
use super::source::{FileId, SourceFile, Sources, Span};
use super::tree::{Builder, DEFAULT, Stanza};

/// An option to set once everything has been read: `OPTION=VALUE` or `SCOPE/OPTION=VALUE`.
///
/// A scope is the stanzas from outside, `binding a/domain x.example`; one whose name holds a `/` or
/// a `=` needs quotes. There the option gets the value whatever the files say; a binding is found
/// in its group. Without a scope the value is in force everywhere: it is set in the global scope,
/// and what other stanzas say about the option is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amendment {
    /// Where it comes from, as diagnostics print it.
    pub origin: String,
    /// What it says.
    pub text: String,
}

/// An amendment, understood as far as its syntax goes.
#[derive(Debug)]
pub(super) struct Change {
    file: FileId,
    /// The stanzas, from outside, without items.
    path: Vec<Scope>,
    assignment: Assignment,
}

/// Reads amendments. Each is a source of its own.
pub(super) fn read(
    amendments: &[Amendment],
    sources: &mut Sources,
    findings: &mut Findings,
) -> Vec<Change> {
    let mut changes = Vec::new();
    for Amendment { origin, text } in amendments {
        let file = sources.add(SourceFile { name: origin.clone(), text: text.clone() });
        changes.extend(read_one(file, text, findings));
    }
    changes
}

fn read_one(file: FileId, text: &str, findings: &mut Findings) -> Option<Change> {
    let whole = Span { file, start: 0, end: text.len() as u32 };
    let Some(equals) = outside_quotes(text, '=').next() else {
        findings.push(Diagnostic::error(whole, "an option needs a value").help(FORM));
        return None;
    };
    let slashes: Vec<usize> = outside_quotes(&text[..equals], '/').collect();
    let mut path = Vec::new();
    let mut start = 0;
    for slash in &slashes {
        path.push(heading(file, text, start, *slash));
        start = slash + 1;
    }
    // The rest is in the language of the files. Blanks instead of the scope keep its place.
    let rest = format!("{:start$}{}", "", &text[start..]);
    let (mut items, diagnostics) = parser::parse(file, &rest);
    let sound = diagnostics.is_empty();
    diagnostics.into_iter().for_each(|diagnostic| findings.push(diagnostic));
    match (items.pop(), items.is_empty()) {
        (Some(Item::Option(assignment)), true) => Some(Change { file, path, assignment }),
        _ => {
            if sound {
                findings.push(Diagnostic::error(whole, "this is not one option").help(FORM));
            }
            None
        }
    }
}

/// Where `mark` stands outside of quoted words.
fn outside_quotes(text: &str, mark: char) -> impl Iterator<Item = usize> {
    let mut quoted = false;
    text.char_indices().filter_map(move |(at, c)| {
        quoted ^= c == '"';
        (c == mark && !quoted).then_some(at)
    })
}

/// The stanza that `kind name` in this part of the text means.
fn heading(file: FileId, text: &str, start: usize, end: usize) -> Scope {
    let word = |start: usize, end: usize| {
        let written = &text[start..end];
        let trimmed = written.trim();
        let start = start + (written.len() - written.trim_start().len());
        let bare = trimmed.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        Word {
            text: Arc::from(bare.unwrap_or(trimmed)),
            span: Span { file, start: start as u32, end: (start + trimmed.len()) as u32 },
            quoted: bare.is_some(),
        }
    };
    let first = end - text[start..end].trim_start().len();
    match text[first..end].find(char::is_whitespace) {
        None => Scope { name: word(first, end), instance: None, items: Vec::new() },
        Some(length) => {
            let instance = word(first + length, end);
            let instance = (!instance.text.is_empty()).then_some(instance);
            Scope { name: word(first, first + length), instance, items: Vec::new() }
        }
    }
}

impl Builder<'_> {
    /// Makes a change to the stanzas that were read.
    pub(super) fn change(&mut self, root: &mut Stanza, change: &Change) {
        let path = self.path_of(root, change);
        let Some(path) = path else { return };
        let mut stanza = &mut *root;
        for heading in &path {
            let Some(inner) = self.enter(stanza, heading) else { return };
            stanza = inner;
        }
        self.assign(stanza, &change.assignment);
        if path.is_empty() {
            let mut settings = root.settings.iter();
            let set = settings.find(|(_, setting)| setting.span.file == change.file);
            if let Some(id) = set.map(|(id, _)| *id) {
                root.children.iter_mut().for_each(|child| drop_setting(child, id));
            }
        }
    }

    /// The stanzas of a change, the group of a binding included. Bindings and groups must exist: a
    /// new one would send no mail.
    fn path_of(&mut self, root: &Stanza, change: &Change) -> Option<Vec<Scope>> {
        let Some((first, rest)) = change.path.split_first() else { return Some(Vec::new()) };
        let named = |scope: &Scope, kind: ScopeKind| {
            let name = scope.instance.as_ref().map(|instance| &instance.text);
            name.filter(|_| ScopeKind::from_name(&scope.name.text) == Some(kind)).cloned()
        };
        let mut path = Vec::new();
        let mut parent = Some(root);
        if let Some(binding) = named(first, ScopeKind::Binding)
            && !root.has_child(ScopeKind::Binding, &binding)
        {
            let group = root.children.iter().find(|child| {
                child.kind == ScopeKind::BindingGroup
                    && child.has_child(ScopeKind::Binding, &binding)
            });
            if let Some(group) = group {
                path.push(group_heading(first, &group.name));
                parent = Some(group);
            }
        }
        for scope in core::iter::once(first).chain(rest) {
            for kind in [ScopeKind::Binding, ScopeKind::BindingGroup] {
                let Some(name) = named(scope, kind) else { continue };
                let is_there = parent.is_some_and(|parent| parent.has_child(kind, &name));
                if !is_there && *name != *DEFAULT {
                    let message = format!("there is no {} `{name}`", kind.name());
                    self.findings.push(Diagnostic::error(scope.heading(), message));
                    return None;
                }
                parent = parent.and_then(|parent| {
                    parent.children.iter().find(|child| child.kind == kind && child.name == name)
                });
            }
            path.push(scope.clone());
        }
        Some(path)
    }
}

/// The heading of a group that the text does not name.
fn group_heading(place: &Scope, name: &Arc<str>) -> Scope {
    let word = |text: Arc<str>, span| Word { text, span, quoted: true };
    Scope {
        name: word(Arc::from(ScopeKind::BindingGroup.name()), place.name.span),
        instance: Some(word(name.clone(), place.name.span)),
        items: Vec::new(),
    }
}

fn drop_setting(stanza: &mut Stanza, id: OptionId) {
    stanza.settings.remove(&id);
    stanza.children.iter_mut().for_each(|child| drop_setting(child, id));
}

const FORM: &str = "write `option=value`, or `domain x.example/option=value`";

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned;
    use alloc::string::ToString as _;

    use super::*;
    use crate::config::{Config, ConfigFiles, FileError, HostFacts, Loaded};

    const FILE: &str = r#"
        max_outbound_connections = 1
        domain "x.test" { max_outbound_connections = 2 }
        binding "lone" { max_outbound_connections = 6 }
        binding_group "g" {
          max_outbound_connections = 3
          binding "a" {
            max_outbound_connections = 4
            domain "x.test" { max_outbound_connections = 5 }
          }
        }
    "#;

    fn amended(texts: &[&str]) -> Loaded {
        struct OneFile;
        impl ConfigFiles for OneFile {
            fn read(&mut self, name: &str, _: Option<&str>) -> Result<Vec<SourceFile>, FileError> {
                Ok([SourceFile { name: name.to_owned(), text: FILE.to_owned() }].into())
            }
        }
        let origin = "--set".to_owned();
        let amendments: Vec<_> = texts
            .iter()
            .map(|text| Amendment { origin: origin.clone(), text: (*text).to_owned() })
            .collect();
        let host = HostFacts { hostname: "mta.test".to_owned() };
        Config::load_amended("file.conf", &mut OneFile, &host, &amendments)
    }

    #[test]
    fn a_value_is_set_where_the_scope_says_and_everywhere_without_one() {
        // The caps of `default`, `lone` and `a` to y.test, and of `a` to x.test.
        for (text, caps) in [
            ("", [1, 6, 4, 5]),
            ("max_outbound_connections=9", [9, 9, 9, 9]),
            ("max_outbound_CONNECTIONS = \"9\"", [9, 9, 9, 9]),
            // What bindings say themselves is nearer to their mail.
            ("domain y.test/max_outbound_connections=9", [9, 6, 4, 5]),
            ("binding a/max_outbound_connections=9", [1, 6, 9, 5]),
            ("binding lone/max_outbound_connections=9", [1, 9, 4, 5]),
            ("binding default/max_outbound_connections=9", [9, 6, 4, 5]),
            ("binding_group g/binding a/max_outbound_connections=9", [1, 6, 9, 5]),
            ("binding_group \"g\"/max_outbound_connections=9", [1, 6, 4, 5]),
            ("binding a/domain x.test/max_outbound_connections=9", [1, 6, 4, 9]),
            ("binding a/domain \"/^[xy]/\"/max_outbound_connections=9", [1, 6, 9, 5]),
        ] {
            let texts: &[&str] = if text.is_empty() { &[] } else { &[text] };
            let loaded = amended(texts);
            let config =
                loaded.config.unwrap_or_else(|| panic!("{text}: {:?}", loaded.diagnostics));
            let cap = |binding: &str, domain: &str| {
                config.delivery_options(binding, domain).max_outbound_connections
            };
            let found = [cap("default", "y.test"), cap("lone", "y.test"), cap("a", "y.test")];
            assert_eq!(found, caps[..3], "{text}");
            assert_eq!(cap("a", "x.test"), caps[3], "{text}");
        }
    }

    #[test]
    fn later_changes_win() {
        let texts = ["max_outbound_connections=9", "domain z.test/max_outbound_connections=8"];
        let config = amended(&texts).config.unwrap();
        assert_eq!(config.delivery_options("a", "z.test").max_outbound_connections, 8);
        assert_eq!(config.delivery_options("a", "x.test").max_outbound_connections, 9);
    }

    #[test]
    fn what_is_wrong_is_shown_in_the_text_of_the_change() {
        for (text, message, marked) in [
            ("max_outbound_connections", "an option needs a value", "max_outbound_connections"),
            ("max_conections=3", "unknown option `max_conections`", "max_conections"),
            ("retry_interval=many", "`retry_interval` needs", "many"),
            ("domian x.test/retry_interval=3", "unknown stanza `domian`", "domian"),
            ("binding b/retry_interval=3", "there is no binding `b`", "binding b"),
            (
                "binding_group h/retry_interval=3",
                "there is no binding_group `h`",
                "binding_group h",
            ),
            ("binding_group g/binding lone/retry_interval=3", "no binding `lone`", "binding lone"),
            ("domain/retry_interval=3", "a `domain` stanza needs a name", "domain"),
            ("retry_interval=3 x=4", "this is not one option", "retry_interval=3 x=4"),
        ] {
            let loaded = amended(&[text]);
            assert!(loaded.config.is_none(), "{text}");
            let error = loaded.diagnostics.iter().find(|one| one.is_error()).unwrap();
            assert!(error.message.contains(message), "{text}: {}", error.message);
            let span = error.span.unwrap();
            assert_eq!(loaded.sources.name(span.file), "--set", "{text}");
            assert_eq!(text[span.start as usize..span.end as usize].to_string(), marked, "{text}");
        }
    }
}
