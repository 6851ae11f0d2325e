//! THE table of options: one row each, the single source for parsing, typing, defaults, scopes,
//! documentation and status.

mod adaptive;
mod bounces;
mod delivery;
mod legacy;
mod listener;
mod logger;
pub mod reference;
mod server;
mod tls;

use alloc::borrow::Cow;
use alloc::format;

use super::scope::Scopes;
use super::value::Kind;

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Its name, in the spelling of the documentation.
    pub name: &'static str,
    /// Other names it goes by, older or newer.
    pub aliases: &'static [&'static str],
    /// What it is about.
    pub family: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// Its built-in value, as it would be written; empty for none.
    pub default: &'static str,
    /// Where it may be set.
    pub scopes: Scopes,
    /// What it does here.
    pub status: Status,
    /// The page of the original's manual that describes it.
    pub page: &'static str,
    /// What it means: the lines of a doc comment.
    doc: &'static [&'static str],
}

/// What an option does in this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// What its documentation says.
    Works,
    /// Nothing yet.
    Unimplemented {
        /// What brings it.
        milestone: &'static str,
    },
    /// Nothing, and never will.
    Legacy {
        /// Why.
        reason: &'static str,
        /// What to use instead; empty for nothing.
        instead: &'static str,
    },
}

/// Position of an option in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OptionId(u16);

impl OptionId {
    /// Every option.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..COUNT as u16).map(Self)
    }

    /// Its row.
    pub const fn spec(self) -> &'static OptionSpec {
        SPECS[self.0 as usize]
    }

    /// Its position, below [`COUNT`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl OptionSpec {
    /// A value that would be right, as it would be written.
    pub fn example(&self) -> Cow<'static, str> {
        match self.default {
            "" => Cow::Borrowed(self.kind.example()),
            plain if plain.bytes().all(|b| b.is_ascii_alphanumeric()) => Cow::Borrowed(plain),
            other => Cow::Owned(format!("\"{other}\"")),
        }
    }

    /// What it means, in one or a few sentences.
    pub fn doc(&self) -> impl Iterator<Item = &'static str> {
        self.doc.iter().map(|line| line.trim())
    }
}

/// The option of that name. Meant for constants: a name that is not in the table does not compile.
pub const fn id(name: &str) -> OptionId {
    let mut at = 0;
    while at < COUNT {
        if same(SPECS[at].name, name) {
            return OptionId(at as u16);
        }
        at += 1;
    }
    panic!("no such option")
}

/// How many options there are.
pub const COUNT: usize = {
    let mut count = 0;
    let mut at = 0;
    while at < TABLES.len() {
        count += TABLES[at].len();
        at += 1;
    }
    count
};

static SPECS: [&OptionSpec; COUNT] = {
    let mut specs = [&TABLES[0][0]; COUNT];
    let mut next = 0;
    let mut table = 0;
    while table < TABLES.len() {
        let mut row = 0;
        while row < TABLES[table].len() {
            specs[next] = &TABLES[table][row];
            next += 1;
            row += 1;
        }
        table += 1;
    }
    specs
};

const TABLES: &[&[OptionSpec]] = &[
    delivery::TABLE,
    tls::TABLE,
    bounces::TABLE,
    adaptive::TABLE,
    server::TABLE,
    listener::TABLE,
    logger::TABLE,
    legacy::TABLE,
];

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Rows in a form that reads as a table:
/// `name also aliases: kind = default, scopes, status, page;` under a doc comment.
macro_rules! options {
    ($($family:literal { $(
        $(#[doc = $doc:literal])+
        $name:literal $(also $($alias:literal)+)? : $kind:expr, $default:literal, $scopes:expr,
        $status:expr, $page:literal;
    )+ })+) => {
        /// The rows.
        pub(super) const TABLE: &[$crate::config::options::OptionSpec] = &[$($(
            $crate::config::options::OptionSpec {
                name: $name,
                aliases: &[$($($alias),+)?],
                family: $family,
                kind: $kind,
                default: $default,
                scopes: $scopes,
                status: $status,
                page: $page,
                doc: &[$($doc),+],
            },
        )+)+];
    };
}
use options;

/// Shorthands of the tables.
mod words;

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::string::String;

    use super::*;

    #[test]
    fn every_row_is_well_formed() {
        let mut names = BTreeSet::new();
        for id in OptionId::all() {
            let spec = id.spec();
            for name in [spec.name].iter().chain(spec.aliases) {
                for scope in spec.scopes.iter() {
                    let fresh = names.insert((name.to_ascii_lowercase(), scope));
                    assert!(fresh, "{name} is there twice in {}", scope.name());
                }
            }
            let fine = spec.default.is_empty() || spec.kind.read_word(spec.default).is_some();
            assert!(fine, "{}: the default is not of its type", spec.name);
            let doc: String = spec.doc().collect();
            assert!(doc.ends_with('.') && doc.len() > 20, "{}: {doc}", spec.name);
            assert!(!spec.scopes.is_empty(), "{}", spec.name);
        }
    }
}
