//! The syntax tree as text again, in one layout. Comments are not in the tree.

use core::fmt;

use super::ast::{Assignment, Dict, Element, Include, Item, List, Scope, Value, Word};

/// Items in the layout of a file. What an include brought in is not printed, only the include.
#[derive(Clone, Copy, Debug)]
pub struct Printed<'a>(pub &'a [Item]);

impl fmt::Display for Printed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|item| print_item(f, item, 0))
    }
}

fn print_item(f: &mut fmt::Formatter<'_>, item: &Item, indent: usize) -> fmt::Result {
    write!(f, "{:indent$}", "")?;
    match item {
        Item::Option(assignment) => print_assignment(f, assignment, indent)?,
        Item::Include(Include { keyword, path, .. }) => {
            print_word(f, keyword)?;
            f.write_str(" ")?;
            print_word(f, path)?;
        }
        Item::Scope(Scope { name, instance, items }) => {
            print_word(f, name)?;
            if let Some(instance) = instance {
                f.write_str(" ")?;
                print_word(f, instance)?;
            }
            f.write_str(" {\n")?;
            items.iter().try_for_each(|item| print_item(f, item, indent + 2))?;
            write!(f, "{:indent$}}}", "")?;
        }
    }
    f.write_str("\n")
}

fn print_assignment(
    f: &mut fmt::Formatter<'_>,
    assignment: &Assignment,
    indent: usize,
) -> fmt::Result {
    print_word(f, &assignment.name)?;
    f.write_str(" = ")?;
    match &assignment.value {
        Value::Word(word) => print_word(f, word),
        Value::List(list) => print_list(f, list, indent),
        Value::Dict(dict) => print_dict(f, dict, ['[', ']'], indent),
    }
}

/// A list of plain words on one line, any other with an element on each.
fn print_list(f: &mut fmt::Formatter<'_>, list: &List, indent: usize) -> fmt::Result {
    let plain = |element: &Element| element.attributes.is_none() && element.properties.is_none();
    f.write_str("(")?;
    if list.elements.iter().all(plain) {
        for element in &list.elements {
            f.write_str(" ")?;
            print_word(f, &element.word)?;
        }
        return f.write_str(" )");
    }
    for element in &list.elements {
        let inside = indent + 2;
        write!(f, "\n{:inside$}", "")?;
        print_word(f, &element.word)?;
        if let Some(attributes) = &element.attributes {
            f.write_str(" ")?;
            print_dict(f, attributes, ['<', '>'], inside)?;
        }
        if let Some(properties) = &element.properties {
            f.write_str(" ")?;
            print_dict(f, properties, ['[', ']'], inside)?;
        }
    }
    write!(f, "\n{:indent$})", "")
}

/// A dictionary with one entry on one line, any other with an entry on each.
fn print_dict(
    f: &mut fmt::Formatter<'_>,
    dict: &Dict,
    [open, close]: [char; 2],
    indent: usize,
) -> fmt::Result {
    write!(f, "{open}")?;
    if let [entry] = &dict.entries[..] {
        f.write_str(" ")?;
        print_assignment(f, entry, indent)?;
        return write!(f, " {close}");
    }
    for entry in &dict.entries {
        let inside = indent + 2;
        write!(f, "\n{:inside$}", "")?;
        print_assignment(f, entry, inside)?;
    }
    write!(f, "\n{:indent$}{close}", "")
}

/// A word in quotes if it stood in quotes.
fn print_word(f: &mut fmt::Formatter<'_>, word: &Word) -> fmt::Result {
    if word.quoted {
        write!(f, "\"{}\"", word.text.replace('"', "\\\""))
    } else {
        f.write_str(&word.text)
    }
}
