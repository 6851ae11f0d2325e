//! The merged stanzas: names resolved, values typed, repeated stanzas made one.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;

use regex::Regex;

use super::ast::{self, Assignment, Item};
use super::diagnostic::{Diagnostic, Findings};
use super::options::{OptionId, OptionSpec, Status};
use super::scope::{Instance, ScopeKind, Scopes, in_words};
use super::source::Span;
use super::suggest::did_you_mean;
use super::value::{Kind, Value};
use super::{acl, amend, checks, domain, lint, pattern};

/// One option set in one place.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) value: Value,
    /// From the option's name to the end of its value.
    pub(super) span: Span,
}

/// The options set in one place.
pub(super) type Settings = BTreeMap<OptionId, Setting>;

/// All stanzas of one kind and name in one place, merged. A later assignment replaces an earlier
/// one.
#[derive(Debug)]
pub(super) struct Stanza {
    pub(super) kind: ScopeKind,
    /// Its own name, in the form it is compared in; empty without one.
    pub(super) name: Arc<str>,
    /// Its first heading.
    pub(super) heading: Span,
    /// Of a domain or host stanza that stands for all names its pattern matches.
    pub(super) pattern: Option<Regex>,
    pub(super) settings: Settings,
    /// In the order of their first appearance.
    pub(super) children: Vec<Self>,
    index: BTreeMap<(ScopeKind, Arc<str>), usize>,
}

impl Stanza {
    /// An empty one.
    pub(super) fn new(kind: ScopeKind, name: Arc<str>, heading: Span) -> Self {
        Self {
            kind,
            name,
            heading,
            pattern: None,
            settings: Settings::new(),
            children: Vec::new(),
            index: BTreeMap::new(),
        }
    }

    /// The child of that kind and name, made if it is not there.
    pub(super) fn child(&mut self, kind: ScopeKind, name: &Arc<str>, heading: Span) -> &mut Self {
        let next = self.children.len();
        let at = *self.index.entry((kind, name.clone())).or_insert(next);
        if at == next {
            self.children.push(Self::new(kind, name.clone(), heading));
        }
        &mut self.children[at]
    }

    /// Whether there is a child of that kind and name.
    pub(super) fn has_child(&self, kind: ScopeKind, name: &Arc<str>) -> bool {
        self.index.contains_key(&(kind, name.clone()))
    }
}

/// Builds the tree of a configuration, and makes the changes to it that are asked for.
pub(super) fn build(
    files: &[ast::File],
    changes: &[amend::Change],
    findings: &mut Findings,
) -> Stanza {
    let mut root = Stanza::new(ScopeKind::Global, Arc::from(""), Span::default());
    let mut builder = Builder { names: names(), findings };
    for file in files {
        builder.items(&mut root, &file.items);
    }
    for change in changes {
        builder.change(&mut root, change);
    }
    root
}

/// The options of each name, in lower case. A name means different options in different stanzas,
/// never in one.
type Names = BTreeMap<String, Vec<OptionId>>;

fn names() -> Names {
    let mut names = Names::new();
    for id in OptionId::all() {
        let spec = id.spec();
        for name in core::iter::once(&spec.name).chain(spec.aliases) {
            names.entry(name.to_ascii_lowercase()).or_default().push(id);
        }
    }
    names
}

/// What turns syntax into stanzas.
pub(super) struct Builder<'a> {
    names: Names,
    pub(super) findings: &'a mut Findings,
}

