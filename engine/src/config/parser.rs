//! From text to syntax tree. Never gives up at the first mistake: each one is reported where it
//! stands and parsing goes on behind it.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::ast::{Assignment, Dict, Element, Include, Item, List, Scope, Value, Word};
use super::diagnostic::Diagnostic;
use super::lexer::{self, Fault, Place, Token};
use super::source::{FileId, Span};
use crate::limits;

/// Parses one file. Includes come back without their files: the loader knows where those are.
pub(super) fn parse(file: FileId, text: &str) -> (Vec<Item>, Vec<Diagnostic>) {
    let mut parser = Parser::new(file, text);
    parser.advance(Place::Plain);
    let mut items = Vec::new();
    loop {
        parser.items(&mut items);
        match parser.token {
            Token::Mark('}') => {
                let stray = Diagnostic::error(parser.span, "unexpected `}`")
                    .label("no stanza is open here");
                parser.diagnostics.push(stray);
                parser.advance(Place::Plain);
            }
            _ => return (items, parser.diagnostics),
        }
    }
}

struct Parser<'a> {
    file: FileId,
    text: &'a str,
    /// The token at hand, and where it is.
    token: Token<'a>,
    span: Span,
    /// The token at hand is the first of its line.
    first_of_line: bool,
    /// What follows the token at hand.
    rest: &'a str,
    /// Where the token before the one at hand ended.
    before: u32,
    /// The nesting limit was met: the rest of the file is not looked at.
    gave_up: bool,
    /// Stanzas, lists and dictionaries open.
    depth: usize,
    /// Quoted words over several lines, the first of the item before this one and of this one: if
    /// something is wrong behind one, its own quote is what is missing.
    long_quotes: [Option<Span>; 2],
    diagnostics: Vec<Diagnostic>,
}

/// Something was wrong and has been reported.
struct Skip {
    /// Brackets left open within the item.
    open: usize,
    /// The token at hand begins the next item: nothing is left to skip.
    resumed: bool,
    /// The item before was read wrongly: it ends in a quoted word that was never closed.
    before_too: bool,
}

impl Skip {
    const fn new(resumed: bool) -> Self {
        Self { open: 0, resumed, before_too: false }
    }
}

type Parsed<T> = Result<T, Skip>;

impl<'a> Parser<'a> {
    fn new(file: FileId, text: &'a str) -> Self {
        Self {
            file,
            text,
            token: Token::End,
            span: Span { file, start: 0, end: 0 },
            first_of_line: true,
            rest: text,
            before: 0,
            gave_up: false,
            depth: 0,
            long_quotes: [None; 2],
            diagnostics: Vec::new(),
        }
    }

    /// Items up to the end of the file or a `}` that is not ours.
    fn items(&mut self, items: &mut Vec<Item>) {
        loop {
            match self.token {
                Token::End | Token::Mark('}') => return,
                _ => {}
            }
            self.long_quotes = [self.long_quotes[1], None];
            match self.item() {
                Ok(item) => items.push(item),
                Err(skip) => {
                    if skip.before_too {
                        items.pop();
                    }
                    self.recover(skip);
                }
            }
        }
    }

    /// `name = value`, `name instance { }` or an include.
    fn item(&mut self) -> Parsed<Item> {
        let Some(name) = self.take_word(Place::Instance) else {
            return Err(self.unexpected("`name = value` or a stanza `name { ... }`"));
        };
        if !name.quoted && is_include(&name.text) {
            let Some(path) = self.take_word(Place::Plain) else {
                return Err(self.unexpected("the name of a file or directory"));
            };
            return Ok(Item::Include(Include { keyword: name, path, files: Vec::new() }));
        }
        match self.token {
            Token::Mark('=') => {
                self.advance(Place::Plain);
                Ok(Item::Option(Assignment { name, value: self.value()? }))
            }
            Token::Mark('{') => self.scope(name, None),
            Token::Word { .. } => {
                let instance = self.take_word(Place::Plain);
                match self.token {
                    Token::Mark('{') => self.scope(name, instance),
                    _ => Err(self.not_an_item(&name, instance.as_ref())),
                }
            }
            _ => Err(self.not_an_item(&name, None)),
        }
    }

    /// The body of a stanza, its heading read, `{` at hand.
    fn scope(&mut self, name: Word, instance: Option<Word>) -> Parsed<Item> {
        let opening = self.span;
        let items = self.nested(|parser| {
            let mut items = Vec::new();
            parser.items(&mut items);
            Ok(items)
        })?;
        if self.token == Token::Mark('}') {
            self.advance(Place::Plain);
        } else if !self.gave_up {
            let open = Diagnostic::error(opening, "this stanza is not closed")
                .label("opened here")
                .help("add the missing `}`");
            self.diagnostics.push(open);
        }
        Ok(Item::Scope(Scope { name, instance, items }))
    }

