//! The table of options as documentation.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::{OptionId, OptionSpec, Status};
use crate::config::scope::{Instance, ScopeKind};

/// A status in words: `works`, `accepted, no effect yet (TLS)`, `legacy, no effect: why; what
/// instead`.
pub fn status(status: Status) -> String {
    match status {
        Status::Works => "works".to_string(),
        Status::Unimplemented { milestone } => format!("accepted, no effect yet ({milestone})"),
        Status::Legacy { reason, instead: "" } => format!("legacy, no effect: {reason}"),
        Status::Legacy { reason, instead } => format!("legacy, no effect: {reason}; {instead}"),
    }
}

/// What an option means, on one line.
pub fn doc(spec: &OptionSpec) -> String {
    let lines: Vec<_> = spec.doc().collect();
    lines.join(" ")
}

/// All about one option, for a terminal.
pub fn text(spec: &OptionSpec) -> String {
    let mut text = format!("{}\n", spec.name);
    for line in spec.doc() {
        text += &format!("  {line}\n");
    }
    text += &format!("\n  value    {}\n", spec.kind);
    text +=
        &format!("  default  {}\n", if spec.default.is_empty() { "none" } else { spec.default });
    text += &format!("  set in   {}\n", spec.scopes.in_words());
    text += &format!("  example  {} = {}\n", spec.name, spec.example());
    if !spec.aliases.is_empty() {
        text += &format!("  also     {}\n", spec.aliases.join(", "));
    }
    text += &format!("  status   {}\n", status(spec.status));
    text += &format!("  manual   {}\n", spec.page);
    text
}

/// All about one kind of stanza, for a terminal.
pub fn stanza_text(kind: ScopeKind) -> String {
    let mut text = format!("{}\n  {}\n\n", kind.name(), kind.doc());
    text += &format!("  stands in  {}\n", kind.parents().in_words());
    text += &format!("  example    {}\n", stanza_example(kind));
    text += &format!("  status     {}\n", stanza_status(kind));
    text
}

/// The status of a kind of stanza, in the words of options.
pub fn stanza_status(kind: ScopeKind) -> String {
    if kind.works() { "works".to_string() } else { "accepted, no effect yet".to_string() }
}

/// The kinds of stanzas that are written as such.
pub fn stanzas() -> impl Iterator<Item = ScopeKind> {
    ScopeKind::ALL.iter().copied().filter(|kind| !kind.parents().is_empty())
}

fn stanza_example(kind: ScopeKind) -> String {
    let name = match kind.instance() {
        Instance::Required => " \"name\"",
        Instance::Optional | Instance::None => "",
    };
    format!("{}{name} {{ ... }}", kind.name())
}

/// The whole reference: stanzas, then options.
pub fn document() -> String {
    let mut text = String::from(HEAD);
    text += "\n## Stanzas\n";
    for kind in stanzas() {
        text += &format!("\n### {}\n\n{}\n\n", kind.name(), kind.doc());
        text += &format!("- Written: `{}`\n", stanza_example(kind));
        text += &format!("- Stands in: {}\n", kind.parents().in_words());
        text += &format!("- Status: {}\n", stanza_status(kind));
    }
    let options: Vec<_> = OptionId::all().map(OptionId::spec).collect();
    text + &markdown(&options)
}

/// Options as sections of a document, by family and name.
pub fn markdown(options: &[&OptionSpec]) -> String {
    let mut families: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for spec in options {
        families.entry(spec.family).or_default().push(*spec);
    }
    let mut text = String::new();
    for (family, mut specs) in families {
        specs.sort_by_key(|spec| spec.name.to_ascii_lowercase());
        text += &format!("\n## {family}\n");
        for spec in specs {
            text += &format!("\n### {}\n\n{}\n\n", spec.name, doc(spec));
            text += &format!("- Value: {}\n", spec.kind);
            if !spec.default.is_empty() {
                text += &format!("- Default: `{}`\n", spec.default.trim());
            }
            text += &format!("- Set in: {}\n", spec.scopes.in_words());
            if !spec.aliases.is_empty() {
                text += &format!("- Also called: `{}`\n", spec.aliases.join("`, `"));
            }
            text += &format!("- Status: {}\n", status(spec.status));
            text += &format!("- In the manual of the original: {}\n", spec.page);
        }
    }
    text
}

const HEAD: &str = "\
# Options of the configuration

This file is written by `traject options --markdown`; a test keeps it up to date.

Names of options are the same in any case. `Set in` says in which stanzas an option may stand:
`global` is outside every stanza. An option that is *accepted, no effect yet* is understood and
checked, and setting it is a warning. *Legacy* options will never have an effect.
";

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::id;
    use super::*;

    #[test]
    fn the_document_is_up_to_date() {
        let fresh = document() == include_str!("../../../../docs/options.md");
        assert!(fresh, "run: cargo run -- options --markdown > docs/options.md");
    }

    #[test]
    fn an_option_on_the_terminal() {
        assert_snapshot!(text(id("max_retries").spec()), @r##"
        max_retries
          Retries of a message before it fails. `auto` is as many as fit `message_expiration` if the
          wait doubled for ever; `none` is no limit. The first attempt is not a retry.

          value    auto, none or a whole number from 1 to 65535
          default  auto
          set in   global, binding_group, binding or domain
          example  max_retries = auto
          status   works
          manual   conf.ref.max_retries
        "##);
    }

    #[test]
    fn a_stanza_on_the_terminal() {
        assert_snapshot!(stanza_text(ScopeKind::Host), @r##"
        host
          Options of connections to one exchange, whatever the domain. Nothing falls back from here.

          stands in  global, binding_group or binding
          example    host "name" { ... }
          status     works
        "##);
    }

    #[test]
    fn an_option_in_the_document() {
        let options = [id("rfc2822_lone_lf_in_body").spec(), id("tls").spec()];
        assert_snapshot!(markdown(&options), @"
        ## rfc

        ### rfc2822_lone_lf_in_body

        A CR or LF that stands alone in a body: `pedantic` refuses the message, `fix` makes it a line end. `ignore`, the original's default, is taken as `fix`: relaying it would be SMTP smuggling.

        - Value: ignore, pedantic or fix
        - Default: `pedantic`
        - Set in: global, pathway or pathway_group
        - Also called: `lone_lf_in_body`
        - Status: works
        - In the manual of the original: conf.ref.rfc2822_lone_lf_in_body

        ## tls

        ### tls

        STARTTLS on outbound connections: `no` never, `ifavailable` where it is offered, `required` or the message waits. What TLS failed at is remembered for `host_failure_retry`.

        - Value: no, ifavailable or required
        - Default: `no`
        - Set in: global, binding_group, binding or domain
        - Status: works
        - In the manual of the original: conf.ref.tls
        ");
    }
}