impl Builder<'_> {
    /// Adds items to a stanza.
    fn items(&mut self, stanza: &mut Stanza, items: &[Item]) {
        for item in items {
            match item {
                Item::Option(assignment) => self.assign(stanza, assignment),
                Item::Scope(scope) => self.scope(stanza, scope),
                Item::Include(include) => {
                    for file in &include.files {
                        self.items(stanza, &file.items);
                    }
                }
            }
        }
    }

    /// Sets an option in a stanza.
    pub(super) fn assign(&mut self, stanza: &mut Stanza, assignment: &Assignment) {
        if stanza.kind == ScopeKind::Global
            && let Some(kind) = ScopeKind::from_name(&assignment.name.text)
            && kind.is_listener()
        {
            return acl::list_form(self, stanza, kind, assignment);
        }
        let Some(id) = self.option(stanza.kind, &assignment.name) else { return };
        match id.spec().kind.read(&assignment.value) {
            Ok(value) => {
                self.set(stanza, id, value, assignment.span(), assignment.value.span());
            }
            Err(_) => self.misfit(id.spec(), &assignment.value),
        }
    }

    /// Sets an option to a value of the right type, if nothing else is wrong with it.
    pub(super) fn set(
        &mut self,
        stanza: &mut Stanza,
        id: OptionId,
        value: Value,
        span: Span,
        value_span: Span,
    ) {
        if let Some(finding) = checks::setting(id, &value, value_span) {
            let fatal = finding.is_error();
            self.findings.push(finding);
            if fatal {
                return;
            }
        }
        let before = stanza.settings.insert(id, Setting { value, span });
        if let Some(before) = before.filter(|before| before.span.file == span.file) {
            self.findings.push(
                Diagnostic::warning(before.span, "this value does nothing")
                    .code(lint::REPLACED)
                    .related(span, "this one replaces it"),
            );
        }
    }

    /// The option of that name, if it may be set in stanzas of that kind.
    pub(super) fn option(&mut self, kind: ScopeKind, name: &ast::Word) -> Option<OptionId> {
        let Some(ids) = self.names.get(&name.text.to_ascii_lowercase()) else {
            let unknown = if self.findings.want_errors() {
                self.unknown_option(kind, name)
            } else {
                Diagnostic::error(name.span, "unknown option")
            };
            self.findings.push(unknown);
            return None;
        };
        let here = ids.iter().find(|id| id.spec().scopes.contains(kind));
        if here.is_none() {
            let scopes = ids.iter().fold(Scopes::default(), |all, id| all.and(id.spec().scopes));
            let message = format!("`{}` cannot be set {}", ids[0].spec().name, in_place(kind));
            let help = format!("it can be set in {}", scopes.in_words());
            let misplaced =
                Diagnostic::error(name.span, message).label("not valid here").help(help);
            self.findings.push(misplaced);
        }
        here.copied()
    }

    fn unknown_option(&self, kind: ScopeKind, name: &ast::Word) -> Diagnostic {
        if let Some(scope) = ScopeKind::from_name(&name.text) {
            let help = if (scope, kind) == (ScopeKind::BindingGroup, ScopeKind::Binding) {
                "a binding stands inside its group: `binding_group \"name\" { binding ... }`".into()
            } else {
                format!("write `{} \"name\" {{ ... }}`", scope.name())
            };
            let message = format!("`{}` is a stanza, not an option", scope.name());
            return Diagnostic::error(name.span, message).help(help);
        }
        let valid = |ids: &[OptionId]| ids.iter().any(|id| id.spec().scopes.contains(kind));
        let here = self.names.iter().filter(|(_, ids)| valid(ids));
        let near = did_you_mean(&name.text, here.map(|(name, _)| name.as_str()))
            .or_else(|| did_you_mean(&name.text, self.names.keys().map(String::as_str)));
        let message = format!("unknown option `{}`", super::lexer::shorten(&name.text));
        let unknown = Diagnostic::error(name.span, message).label("not an option");
        match near {
            Some(near) => unknown.help(near),
            None => unknown,
        }
    }

    /// A value that does not fit its option.
    pub(super) fn misfit(&mut self, spec: &OptionSpec, value: &ast::Value) {
        let misfit =
            Diagnostic::error(value.span(), format!("`{}` needs {}", spec.name, spec.kind));
        let example = || format!("for example `{} = {}`", spec.name, spec.example());
        let word = match value {
            ast::Value::Word(word) => Some(word),
            _ => None,
        };
        let finding = match (spec.kind, word) {
            (Kind::Regex, Some(word)) => match pattern::compile(&word.text) {
                Err(error) => regex_error(word.span, &error),
                Ok(_) => misfit,
            },
            (_, Some(word)) if word.text.contains('#') || word.text.contains("/*") => {
                misfit.help("a comment needs a blank in front of it")
            }
            _ => misfit.help(example()),
        };
        self.findings.push(finding);
    }

    fn scope(&mut self, parent: &mut Stanza, scope: &ast::Scope) {
        if let Some(stanza) = self.enter(parent, scope) {
            self.items(stanza, &scope.items);
        }
    }

    /// The stanza a heading stands for, made if it is not there.
    pub(super) fn enter<'s>(
        &mut self,
        parent: &'s mut Stanza,
        scope: &ast::Scope,
    ) -> Option<&'s mut Stanza> {
        let kind = self.kind_of(parent.kind, scope)?;
        let (name, pattern) = self.instance_of(kind, scope)?;
        if !kind.works() {
            self.findings.push(scope_not_yet(scope.heading(), kind));
        }
        if kind.is_opaque() {
            return None;
        }
        let heading = scope.heading();
        let parent = match (parent.kind, kind, &*name) {
            // The default binding belongs to the default group, wherever it stands.
            (ScopeKind::Global, ScopeKind::Binding, DEFAULT) => {
                parent.child(ScopeKind::BindingGroup, &name, heading)
            }
            _ => parent,
        };
        let stanza = parent.child(kind, &name, heading);
        stanza.pattern = pattern;
        Some(stanza)
    }

    /// The kind of a stanza, if there is such a kind and it may stand here.
    fn kind_of(&mut self, parent: ScopeKind, scope: &ast::Scope) -> Option<ScopeKind> {
        let name = &scope.name;
        let Some(kind) = ScopeKind::from_name(&name.text) else {
            let unknown = self.unknown_stanza(parent, name);
            self.findings.push(unknown);
            return None;
        };
        if !kind.parents().contains(parent) {
            let message = format!("a `{}` stanza cannot stand {}", kind.name(), in_place(parent));
            let help = match kind.parents().iter().next() {
                Some(ScopeKind::Global) if kind.parents().iter().count() == 1 => {
                    "it stands outside every other stanza".to_string()
                }
                _ => {
                    let parents: Vec<_> = kind.parents().iter().map(place_name).collect();
                    format!("it can stand in {}", in_words(&parents, "or"))
                }
            };
            let misplaced = Diagnostic::error(name.span, message).label("not valid here");
            self.findings.push(misplaced.help(help));
            return None;
        }
        Some(kind)
    }

    fn unknown_stanza(&self, parent: ScopeKind, name: &ast::Word) -> Diagnostic {
        let shown = super::lexer::shorten(&name.text);
        let unknown = Diagnostic::error(name.span, format!("unknown stanza `{shown}`"));
        if let Some(ids) = self.names.get(&name.text.to_ascii_lowercase()) {
            let spec = ids[0].spec();
            let example = spec.example();
            let help = format!("`{}` is an option: write `{} = {example}`", spec.name, spec.name);
            return unknown.help(help);
        }
        let kinds = ScopeKind::ALL.iter().filter(|kind| !kind.parents().is_empty());
        match did_you_mean(&name.text, kinds.map(|kind| kind.name())) {
            Some(near) => unknown.help(near),
            None if parent == ScopeKind::Global => {
                let message = format!("`{shown}` is taken for a module, and there are no modules");
                Diagnostic::warning(name.span, message).code(lint::MODULE).label("has no effect")
            }
            None => unknown,
        }
    }

    /// The name of a stanza's instance in the form it is compared in, if it is a proper one.
    fn instance_of(
        &mut self,
        kind: ScopeKind,
        scope: &ast::Scope,
    ) -> Option<(Arc<str>, Option<Regex>)> {
        let problem = match (kind.instance(), &scope.instance) {
            (Instance::Required, None) => Diagnostic::error(
                scope.name.span,
                format!("a `{}` stanza needs a name", kind.name()),
            )
            .help(format!("write `{} \"name\" {{ ... }}`", kind.name())),
            (Instance::None, Some(word)) => {
                Diagnostic::error(word.span, format!("a `{}` stanza has no name", kind.name()))
                    .help("remove it")
            }
            (_, None) => return Some((Arc::from(""), None)),
            (_, Some(word)) => match instance_name(kind, word) {
                Ok(name) => return Some(name),
                Err(problem) => *problem,
            },
        };
        self.findings.push(problem);
        None
    }
}

