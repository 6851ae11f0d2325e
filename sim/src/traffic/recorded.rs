//! Arrivals that were recorded: a CSV file with a line for each message.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::MailboxPattern;
use crate::scenario::units;

/// One message of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The line of the file it stands on.
    pub line: usize,
    /// When it comes, from the beginning of the traffic.
    pub at: Duration,
    /// Its sender, if the recording tells; the inner `None` is the null sender.
    pub from: Option<Option<MailboxPattern>>,
    /// Its recipients, if the recording tells.
    pub to: Option<Arc<[MailboxPattern]>>,
    /// The size of its body in bytes, if the recording tells.
    pub size_bytes: Option<u64>,
    /// The binding that sends it, if the recording tells.
    pub binding: Option<Arc<str>>,
}

/// What is wrong with a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line it is in.
    pub line: usize,
    /// What it is.
    pub what: String,
}

/// Reads a recording: a line that names its columns, then one for each message. Empty lines and
/// those that begin with `#` do not count. The messages come in the order of their times.
///
/// # Errors
///
/// Everything that is wrong, up to a number of mistakes.
pub fn read(text: &str) -> Result<Vec<Row>, Vec<Mistake>> {
    let counts = |(_, line): &(usize, &str)| !line.trim().is_empty() && !line.starts_with('#');
    let numbered = text.lines().enumerate().map(|(n, line)| (n + 1, line));
    let mut lines = numbered.filter(counts);
    let Some((first, heading)) = lines.next() else {
        let what = "nothing is recorded; the first line names the columns: `time,to`".to_owned();
        return Err(vec![Mistake { line: 1, what }]);
    };
    let columns = columns(heading).map_err(|what| vec![Mistake { line: first, what }])?;
    let (mut rows, mut mistakes) = (Vec::new(), Vec::new());
    let mut known = Known::default();
    for (line, text) in lines {
        match row(line, text, &columns, &mut known) {
            Ok(row) => rows.push(row),
            Err(what) => mistakes.push(Mistake { line, what }),
        }
        if mistakes.len() == MISTAKES_MAX {
            break;
        }
    }
    if rows.is_empty() && mistakes.is_empty() {
        mistakes.push(Mistake { line: first, what: "no message follows".to_owned() });
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    rows.sort_by_key(|row| row.at);
    Ok(rows)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Time,
    From,
    To,
    Size,
    Binding,
}

const COLUMNS: [(&str, Column); 5] = [
    ("time", Column::Time),
    ("from", Column::From),
    ("to", Column::To),
    ("size", Column::Size),
    ("binding", Column::Binding),
];

fn columns(heading: &str) -> Result<Vec<Column>, String> {
    let mut columns = Vec::new();
    for name in fields(heading)? {
        let known = COLUMNS.iter().find(|(known, _)| known.eq_ignore_ascii_case(&name));
        let Some((_, column)) = known else {
            let all: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
            return Err(format!("`{name}` is no column; there are {}", all.join(", ")));
        };
        if columns.contains(column) {
            return Err(format!("`{name}` is there twice"));
        }
        columns.push(*column);
    }
    match columns.contains(&Column::Time) {
        true => Ok(columns),
        false => Err("there is no column `time`".to_owned()),
    }
}

/// What was read before: the same senders and recipients come again and again.
#[derive(Default)]
struct Known {
    patterns: BTreeMap<String, MailboxPattern>,
    lists: BTreeMap<String, Arc<[MailboxPattern]>>,
    names: BTreeMap<String, Arc<str>>,
}

fn row(line: usize, text: &str, columns: &[Column], known: &mut Known) -> Result<Row, String> {
    let fields = fields(text)?;
    if fields.len() != columns.len() {
        return Err(format!("{} fields, and there are {} columns", fields.len(), columns.len()));
    }
    let mut row =
        Row { line, at: Duration::ZERO, from: None, to: None, size_bytes: None, binding: None };
    for (column, field) in columns.iter().zip(fields) {
        match column {
            Column::Time => row.at = time(&field)?,
            Column::From => row.from = Some(known.sender(field)?),
            Column::To => row.to = Some(known.recipients(field)?),
            Column::Size => row.size_bytes = Some(size(&field)?),
            Column::Binding => row.binding = Some(known.name(field)?),
        }
    }
    Ok(row)
}

impl Known {
    fn pattern(&mut self, text: &str) -> Result<MailboxPattern, String> {
        if let Some(known) = self.patterns.get(text) {
            return Ok(known.clone());
        }
        let pattern = MailboxPattern::parse(text)?;
        self.patterns.insert(text.to_owned(), pattern.clone());
        Ok(pattern)
    }

    fn sender(&mut self, text: String) -> Result<Option<MailboxPattern>, String> {
        match &*text {
            "<>" | "" => Ok(None),
            address => self.pattern(address).map(Some),
        }
    }

    /// Several are divided by blanks.
    fn recipients(&mut self, text: String) -> Result<Arc<[MailboxPattern]>, String> {
        if let Some(known) = self.lists.get(&text) {
            return Ok(Arc::clone(known));
        }
        let each = text.split_whitespace().map(|one| self.pattern(one));
        let list: Arc<[MailboxPattern]> = each.collect::<Result<Vec<_>, _>>()?.into();
        if list.is_empty() {
            return Err("`to` names nobody".to_owned());
        }
        self.lists.insert(text, Arc::clone(&list));
        Ok(list)
    }

    fn name(&mut self, text: String) -> Result<Arc<str>, String> {
        if text.is_empty() {
            return Err("`binding` is empty".to_owned());
        }
        let name = self.names.entry(text).or_insert_with_key(|text| text.as_str().into());
        Ok(Arc::clone(name))
    }
}

/// Seconds, or a length of time with units.
fn time(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.0..=SECONDS_MAX).contains(seconds));
    match seconds {
        Some(seconds) => Ok(Duration::from_micros((seconds * 1e6).round() as u64)),
        None => units::duration(text).map_err(|why| format!("`time`: {why}")),
    }
}