    fn value(&mut self) -> Parsed<Value> {
        match self.token {
            Token::Mark('(') => self.list().map(Value::List),
            Token::Mark('[') => self.dict(']').map(Value::Dict),
            _ => match self.take_word(Place::Plain) {
                Some(word) => Ok(Value::Word(word)),
                None => Err(self.unexpected("a value: a word, `( ... )` or `[ ... ]`")),
            },
        }
    }

    /// `( element ... )`; the parenthesis is at hand.
    fn list(&mut self) -> Parsed<List> {
        let opening = self.span;
        let elements = self.nested(|parser| {
            let mut elements = Vec::new();
            while parser.token != Token::Mark(')') {
                let first_of_line = parser.first_of_line;
                let Some(word) = parser.take_word(Place::Plain) else {
                    return Err(parser.unexpected_inside("a word or `)`", opening));
                };
                if parser.token == Token::Mark('=') && first_of_line {
                    parser.unclosed_list(opening, word.span);
                    return Ok(elements);
                }
                elements.push(parser.element(word)?);
            }
            parser.advance(Place::Plain);
            Ok(elements)
        })?;
        Ok(List { elements, span: Span { end: self.before, ..opening } })
    }

    /// `<attributes>` and `[ properties ]` behind a word of a list.
    fn element(&mut self, word: Word) -> Parsed<Element> {
        let mut element = Element { word, attributes: None, properties: None };
        if self.token == Token::Mark('<') {
            element.attributes = Some(self.dict('>')?);
        }
        if self.token == Token::Mark('[') {
            element.properties = Some(self.dict(']')?);
        }
        Ok(element)
    }

    /// `name = value ...` up to `close`; the opening bracket is at hand.
    fn dict(&mut self, close: char) -> Parsed<Dict> {
        let opening = self.span;
        let entries = self.nested(|parser| {
            let mut entries = Vec::new();
            while parser.token != Token::Mark(close) {
                let Some(name) = parser.take_word(Place::Plain) else {
                    let expected = format!("`name = value` or `{close}`");
                    return Err(parser.unexpected_inside(&expected, opening));
                };
                if parser.token != Token::Mark('=') {
                    let expected = format!("`=` after `{}`", lexer::shorten(&name.text));
                    return Err(parser.unexpected_inside(&expected, opening));
                }
                parser.advance(Place::Plain);
                entries.push(Assignment { name, value: parser.value()? });
            }
            parser.advance(Place::Plain);
            Ok(entries)
        })?;
        Ok(Dict { entries, span: Span { end: self.before, ..opening } })
    }