/// The name of the binding and of the group of mail that nothing assigns.
pub(super) const DEFAULT: &str = "default";

/// The name of an instance in the form it is compared in; compiled, if it is a pattern.
fn instance_name(
    kind: ScopeKind,
    word: &ast::Word,
) -> Result<(Arc<str>, Option<Regex>), Box<Diagnostic>> {
    let text = &*word.text;
    let error = |message: String, help: &str| {
        let error = Diagnostic::error(word.span, message);
        Err(Box::new(if help.is_empty() { error } else { error.help(help) }))
    };
    let blank = text.is_empty() || text.contains(char::is_whitespace);
    match kind {
        ScopeKind::Domain | ScopeKind::Host => {
            if let Some(regex) = domain::regex_of(text) {
                return match pattern::compile(regex) {
                    Ok(regex) => Ok((word.text.clone(), Some(regex))),
                    Err(why) => Err(Box::new(regex_error(word.span, &why))),
                };
            }
            if blank {
                return error(format!("`{text}` is not a {}", kind.name()), "");
            }
            Ok((Arc::from(&*domain::key(text)), None))
        }
        ScopeKind::Binding if blank || text.contains(':') => {
            let message = format!("`{text}` cannot be the name of a binding");
            error(message, "a name has no blanks and no colons")
        }
        ScopeKind::BindingGroup if blank => {
            let message = format!("`{text}` cannot be the name of a group");
            error(message, "a name has no blanks")
        }
        _ if kind.folds_case() => Ok((Arc::from(text.to_lowercase()), None)),
        _ => Ok((word.text.clone(), None)),
    }
}