/// Bytes, or a size with a unit.
fn size(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(bytes) => Ok(bytes),
        Err(_) => units::size(text).map_err(|why| format!("`size`: {why}")),
    }
}

/// The fields of a line, without quotes (RFC 4180; none goes over several lines).
fn fields(line: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let trimmed = rest.trim_start();
        let (field, after) = match trimmed.strip_prefix('"') {
            Some(quoted) => take_quoted(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].trim().to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match after.trim_start().strip_prefix(',') {
            Some(more) => rest = more,
            None if after.trim().is_empty() => return Ok(fields),
            None => return Err("a comma is missing after the quotes".to_owned()),
        }
    }
}

/// A field up to its closing quotes, and what follows them.
fn take_quoted(text: &str) -> Result<(String, &str), String> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let Some((before, after)) = rest.split_once('"') else {
            return Err("the quotes are not closed".to_owned());
        };
        field += before;
        match after.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Ok((field, after)),
        }
    }
}

/// Mistakes told at once.
const MISTAKES_MAX: usize = 10;

/// Longest time of a recording: a year and a day.
const SECONDS_MAX: f64 = 366.0 * 86_400.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_divided_by_commas_that_are_not_in_quotes() {
        for (line, expected) in [
            ("a,b", &["a", "b"][..]),
            (" a , b ", &["a", "b"]),
            ("a,,", &["a", "", ""]),
            (r#""a,b","c""d""#, &["a,b", "c\"d"]),
            (r#"x, "y" ,z"#, &["x", "y", "z"]),
        ] {
            assert_eq!(fields(line).unwrap(), expected, "{line}");
        }
        for broken in [r#""a"#, r#""a"b,c"#] {
            assert!(fields(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_recording_is_put_in_order() {
        let text = "# from the log\nTime,to,size,from,binding\n\n2.5,a@a.test b@b.test,2KB,<>,x\n\
                    1m,c.test,3000,n@brand.test,y\n0,c.test,64,\"n@brand.test\",x\n";
        let rows = read(text).unwrap();
        let seen: Vec<_> = rows.iter().map(|row| (row.line, row.at.as_millis())).collect();
        assert_eq!(seen, [(6, 0), (4, 2500), (5, 60_000)]);
        assert_eq!(rows[1].to.as_ref().unwrap().len(), 2);
        assert_eq!((rows[1].size_bytes, rows[1].from.clone()), (Some(2000), Some(None)));
        assert_eq!(rows[2].binding.as_deref(), Some("y"));
        let least = read("time\n1\n").unwrap();
        assert_eq!((&least[0].from, &least[0].to), (&None, &None));
    }

    #[test]
    fn mistakes_have_their_lines() {
        let told = |text: &str| -> Vec<String> {
            let mistakes = read(text).unwrap_err();
            mistakes.iter().map(|one| format!("{}: {}", one.line, one.what)).collect()
        };
        for (text, expected) in [
            ("", "1: nothing is recorded"),
            ("time\n", "1: no message follows"),
            ("to\na.test\n", "1: there is no column `time`"),
            ("time,rcpt\n", "1: `rcpt` is no column"),
            ("time,to,to\n", "1: `to` is there twice"),
            ("time,to\n1\n", "2: 1 fields, and there are 2 columns"),
            ("time\n\nsoon\n", "3: `time`: "),
            ("time\n-1\n", "2: `time`: "),
            ("time,to\n1,\n", "2: `to` names nobody"),
            ("time,to\n1,a b@\n", "2: "),
            ("time,size\n1,big\n", "2: `size`: "),
            ("time,binding\n1,\n", "2: `binding` is empty"),
        ] {
            let found = told(text);
            assert!(found[0].starts_with(expected), "{text:?}: {found:?}");
        }
        assert_eq!(told(&format!("time\n{}", "x\n".repeat(50))).len(), MISTAKES_MAX);
    }
}
