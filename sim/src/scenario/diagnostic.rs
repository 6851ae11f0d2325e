//! What is wrong with a scenario, and where.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// One thing wrong, at a place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, in one line.
    pub message: String,
    /// Which bytes of the file.
    pub span: Range<usize>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Why a scenario cannot be used: everything that is wrong with it, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError {
    /// The file.
    pub path: PathBuf,
    /// Its text.
    pub source: String,
    /// What is wrong; never empty.
    pub diagnostics: Vec<Diagnostic>,
}

/// A place in a text as people count: from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl Position {
    /// The position of a byte; the end of the text when `byte` lies beyond it.
    pub fn of(text: &str, byte: usize) -> Self {
        let before = &text[..text.floor_char_boundary(byte)];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl std::error::Error for ScenarioError {}

impl fmt::Display for ScenarioError {
    /// `file:line:col: error: message`, the line with the place marked, and the hint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, diagnostic) in self.diagnostics.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            self.render(diagnostic, f)?;
        }
        Ok(())
    }
}

impl ScenarioError {
    fn render(&self, diagnostic: &Diagnostic, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = Position::of(&self.source, diagnostic.span.start);
        let path = self.path.display();
        writeln!(f, "{path}:{}:{}: error: {}", start.line, start.column, diagnostic.message)?;
        let line = self.source.lines().nth(start.line - 1).unwrap_or("");
        let width = self.source.get(diagnostic.span.clone()).map_or(1, |marked| {
            marked.lines().next().map_or(1, |first| first.chars().count().max(1))
        });
        let number = start.line.to_string();
        let gutter = " ".repeat(number.len());
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{number} | {line}")?;
        writeln!(f, "{gutter} | {}{}", " ".repeat(start.column - 1), "^".repeat(width))?;
        if let Some(hint) = &diagnostic.hint {
            writeln!(f, "{gutter} = hint: {hint}")?;
        }
        Ok(())
    }
}

/// Collects diagnostics, so that a reader of a scenario can go on after an error and report
/// everything at once.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics(RefCell<Vec<Diagnostic>>);

impl Diagnostics {
    pub(crate) fn error(&self, span: Range<usize>, message: impl Into<String>) {
        self.push(span, message.into(), None);
    }

    pub(crate) fn error_with_hint(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.push(span, message.into(), Some(hint.into()));
    }

    /// An unknown word; the hint is the nearest of `known`, or the whole list of them.
    pub(crate) fn unknown<'k>(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        word: &str,
        known: impl IntoIterator<Item = &'k str> + Clone,
    ) {
        let hint = match nearest(word, known.clone()) {
            Some(candidate) => Some(format!("did you mean `{candidate}`?")),
            None => {
                let known: Vec<&str> = known.into_iter().collect();
                (!known.is_empty()).then(|| format!("one of: {}", known.join(", ")))
            }
        };
        self.push(span, message.into(), hint);
    }

    pub(crate) fn into_sorted(self) -> Vec<Diagnostic> {
        let mut all = self.0.into_inner();
        all.sort_by_key(|diagnostic| diagnostic.span.start);
        all
    }

    fn push(&self, span: Range<usize>, message: String, hint: Option<String>) {
        self.0.borrow_mut().push(Diagnostic { message, span, hint });
    }
}

/// The candidate that is most like `word`, if one is like it at all: at most one edit for every
/// three characters.
pub(crate) fn nearest<'k>(
    word: &str,
    candidates: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    let edits_max = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (edits(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= edits_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions and replacements that make `b` of `a` (Levenshtein distance).
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(!from.eq_ignore_ascii_case(&to));
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[row.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let text = "ab\nçd\n";
        let at = |byte| {
            let Position { line, column } = Position::of(text, byte);
            (line, column)
        };
        assert_eq!(at(0), (1, 1));
        assert_eq!(at(3), (2, 1));
        assert_eq!(at(5), (2, 2));
        assert_eq!(at(999), (3, 1));
    }

    #[test]
    fn nearest_finds_slips_and_not_other_words() {
        let known = ["receiver", "traffic", "horizon", "seed"];
        assert_eq!(nearest("recever", known), Some("receiver"));
        assert_eq!(nearest("Horizon", known), Some("horizon"));
        assert_eq!(nearest("sed", known), Some("seed"));
        assert_eq!(nearest("binding", known), None);
    }
}
