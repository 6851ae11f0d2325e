//! Words and punctuation.
//!
//! The lexer is asked for one token at a time, because what a `/` begins depends on where it
//! stands: in `domain /a(b|c)$/ {` the regular expression needs no quotes although it holds
//! parentheses; anywhere else `/` is a character of a bare word.

use alloc::borrow::Cow;
use alloc::string::String;

use nom::branch::alt;
use nom::bytes::complete::{tag, take_until, take_while, take_while1};
use nom::character::complete::{char, not_line_ending};
use nom::combinator::{recognize, verify};
use nom::multi::fold_many0;
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser as _};

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A bare or quoted word.
    Word {
        /// What it says.
        text: Cow<'a, str>,
        /// Whether it stood in quotes.
        quoted: bool,
    },
    /// One of `{ } ( ) [ ] < > =`.
    Mark(char),
    /// Nothing comes.
    End,
}

impl Token<'_> {
    /// The token in the words of a message.
    pub(super) fn describe(&self) -> String {
        use alloc::format;
        match self {
            Token::Word { text, .. } => format!("`{}`", shorten(text)),
            Token::Mark(mark) => format!("`{mark}`"),
            Token::End => String::from("the end of the file"),
        }
    }
}

/// Where a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Behind the name that begins an item: a bare regular expression may come.
    Instance,
    /// Anywhere else.
    Plain,
}

/// One step of the lexer: the token, and the text behind it.
#[derive(Debug)]
pub(super) struct Lexed<'a> {
    /// The token.
    pub(super) token: Token<'a>,
    /// What follows it.
    pub(super) rest: &'a str,
    /// What is wrong with it.
    pub(super) fault: Option<Fault>,
}

/// What can be wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A quoted word without its second quote; the token ends with its line.
    OpenQuote,
    /// A word in single quotes.
    SingleQuotes,
    /// A word with bytes that are not UTF-8, or with control characters.
    NotText,
}

/// Skips blanks and comments; `Err` holds the text from an unclosed `/*` on.
pub(super) fn skip_trivia(input: &str) -> Result<&str, &str> {
    // Unwrap is OK because fold_many0 fails only where its parser accepts nothing, and ours takes
    // at least one character.
    let (rest, ()) = fold_many0(trivia, || (), |(), _| ()).parse_complete(input).unwrap();
    if rest.starts_with("/*") { Err(rest) } else { Ok(rest) }
}

/// The next token of a text that begins with one.
pub(super) fn lex(input: &str, place: Place) -> Lexed<'_> {
    if input.is_empty() {
        return Lexed { token: Token::End, rest: input, fault: None };
    }
    if input.starts_with('"') {
        return lex_quoted(input);
    }
    let word = match place {
        Place::Instance => alt((regex_word, bracketed_word, bare_word)).parse(input),
        Place::Plain => alt((bracketed_word, bare_word)).parse(input),
    };
    match word {
        Ok((rest, text)) => {
            let fault =
                if text.starts_with('\'') { Some(Fault::SingleQuotes) } else { text_fault(text) };
            Lexed { token: Token::Word { text: Cow::Borrowed(text), quoted: false }, rest, fault }
        }
        Err(_) => {
            // Unwrap is OK because the empty input was handled first.
            let mark = input.chars().next().unwrap();
            Lexed { token: Token::Mark(mark), rest: &input[mark.len_utf8()..], fault: None }
        }
    }
}

/// A word of at most some forty characters, for messages.
pub(super) fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 40;
    let mut short: String = text.chars().take(CHARS_MAX).map(visible).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        short.push_str("...");
    }
    short
}

