//! The table of options as documentation.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::{OptionSpec, Status};

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
    text += &format!("  example  {} = {}\n", spec.name, spec.kind.example());
    if !spec.aliases.is_empty() {
        text += &format!("  also     {}\n", spec.aliases.join(", "));
    }
    text += &format!("  status   {}\n", status(spec.status));
    text
}

/// The reference as a document: a section for each family, options in order of their names.
pub fn markdown(options: &[&OptionSpec]) -> String {
    let mut families: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for spec in options {
        families.entry(spec.family).or_default().push(*spec);
    }
    let mut text = String::from(HEAD);
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

    use super::super::{OptionId, id};
    use super::*;

    #[test]
    fn the_document_is_up_to_date() {
        let options: Vec<_> = OptionId::all().map(OptionId::spec).collect();
        let fresh = markdown(&options) == include_str!("../../../../docs/options.md");
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
        "##);
    }

    #[test]
    fn an_option_in_the_document() {
        let document = markdown(&[id("rfc2822_lone_lf_in_body").spec(), id("tls").spec()]);
        let sections = document.strip_prefix(HEAD).unwrap();
        assert_snapshot!(sections, @r##"
        ## rfc

        ### rfc2822_lone_lf_in_body

        A CR or LF that stands alone in a body: `pedantic` refuses the message, `fix` makes it a line end. `ignore`, the original's default, is taken as `fix`: relaying it would be SMTP smuggling.

        - Value: ignore, pedantic or fix
        - Default: `pedantic`
        - Set in: global, pathway or pathway_group
        - Also called: `lone_lf_in_body`
        - Status: works

        ## tls

        ### tls

        STARTTLS on outbound connections: `no` never, `ifavailable` where it is offered, `required` or the message waits.

        - Value: no, ifavailable or required
        - Default: `no`
        - Set in: global, binding_group, binding or domain
        - Status: accepted, no effect yet (TLS)
        "##);
    }
}
