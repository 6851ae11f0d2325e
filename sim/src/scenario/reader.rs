//! Reads TOML tables key by key, collecting what is wrong instead of stopping at it.
//!
//! Every key a table may have is asked for exactly once; what is left when the table is finished
//! is an unknown key.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostics;

/// A table being read.
pub(crate) struct Table<'a> {
    entries: &'a DeTable<'a>,
    span: Range<usize>,
    known: RefCell<Vec<&'static str>>,
    diagnostics: &'a Diagnostics,
}

impl<'a> Table<'a> {
    pub(crate) fn new(
        entries: &'a DeTable<'a>,
        span: Range<usize>,
        diagnostics: &'a Diagnostics,
    ) -> Self {
        Self { entries, span, known: RefCell::default(), diagnostics }
    }

    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    pub(crate) fn diagnostics(&self) -> &'a Diagnostics {
        self.diagnostics
    }

    /// The raw value of a key.
    pub(crate) fn get(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.borrow_mut().push(key);
        self.entries.get(key)
    }

    /// Whether the key is there, without reading it.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    pub(crate) fn missing(&self, key: &str, hint: &str) {
        self.diagnostics.error_with_hint(self.span(), format!("`{key}` is missing"), hint);
    }

    pub(crate) fn text(&self, key: &'static str) -> Option<Spanned<String>> {
        let value = self.get(key)?;
        self.text_of(value, key)
    }

    /// A text that `parse` understands.
    pub(crate) fn parsed<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Spanned<T>> {
        let value = self.get(key)?;
        self.parse_value(value, key, parse)
    }

    pub(crate) fn boolean(&self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        let read = value.get_ref().as_bool();
        if read.is_none() {
            self.wrong_type(value, key, "true or false");
        }
        read
    }

    /// A whole number within `range`.
    pub(crate) fn integer(&self, key: &'static str, range: Range<u64>) -> Option<Spanned<u64>> {
        let value = self.get(key)?;
        self.integer_of(value, key, range)
    }

    pub(crate) fn integer_of(
        &self,
        value: &Spanned<DeValue<'_>>,
        key: &str,
        range: Range<u64>,
    ) -> Option<Spanned<u64>> {
        let Some(integer) = value.get_ref().as_integer() else {
            self.wrong_type(value, key, "a whole number");
            return None;
        };
        let digits = integer.as_str().replace('_', "");
        match u64::from_str_radix(&digits, integer.radix()) {
            Ok(number) if range.contains(&number) => Some(Spanned::new(value.span(), number)),
            _ => {
                let last = range.end - 1;
                let message = format!("`{key}` must be a number from {} to {last}", range.start);
                self.diagnostics.error(value.span(), message);
                None
            }
        }
    }

    /// A number, with or without a fraction, within `0..=max`.
    pub(crate) fn number(&self, key: &'static str, max: f64) -> Option<f64> {
        let value = self.get(key)?;
        self.number_of(value, key, max)
    }

    pub(crate) fn number_of(
        &self,
        value: &Spanned<DeValue<'_>>,
        key: &str,
        max: f64,
    ) -> Option<f64> {
        let read = match value.get_ref() {
            DeValue::Integer(integer) => integer.as_str().replace('_', "").parse().ok(),
            DeValue::Float(float) => float.as_str().replace('_', "").parse().ok(),
            _ => None,
        };
        match read {
            Some(number) if (0.0..=max).contains(&number) => Some(number),
            _ => {
                let message = format!("`{key}` must be a number from 0 to {max}");
                self.diagnostics.error(value.span(), message);
                None
            }
        }
    }

    /// A list of texts; a single text is a list of one.
    pub(crate) fn texts(&self, key: &'static str) -> Option<Vec<Spanned<String>>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Array(elements) => {
                Some(elements.iter().filter_map(|element| self.text_of(element, key)).collect())
            }
            _ => self.text_of(value, key).map(|text| vec![text]),
        }
    }

    pub(crate) fn table(&self, key: &'static str) -> Option<Self> {
        let value = self.get(key)?;
        self.table_of(value, key)
    }

    /// The tables of `[[key]]`, in order.
    pub(crate) fn tables(&self, key: &'static str) -> Vec<Self> {
        let Some(value) = self.get(key) else { return Vec::new() };
        match value.get_ref() {
            DeValue::Array(elements) => {
                elements.iter().filter_map(|element| self.table_of(element, key)).collect()
            }
            _ => {
                let hint = format!("write it as `[[{key}]]`, once for each");
                let message = format!("`{key}` must be a list of tables");
                self.diagnostics.error_with_hint(value.span(), message, hint);
                Vec::new()
            }
        }
    }

    pub(crate) fn table_of(&self, value: &'a Spanned<DeValue<'a>>, key: &str) -> Option<Self> {
        let DeValue::Table(entries) = value.get_ref() else {
            self.wrong_type(value, key, "a table");
            return None;
        };
        Some(Self::new(entries, value.span(), self.diagnostics))
    }

    pub(crate) fn text_of(
        &self,
        value: &'a Spanned<DeValue<'a>>,
        key: &str,
    ) -> Option<Spanned<String>> {
        self.parse_value(value, key, |text| Ok(text.to_owned()))
    }

    pub(crate) fn parse_value<T>(
        &self,
        value: &Spanned<DeValue<'_>>,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Spanned<T>> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(value, key, "a text in quotes");
            return None;
        };
        match parse(text) {
            Ok(parsed) => Some(Spanned::new(value.span(), parsed)),
            Err(why) => {
                self.diagnostics.error(value.span(), format!("`{key}`: {why}"));
                None
            }
        }
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = words.iter().find(|(word, _)| word == text.get_ref());
        if found.is_none() {
            let message = format!("`{}` is not a value of `{key}`", text.get_ref());
            let known = words.iter().map(|(word, _)| *word);
            self.diagnostics.unknown(text.span(), message, text.get_ref(), known);
        }
        found.map(|(_, value)| *value)
    }

    /// Every key and value, for tables whose keys are data.
    pub(crate) fn pairs(&self) -> Vec<(Spanned<String>, &'a Spanned<DeValue<'a>>)> {
        let mut pairs: Vec<_> = self
            .entries
            .iter()
            .map(|(key, value)| (Spanned::new(key.span(), key.get_ref().to_string()), value))
            .collect();
        pairs.sort_by_key(|(key, _)| key.span().start);
        pairs
    }

    pub(crate) fn wrong_type(&self, value: &Spanned<DeValue<'_>>, key: &str, wanted: &str) {
        let found = value.get_ref().type_str();
        self.diagnostics.error(value.span(), format!("`{key}` must be {wanted}, not {found}"));
    }

    /// Reports the keys nobody asked for.
    pub(crate) fn finish(self) {
        let known = self.known.into_inner();
        for key in self.entries.keys() {
            let word = key.get_ref().as_ref();
            if !known.contains(&word) {
                let message = format!("unknown key `{word}`");
                self.diagnostics.unknown(key.span(), message, word, known.iter().copied());
            }
        }
    }
}