    /// Reads what is inside the bracket at hand, if the nesting limit allows it; else nothing more
    /// is read from this file.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == limits::CONFIG_NESTING_MAX {
            self.diagnostics.push(
                Diagnostic::error(self.span, "stanzas and lists are nested too deeply")
                    .label(format!("more than {} levels", limits::CONFIG_NESTING_MAX))
                    .help("nothing behind this place was read"),
            );
            self.gave_up = true;
            self.token = Token::End;
            self.rest = "";
            return Err(Skip::new(true));
        }
        self.depth += 1;
        self.advance(Place::Plain);
        let result = read(self);
        self.depth -= 1;
        result.map_err(|skip| Skip { open: skip.open + 1, ..skip })
    }

    /// A line `name = ...` inside a list: the list before it was never closed.
    fn unclosed_list(&mut self, opening: Span, next: Span) {
        self.diagnostics.push(
            Diagnostic::error(opening, "this list is not closed")
                .label("opened here")
                .related(next, "a new option begins here")
                .help("add the missing `)`"),
        );
        self.rewind(next.start);
    }

    /// A name that neither `=` nor `{` follows.
    fn not_an_item(&mut self, name: &Word, instance: Option<&Word>) -> Skip {
        let name = lexer::shorten(&name.text);
        let Some(instance) = instance else {
            return self.unexpected(&format!("`=` or `{{` after `{name}`"));
        };
        if let Some(skip) = self.missing_quote() {
            return skip;
        }
        let found = lexer::shorten(&instance.text);
        let message = format!("expected `=` or `{{` after `{name}`, found `{found}`");
        let help = match self.token {
            Token::Word { .. } => "a value of several words needs quotes; a stanza has one name",
            _ => "an option is `name = value`, a stanza `name \"instance\" { ... }`",
        };
        self.diagnostics
            .push(Diagnostic::error(instance.span, message).label("not expected here").help(help));
        Skip::new(false)
    }

    /// Reports the token at hand, inside the bracket opened at `opening`.
    fn unexpected_inside(&mut self, expected: &str, opening: Span) -> Skip {
        let skip = self.unexpected(expected);
        if let Some(last) = self.diagnostics.last_mut().filter(|_| !skip.resumed) {
            last.related.push((opening, "in what was opened here".to_owned()));
        }
        skip
    }

    /// Reports the token at hand.
    fn unexpected(&mut self, expected: &str) -> Skip {
        if let Some(skip) = self.missing_quote() {
            return skip;
        }
        if self.gave_up {
            return Skip::new(true);
        }
        let message = format!("expected {expected}, found {}", self.token.describe());
        let mut diagnostic = Diagnostic::error(self.span, message).label(match self.token {
            Token::End => "the file ends here",
            _ => "not expected here",
        });
        if self.token == Token::Mark('=') {
            diagnostic = diagnostic.help("a word that contains `=` needs quotes");
        }
        self.diagnostics.push(diagnostic);
        Skip::new(false)
    }

    /// When a quoted word over several lines precedes a mistake, the mistake is its missing quote:
    /// reports that, and goes back to the end of the line it began on.
    fn missing_quote(&mut self) -> Option<Skip> {
        let [before, here] = self.long_quotes;
        let quote = before.or(here)?;
        self.long_quotes = [None; 2];
        let start = quote.start as usize;
        let line = self.text[start..].find('\n').map_or(self.text.len(), |line| start + line);
        self.report_open_quote(Span { end: line as u32, ..quote });
        self.rewind(line as u32);
        Some(Skip { before_too: before.is_some(), ..Skip::new(true) })
    }

    fn report_open_quote(&mut self, span: Span) {
        self.diagnostics.push(
            Diagnostic::error(span, "this quoted word is not closed")
                .label("the quote opened here")
                .help("add the missing `\"`; inside quotes `\\\"` writes a quote"),
        );
    }

    /// Skips to where the next item may begin: behind the brackets left open, and then at a new
    /// line, at `}` or behind a `{ }` whose items are still looked at.
    fn recover(&mut self, skip: Skip) {
        if skip.resumed {
            return;
        }
        let mut open = skip.open;
        loop {
            match self.token {
                Token::End => return,
                Token::Mark('}') if self.depth > 0 => return,
                // Closes no stanza, so it belongs to what was wrong; and no bracket spans a brace.
                Token::Mark('}') => open = 0,
                Token::Mark('{') => {
                    let name = Word { text: Arc::from(""), span: self.span, quoted: false };
                    // The heading is at fault and reported; mistakes of the body are told too.
                    if let Err(skip) = self.scope(name, None) {
                        return self.recover(skip);
                    }
                    return;
                }
                Token::Mark('(' | '[') => open += 1,
                Token::Mark(')' | ']') => open = open.saturating_sub(1),
                _ => {}
            }
            self.advance(Place::Plain);
            if open == 0 && self.first_of_line && !matches!(self.token, Token::Mark(_)) {
                return;
            }
        }
    }

    fn take_word(&mut self, next: Place) -> Option<Word> {
        let Token::Word { text, quoted } = &self.token else { return None };
        let word = Word { text: Arc::from(&**text), span: self.span, quoted: *quoted };
        self.advance(next);
        Some(word)
    }

    fn rewind(&mut self, offset: u32) {
        self.rest = &self.text[offset as usize..];
        self.advance(Place::Plain);
    }

    /// Makes the next token the one at hand.
    fn advance(&mut self, place: Place) {
        let before = self.offset(self.rest);
        self.before = before as u32;
        let rest = lexer::skip_trivia(self.rest).unwrap_or_else(|comment| {
            let start = self.offset(comment) as u32;
            let span = Span { file: self.file, start, end: start + 2 };
            self.diagnostics.push(
                Diagnostic::error(span, "this comment is not closed")
                    .label("opened here")
                    .help("add the missing `*/`; comments do not nest"),
            );
            &comment[comment.len()..]
        });
        let start = self.offset(rest);
        self.first_of_line = start == 0 || self.text[before..start].contains('\n');
        let lexed = lexer::lex(rest, place);
        let end = self.offset(lexed.rest);
        self.token = lexed.token;
        self.rest = lexed.rest;
        self.span = Span { file: self.file, start: start as u32, end: end as u32 };
        self.note_long_quote();
        if let Some(fault) = lexed.fault {
            self.report(fault);
        }
    }

    fn note_long_quote(&mut self) {
        let quoted = matches!(self.token, Token::Word { quoted: true, .. });
        let text = &self.text[self.span.start as usize..self.span.end as usize];
        if quoted && self.long_quotes[1].is_none() && text.contains('\n') {
            self.long_quotes[1] = Some(self.span);
        }
    }

    fn report(&mut self, fault: Fault) {
        match fault {
            Fault::OpenQuote => self.report_open_quote(self.span),
            Fault::SingleQuotes => self.diagnostics.push(
                Diagnostic::error(self.span, "single quotes do not quote")
                    .label("begins with `'`")
                    .help("write \"...\" around a word with blanks or special characters"),
            ),
            Fault::NotText => self.diagnostics.push(
                Diagnostic::error(self.span, "this word is not clean text")
                    .label("contains a control character or a byte that is not UTF-8")
                    .help("save the file as UTF-8"),
            ),
        }
    }

    fn offset(&self, rest: &str) -> usize {
        self.text.len() - rest.len()
    }
}

fn is_include(name: &str) -> bool {
    name.eq_ignore_ascii_case("include") || name.eq_ignore_ascii_case("readonly_include")
}
