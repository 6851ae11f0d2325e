//! Configuration texts, and places in them.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::limits;

/// Where configuration comes from. The engine reads no files: the daemon hands in the file system,
/// a test hands in a map.
pub trait ConfigFiles {
    /// Reads the file or directory named `path`, as it is written in the file `from` (`None`: the
    /// entry file). A relative name is looked for beside `from` first. A directory gives its files
    /// in lexical order, without those whose name starts with a dot and without its
    /// subdirectories.
    ///
    /// The names in the answer identify files: the same file read twice has the same name.
    fn read(&mut self, path: &str, from: Option<&str>) -> Result<Vec<SourceFile>, FileError>;
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its name, as diagnostics print it.
    pub name: String,
    /// What it contains. Bytes that are not UTF-8 are U+FFFD here: harmless in a comment, an error
    /// in a value.
    pub text: String,
}

/// Why a file could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileError {
    /// There is no such file.
    NotFound,
    /// It exists and cannot be read; the words of the system.
    Unreadable(String),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("no such file or directory"),
            Self::Unreadable(why) => f.write_str(why),
        }
    }
}

/// Position of a file in [`Sources`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId(pub u32);

/// A stretch of one file, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Which file.
    pub file: FileId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// From the start of this one to the end of `other`, which follows it in the same file.
    pub const fn to(self, other: Self) -> Self {
        Self { file: self.file, start: self.start, end: other.end }
    }
}

/// A place for people: both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineColumn {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

/// Every file that was read, in the order of reading.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<IndexedFile>,
}

#[derive(Clone, Debug)]
struct IndexedFile {
    file: SourceFile,
    /// Offset of the first byte of each line.
    line_starts: Vec<u32>,
}

impl Sources {
    /// Adds a file, cut at [`limits::CONFIG_FILE_BYTES_MAX`].
    pub fn add(&mut self, mut file: SourceFile) -> FileId {
        if file.text.len() > limits::CONFIG_FILE_BYTES_MAX {
            let end = file.text.floor_char_boundary(limits::CONFIG_FILE_BYTES_MAX);
            file.text.truncate(end);
        }
        let newlines = memchr::memchr_iter(b'\n', file.text.as_bytes());
        // The length fits because of the limit above.
        let line_starts =
            core::iter::once(0).chain(newlines.map(|offset| offset as u32 + 1)).collect();
        self.files.push(IndexedFile { file, line_starts });
        FileId(self.files.len() as u32 - 1)
    }

    /// The files.
    pub fn files(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter().map(|indexed| &indexed.file)
    }

    /// One file; `None` for an id of other sources.
    pub fn get(&self, id: FileId) -> Option<&SourceFile> {
        self.files.get(id.0 as usize).map(|indexed| &indexed.file)
    }

    /// The name of a file, for messages.
    pub fn name(&self, id: FileId) -> &str {
        self.get(id).map_or("", |file| &file.name)
    }

    /// The text of a file.
    pub fn text(&self, id: FileId) -> &str {
        self.get(id).map_or("", |file| &file.text)
    }

    /// The text of a span.
    pub fn slice(&self, span: Span) -> &str {
        self.text(span.file).get(span.start as usize..span.end as usize).unwrap_or("")
    }

    /// Line and column of a byte of a file.
    pub fn line_column(&self, file: FileId, offset: u32) -> LineColumn {
        let Some(indexed) = self.files.get(file.0 as usize) else {
            return LineColumn { line: 1, column: 1 };
        };
        let line = indexed.line_starts.partition_point(|&start| start <= offset).max(1);
        let start = indexed.line_starts[line - 1] as usize;
        let text = &indexed.file.text;
        let end = text.floor_char_boundary(offset as usize);
        let column = text.get(start..end).map_or(0, |before| before.chars().count());
        LineColumn { line: line as u32, column: column as u32 + 1 }
    }

    /// The whole lines that a stretch of a file touches: their text, and the offset it begins at.
    pub fn lines(&self, file: FileId, start: u32, end: u32) -> (&str, u32) {
        let Some(indexed) = self.files.get(file.0 as usize) else { return ("", 0) };
        let starts = &indexed.line_starts;
        let line_after = |offset| starts.partition_point(|&start| start <= offset).max(1);
        let from = starts[line_after(start) - 1];
        let to =
            starts.get(line_after(end.max(start))).map_or(indexed.file.text.len() as u32, |to| *to);
        (indexed.file.text.get(from as usize..to as usize).unwrap_or(""), from)
    }

    /// Number of the line a span starts on, from 1.
    pub fn line(&self, span: Span) -> u32 {
        self.line_column(span.file, span.start).line
    }
}

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned;

    use super::*;

    #[test]
    fn columns_count_characters_and_lines_end_at_newlines() {
        let mut sources = Sources::default();
        let text = "ab\r\nöxy\n\nz".to_owned();
        let id = sources.add(SourceFile { name: "f".to_owned(), text });
        let at = |offset| {
            let place = sources.line_column(id, offset);
            (place.line, place.column)
        };
        assert_eq!(at(0), (1, 1));
        assert_eq!(at(4), (2, 1), "the o umlaut");
        assert_eq!(at(6), (2, 2), "the x, two bytes later");
        assert_eq!(at(9), (3, 1), "the empty line");
        assert_eq!(at(10), (4, 1));
        assert_eq!(at(11), (4, 2), "the end");
        assert_eq!(at(99), (4, 2), "beyond the end");
        assert_eq!(sources.lines(id, 6, 7), ("öxy\n", 4));
        assert_eq!(sources.lines(id, 0, 4), ("ab\r\nöxy\n", 0));
        assert_eq!(sources.lines(id, 11, 11), ("z", 10));
    }
}