fn visible(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

fn trivia(input: &str) -> IResult<&str, &str> {
    alt((
        take_while1(char::is_whitespace),
        recognize(preceded(char('#'), not_line_ending)),
        recognize(delimited(tag("/*"), take_until("*/"), tag("*/"))),
    ))
    .parse(input)
}

fn bare_word(input: &str) -> IResult<&str, &str> {
    take_while1(is_word_char).parse(input)
}

/// `[::1]:25` or `[IPv6:2001:db8::9]`, where a bracket does not begin a dictionary.
fn bracketed_word(input: &str) -> IResult<&str, &str> {
    let inside = take_while1(|c: char| c.is_ascii_alphanumeric() || ":.*%_-".contains(c));
    recognize((char('['), inside, char(']'), take_while(is_word_char))).parse(input)
}

/// `/a(b|c)$/`: up to the last slash before a blank or before the brace that opens the stanza.
fn regex_word(input: &str) -> IResult<&str, &str> {
    let (_, run) = verify(take_while1(|c: char| !c.is_whitespace()), |run: &str| {
        run.starts_with('/') && run.len() > 1
    })
    .parse(input)?;
    let run = run.strip_suffix('{').unwrap_or(run);
    let (_, _) = verify(nom::combinator::rest, |run: &str| run.ends_with('/')).parse(run)?;
    Ok((&input[run.len()..], run))
}

fn is_word_char(c: char) -> bool {
    !c.is_whitespace() && !"{}()[]<>=\"".contains(c)
}

/// A quoted word. Only `\"` is an escape: every other backslash belongs to the word, so that
/// regular expressions need none of their own.
fn lex_quoted(input: &str) -> Lexed<'_> {
    let body = &input[1..];
    let mut text = Cow::Borrowed("");
    let mut from = 0;
    for quote in memchr::memchr_iter(b'"', body.as_bytes()) {
        if body[from..quote].ends_with('\\') {
            let text = text.to_mut();
            text.push_str(&body[from..quote - 1]);
            text.push('"');
            from = quote + 1;
            continue;
        }
        if text.is_empty() {
            text = Cow::Borrowed(&body[from..quote]);
        } else {
            text.to_mut().push_str(&body[from..quote]);
        }
        let fault = text_fault(&text);
        let token = Token::Word { text, quoted: true };
        return Lexed { token, rest: &body[quote + 1..], fault };
    }
    let end = memchr::memchr(b'\n', body.as_bytes()).unwrap_or(body.len());
    let token = Token::Word { text: Cow::Borrowed(body[..end].trim_end()), quoted: true };
    Lexed { token, rest: &body[end..], fault: Some(Fault::OpenQuote) }
}

fn text_fault(text: &str) -> Option<Fault> {
    let odd = |c: char| c == '\u{fffd}' || (c.is_control() && !matches!(c, '\t' | '\n' | '\r'));
    text.contains(odd).then_some(Fault::NotText)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    /// The words and marks of a text, words in `|`.
    fn tokens(mut input: &str, place: Place) -> Vec<String> {
        let mut tokens = Vec::new();
        loop {
            input = skip_trivia(input).unwrap();
            let lexed = lex(input, place);
            input = lexed.rest;
            match lexed.token {
                Token::Word { text, .. } => tokens.push(alloc::format!("|{text}|")),
                Token::Mark(mark) => tokens.push(String::from(mark)),
                Token::End => return tokens,
            }
        }
    }

    #[test]
    fn a_comment_begins_only_where_a_token_could() {
        let text = "a # b\n/* c\n */ d /e#f/*g */{# h\n} \"i # j\"# k";
        let want = ["|a|", "|d|", "|/e#f/*g|", "|*/|", "{", "}", "|i # j|"];
        assert_eq!(tokens(text, Place::Plain), want);
        assert_eq!(skip_trivia(" # x\n/* never closed"), Err("/* never closed"));
    }

    #[test]
    fn only_an_escaped_quote_is_an_escape() {
        let words = [
            (r#""a \"b\" c""#, r#"|a "b" c|"#),
            (r#""\.fr$""#, r"|\.fr$|"),
            (r#""a\\b""#, r"|a\\b|"),
            (r#""""#, "||"),
            (r#""\"""#, r#"|"|"#),
        ];
        for (text, want) in words {
            assert_eq!(tokens(text, Place::Plain), [want], "{text}");
        }
    }

    #[test]
    fn brackets_around_an_address_belong_to_it() {
        let text = "*:25 [::1]:25,5~2 [ ::1/0 = ( ) ] [IPv6:2001:db8::9][a=b]";
        let want = [
            "|*:25|",
            "|[::1]:25,5~2|",
            "[",
            "|::1/0|",
            "=",
            "(",
            ")",
            "]",
            "|[IPv6:2001:db8::9]|",
            "[",
            "|a|",
            "=",
            "|b|",
            "]",
        ];
        assert_eq!(tokens(text, Place::Plain), want);
    }

    #[test]
    fn a_bare_regex_ends_at_its_last_slash() {
        let cases = [
            ("/a(b|c)[.]d{2}$/ {", &["|/a(b|c)[.]d{2}$/|", "{"][..]),
            ("/x/y/{", &["|/x/y/|", "{"]),
            ("/opt/etc/other.conf\nx", &["|/opt/etc/other.conf|", "|x|"]),
            ("/ {", &["|/|", "{"]),
            ("example.com{", &["|example.com|", "{"]),
        ];
        for (text, want) in cases {
            assert_eq!(tokens(text, Place::Instance), want, "{text}");
        }
    }

    #[test]
    fn faults_are_told_and_the_word_is_kept() {
        let fault = |text| lex(text, Place::Plain).fault;
        assert_eq!(fault("\"open\nnext"), Some(Fault::OpenQuote));
        assert_eq!(lex("\"open \nnext", Place::Plain).rest, "\nnext");
        assert_eq!(fault("'single'"), Some(Fault::SingleQuotes));
        assert_eq!(fault("caf\u{fffd}"), Some(Fault::NotText));
        assert_eq!(fault("\"a\u{7}\""), Some(Fault::NotText));
        assert_eq!(fault("\"a\n\tb\""), None);
    }
}
