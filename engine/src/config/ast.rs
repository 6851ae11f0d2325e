//! The syntax tree: what was written and where, before anything is known about its meaning.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::source::{FileId, Span};

/// A word, quotes and escapes removed.
#[derive(Clone, Debug)]
pub struct Word {
    /// What it says.
    pub text: Arc<str>,
    /// Where, quotes included.
    pub span: Span,
    /// Whether it stood in quotes.
    pub quoted: bool,
}

/// What a file or a stanza consists of.
#[derive(Clone, Debug)]
pub enum Item {
    /// `name = value`
    Option(Assignment),
    /// `name "instance" { ... }`
    Scope(Scope),
    /// `include "path"`
    Include(Include),
}

/// `name = value`, in a stanza, in `[ ]` or in `< >`.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// The name.
    pub name: Word,
    /// The value.
    pub value: Value,
}

impl Assignment {
    /// From the name to the end of the value.
    pub fn span(&self) -> Span {
        self.name.span.to(self.value.span())
    }
}

/// What stands right of `=`.
#[derive(Clone, Debug)]
pub enum Value {
    /// `word` or `"words"`
    Word(Word),
    /// `( element ... )`
    List(List),
    /// `[ name = value ... ]`
    Dict(Dict),
}

impl Value {
    /// All of it, brackets included.
    pub fn span(&self) -> Span {
        match self {
            Self::Word(word) => word.span,
            Self::List(list) => list.span,
            Self::Dict(dict) => dict.span,
        }
    }
}

/// `( element ... )`
#[derive(Clone, Debug)]
pub struct List {
    /// The elements in order.
    pub elements: Vec<Element>,
    /// All of it, parentheses included.
    pub span: Span,
}

/// `word <attributes> [ properties ]`: an endpoint of a listener with its access control, a
/// property of an access control entry, or simply an item of a list.
#[derive(Clone, Debug)]
pub struct Element {
    /// The word itself.
    pub word: Word,
    /// What stands in `< >` behind it.
    pub attributes: Option<Dict>,
    /// What stands in `[ ]` behind it.
    pub properties: Option<Dict>,
}

/// `[ name = value ... ]` or `< name = value ... >`
#[derive(Clone, Debug)]
pub struct Dict {
    /// The entries in order.
    pub entries: Vec<Assignment>,
    /// All of it, brackets included.
    pub span: Span,
}

/// `name "instance" { ... }`
#[derive(Clone, Debug)]
pub struct Scope {
    /// What kind of stanza.
    pub name: Word,
    /// Its own name.
    pub instance: Option<Word>,
    /// What it holds.
    pub items: Vec<Item>,
}

impl Scope {
    /// Its heading: kind and name.
    pub fn heading(&self) -> Span {
        self.instance.as_ref().map_or(self.name.span, |instance| self.name.span.to(instance.span))
    }
}

/// `include "path"`
#[derive(Clone, Debug)]
pub struct Include {
    /// The keyword, `include` or `readonly_include`.
    pub keyword: Word,
    /// The name of a file or directory.
    pub path: Word,
    /// What was found there, in order.
    pub files: Vec<File>,
}

/// One file.
#[derive(Clone, Debug)]
pub struct File {
    /// Which.
    pub id: FileId,
    /// What it holds.
    pub items: Vec<Item>,
}
