//! Properties of the parser: any text is answered, and what is printed reads as what was meant.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::ast::{Assignment, Dict, Element, Item, Value, Word};
use super::print::Printed;
use super::source::FileId;
use super::tests::Files;
use super::{Config, HostFacts, Loaded, parser};

/// A text in which everything occurs, to be broken.
const SAMPLE: &str = r#"
# a comment
hostname = "mx.test" /* and
another */ retry_interval=60
include part.conf
domain /(?:^|[.])example[.](com|net)$/ { max_outbound_connections = 5 routes = ( a b ) }
binding_group "g" { binding green { bind_address = [2001:db8::1] } domain "a" { tls = no } }
Esmtp_Listener = ( *:25,5~2 <proto=ipv4> [
    0.0.0.0/0 = ( personality [ idle_time = 300 static_banner = "220 \"x\"" ] continue )
    ::1/0 = ( context [ binding = green ] relay_for_sending_domains ) ] [::1]:587 )
ESMTP_Listener { Listen ":26" { } Peer "10.0.0.0/8" { context = [ a = "b" ] } }
outbound_throttle_messages = 600/60
"#;

fn load(text: &str) -> Loaded {
    let text: &'static str = String::from(text).leak();
    let files = [("main.conf", text), ("part.conf", "include main.conf\nbody_timeout = }")];
    let host = HostFacts { hostname: String::from("mx.test") };
    Config::load("main.conf", &mut Files(BTreeMap::from(files)), &host)
}

/// Whatever the text, there is an answer, and its places are places of the text.
fn answers(text: &str) {
    let loaded = load(text);
    let has_errors = loaded.diagnostics.iter().any(super::Diagnostic::is_error);
    assert_eq!(loaded.config.is_none(), has_errors);
    for finding in &loaded.diagnostics {
        let related = finding.related.iter().map(|(span, _)| *span);
        for span in finding.span.into_iter().chain(related) {
            let text = loaded.sources.text(span.file);
            assert!(span.start <= span.end, "{finding:?}");
            assert!(text.get(span.start as usize..span.end as usize).is_some(), "{finding:?}");
            loaded.sources.line_column(span.file, span.end);
        }
    }
}

/// A change of a text: at a place, so many characters are replaced.
fn broken_sample() -> impl Strategy<Value = String> {
    let scraps = prop_oneof![
        "[{}()\\[\\]<>=\"'#/*\\\\ \n]{1,4}",
        "[a-z0-9=\" ]{0,6}",
        any::<char>().prop_map(|c| c.to_string()),
        Just(String::new()),
    ];
    let edit = (0..SAMPLE.len(), 0..30_usize, scraps);
    prop::collection::vec(edit, 1..6).prop_map(|edits| {
        let mut text: Vec<char> = SAMPLE.chars().collect();
        for (at, length, scrap) in edits {
            let at = at.min(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, scrap.chars());
        }
        text.into_iter().collect()
    })
}

/// Items as text, with words, lists and dictionaries of all sorts.
fn items() -> impl Strategy<Value = String> {
    let bare = "[a-z0-9*.:,~-][a-z0-9*.:,/~\\\\-]{0,3}";
    let word = prop_oneof![bare.prop_map(String::from), "\"([a-z #{}=()'\n]|\\\\\")*\""];
    let value = word.clone().prop_recursive(3, 12, 3, move |value| {
        let entry = ("[a-z]{1,3}", value).prop_map(|(name, value)| format!("{name} = {value}"));
        let entries = prop::collection::vec(entry, 0..3).prop_map(|entries| entries.join(" "));
        let element = (bare, prop::option::of(entries.clone()), prop::option::of(entries.clone()))
            .prop_map(|(word, attributes, properties)| {
                let attributes = attributes.map_or(String::new(), |text| format!("< {text} >"));
                let properties = properties.map_or(String::new(), |text| format!("[ {text} ]"));
                format!("{word} {attributes} {properties}")
            });
        prop_oneof![
            entries.prop_map(|entries| format!("[ {entries} ]")),
            prop::collection::vec(element, 0..3).prop_map(|list| format!("( {} )", list.join(" "))),
        ]
    });
    let option = ("[a-z]{1,4}", value).prop_map(|(name, value)| format!("{name} = {value}\n"));
    let item = prop_oneof![option, word.prop_map(|path| format!("include {path}\n"))];
    let items = prop::collection::vec(item, 0..4).prop_map(|items| items.concat());
    items.prop_recursive(3, 12, 3, |items| {
        ("[a-z]{1,4}", prop_oneof![Just(String::new()), Just(String::from("\"x y\""))], items)
            .prop_map(|(name, instance, items)| format!("{name} {instance} {{\n{items}}}\n"))
    })
}