fn regex_error(span: Span, error: &pattern::PatternError) -> Diagnostic {
    let finding =
        Diagnostic::error(span, "this regular expression cannot be used").label(error.why.clone());
    match error.help {
        Some(help) => finding.help(help),
        None => finding,
    }
}

/// What is understood and does nothing.
pub(super) fn not_yet(span: Span, what: &str) -> Diagnostic {
    Diagnostic::warning(span, format!("{what} is understood, but not implemented yet"))
        .code(lint::NOT_YET)
        .label("has no effect")
}

/// The same of a stanza, with what does instead, if anything.
pub(super) fn scope_not_yet(span: Span, kind: ScopeKind) -> Diagnostic {
    let finding = not_yet(span, &format!("`{}`", kind.name()));
    match kind {
        ScopeKind::ControlListener => {
            finding.help("`traject daemon --control PATH` opens the socket of `traject ctl`")
        }
        _ => finding,
    }
}

/// What to say about an option because of its status; `None` if it works.
pub(super) fn status_finding(spec: &OptionSpec, span: Span) -> Option<Diagnostic> {
    match spec.status {
        Status::Works => None,
        Status::Unimplemented { .. } => Some(not_yet(span, &format!("`{}`", spec.name))),
        Status::Legacy { reason, instead } => {
            let message = format!("`{}` has no effect: {reason}", spec.name);
            let finding = Diagnostic::warning(span, message).code(lint::LEGACY);
            Some(if instead.is_empty() { finding.help("remove it") } else { finding.help(instead) })
        }
    }
}

fn in_place(kind: ScopeKind) -> String {
    match kind {
        ScopeKind::Global => String::from("outside every stanza"),
        ScopeKind::AclEntry | ScopeKind::Personality => format!("in {}", kind.name()),
        _ => format!("in a `{}` stanza", kind.name()),
    }
}

fn place_name(kind: ScopeKind) -> &'static str {
    match kind {
        ScopeKind::Global => "the global scope",
        _ => kind.name(),
    }
}