/// A tree without places.
fn shape(items: &[Item]) -> String {
    let words: Vec<_> = items.iter().map(item_shape).collect();
    words.join(";")
}

fn item_shape(item: &Item) -> String {
    match item {
        Item::Option(assignment) => assignment_shape(assignment),
        Item::Include(include) => format!("include {}", word_shape(&include.path)),
        Item::Scope(scope) => {
            let instance = scope.instance.as_ref().map(word_shape);
            format!("{} {instance:?} {{{}}}", word_shape(&scope.name), shape(&scope.items))
        }
    }
}

fn assignment_shape(assignment: &Assignment) -> String {
    let value = match &assignment.value {
        Value::Word(word) => word_shape(word),
        Value::Dict(dict) => dict_shape(dict),
        Value::List(list) => {
            let elements: Vec<_> = list.elements.iter().map(element_shape).collect();
            format!("({})", elements.join(","))
        }
    };
    format!("{}={value}", word_shape(&assignment.name))
}

fn element_shape(element: &Element) -> String {
    let dicts =
        [&element.attributes, &element.properties].map(|dict| dict.as_ref().map(dict_shape));
    format!("{}{dicts:?}", word_shape(&element.word))
}

fn dict_shape(dict: &Dict) -> String {
    let entries: Vec<_> = dict.entries.iter().map(assignment_shape).collect();
    format!("[{}]", entries.join(","))
}

fn word_shape(word: &Word) -> String {
    format!("{:?}{}", word.text, word.quoted)
}

#[test]
fn the_sample_is_right() {
    let (_, diagnostics) = parser::parse(FileId(0), SAMPLE);
    assert_eq!(diagnostics, []);
}

#[test]
fn the_printed_sample() {
    let (items, _) = parser::parse(FileId(0), SAMPLE);
    assert_snapshot!(Printed(&items).to_string(), @r##"
    hostname = "mx.test"
    retry_interval = 60
    include part.conf
    domain /(?:^|[.])example[.](com|net)$/ {
      max_outbound_connections = 5
      routes = ( a b )
    }
    binding_group "g" {
      binding green {
        bind_address = [2001:db8::1]
      }
      domain "a" {
        tls = no
      }
    }
    Esmtp_Listener = (
      *:25,5~2 < proto = ipv4 > [
        0.0.0.0/0 = (
          personality [
            idle_time = 300
            static_banner = "220 \"x\""
          ]
          continue
        )
        ::1/0 = (
          context [ binding = green ]
          relay_for_sending_domains
        )
      ]
      [::1]:587
    )
    ESMTP_Listener {
      Listen ":26" {
      }
      Peer "10.0.0.0/8" {
        context = [ a = "b" ]
      }
    }
    outbound_throttle_messages = 600/60
    "##);
}

proptest! {
    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        answers(&text);
    }

    #[test]
    fn any_broken_configuration_is_answered(text in broken_sample()) {
        answers(&text);
    }

    #[test]
    fn what_is_printed_means_the_same(text in items()) {
        let (items, diagnostics) = parser::parse(FileId(0), &text);
        prop_assert!(diagnostics.is_empty(), "{:?}", diagnostics);
        let printed = Printed(&items).to_string();
        let (again, diagnostics) = parser::parse(FileId(0), &printed);
        prop_assert!(diagnostics.is_empty(), "{}\n{:?}", printed, diagnostics);
        prop_assert_eq!(shape(&items), shape(&again));
        prop_assert_eq!(Printed(&again).to_string(), printed);
    }
}
