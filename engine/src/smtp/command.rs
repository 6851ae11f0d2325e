//! Commands as a server reads them (RFC 5321 section 4.1).

use nom::bytes::complete::{tag_no_case, take_while, take_while1};
use nom::character::complete::{char, satisfy, space0};
use nom::combinator::{all_consuming, opt, recognize};
use nom::sequence::preceded;
use nom::{IResult, Parser};

use crate::smtp::address::{self, AddressError, DOMAIN_BYTES_MAX, ForwardPath, ReversePath};

/// A command that is right in itself. Whether it comes at the right time is the session's matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// EHLO with the client's name, made of characters that are safe in a header.
    Ehlo(&'a str),
    /// HELO with the client's name.
    Helo(&'a str),
    /// MAIL FROM.
    Mail(MailFrom),
    /// RCPT TO.
    Rcpt(ForwardPath),
    /// DATA.
    Data,
    /// RSET.
    Rset,
    /// NOOP, its argument dropped.
    Noop,
    /// VRFY, its argument dropped.
    Vrfy,
    /// HELP, its argument dropped.
    Help,
    /// QUIT.
    Quit,
    /// STARTTLS (RFC 3207).
    StartTls,
}

impl Command<'_> {
    /// The command's first word.
    pub const fn verb(&self) -> Verb {
        match self {
            Self::Ehlo(_) => Verb::Ehlo,
            Self::Helo(_) => Verb::Helo,
            Self::Mail(_) => Verb::Mail,
            Self::Rcpt(_) => Verb::Rcpt,
            Self::Data => Verb::Data,
            Self::Rset => Verb::Rset,
            Self::Noop => Verb::Noop,
            Self::Vrfy => Verb::Vrfy,
            Self::Help => Verb::Help,
            Self::Quit => Verb::Quit,
            Self::StartTls => Verb::StartTls,
        }
    }
}

/// MAIL FROM and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailFrom {
    /// The sender.
    pub reverse_path: ReversePath,
    /// SIZE=, in bytes (RFC 1870).
    pub size_bytes: Option<u64>,
}

/// A command's first word, as records name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// EHLO.
    Ehlo,
    /// HELO.
    Helo,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// VRFY.
    Vrfy,
    /// HELP.
    Help,
    /// QUIT.
    Quit,
    /// STARTTLS.
    StartTls,
    /// One we know and do not offer: EXPN, AUTH, BDAT ...
    NotOffered,
    /// Anything else.
    Unknown,
}

impl Verb {
    /// The phase of the dialogue that records name.
    pub const fn phase(self) -> &'static str {
        match self {
            Self::Ehlo => "ehlo",
            Self::Helo => "helo",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
            Self::Rset => "rset",
            Self::Noop => "noop",
            Self::Vrfy => "vrfy",
            Self::Help => "help",
            Self::Quit => "quit",
            Self::StartTls => "starttls",
            Self::NotOffered | Self::Unknown => "command",
        }
    }
}

const VERBS: [(&str, Verb); 18] = [
    ("EHLO", Verb::Ehlo),
    ("HELO", Verb::Helo),
    ("MAIL", Verb::Mail),
    ("RCPT", Verb::Rcpt),
    ("DATA", Verb::Data),
    ("RSET", Verb::Rset),
    ("NOOP", Verb::Noop),
    ("VRFY", Verb::Vrfy),
    ("HELP", Verb::Help),
    ("QUIT", Verb::Quit),
    ("EXPN", Verb::NotOffered),
    ("STARTTLS", Verb::StartTls),
    ("AUTH", Verb::NotOffered),
    ("BDAT", Verb::NotOffered),
    ("ETRN", Verb::NotOffered),
    ("TURN", Verb::NotOffered),
    ("XCLIENT", Verb::NotOffered),
    ("XFORWARD", Verb::NotOffered),
];

/// Why a line is not a command. Each is one reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// A verb we do not know.
    Unrecognized,
    /// A verb we know and do not offer.
    NotOffered,
    /// Control or non-ASCII characters: a bare CR or LF among them makes it doubtful where the
    /// command ends, so nothing of the line is looked at.
    Characters,
    /// EHLO or HELO without a usable name.
    ClientName,
    /// MAIL or RCPT whose path is wrong.
    Path(AddressError),
    /// An argument where none belongs.
    UnexpectedArgument,
    /// A parameter of MAIL that we know, with a value it cannot have, or given twice.
    ParameterValue,
    /// A parameter of MAIL or RCPT that we do not offer.
    UnknownParameter,
}

/// Parses one line, without its CRLF.
pub fn parse(line: &[u8]) -> Result<Command<'_>, (Verb, CommandError)> {
    let text = match core::str::from_utf8(line) {
        Ok(text) if line.iter().all(|byte| matches!(byte, b' '..=b'~')) => text,
        _ => return Err((Verb::Unknown, CommandError::Characters)),
    };
    let (verb, argument) = split_verb(text.trim_end_matches(' '));
    parse_argument(verb, argument).map_err(|error| (verb, error))
}

fn split_verb(text: &str) -> (Verb, &str) {
    let word: IResult<&str, &str> = take_while(|letter: char| letter != ' ').parse(text);
    let (rest, word) = word.unwrap_or((text, ""));
    let verb = VERBS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(word))
        .map_or(Verb::Unknown, |(_, verb)| *verb);
    (verb, rest.trim_start_matches(' '))
}

fn parse_argument(verb: Verb, argument: &str) -> Result<Command<'_>, CommandError> {
    match verb {
        Verb::Ehlo => client_name(argument).map(Command::Ehlo),
        Verb::Helo => client_name(argument).map(Command::Helo),
        Verb::Mail => mail(argument).map(Command::Mail),
        Verb::Rcpt => rcpt(argument).map(Command::Rcpt),
        Verb::Noop => Ok(Command::Noop),
        Verb::Vrfy => Ok(Command::Vrfy),
        Verb::Help => Ok(Command::Help),
        Verb::Data => no_argument(argument, Command::Data),
        Verb::Rset => no_argument(argument, Command::Rset),
        Verb::Quit => no_argument(argument, Command::Quit),
        Verb::StartTls => no_argument(argument, Command::StartTls),
        Verb::NotOffered => Err(CommandError::NotOffered),
        Verb::Unknown => Err(CommandError::Unrecognized),
    }
}

fn no_argument<'a>(argument: &str, command: Command<'a>) -> Result<Command<'a>, CommandError> {
    if argument.is_empty() { Ok(command) } else { Err(CommandError::UnexpectedArgument) }
}

/// The name is for the Received line and for records, never for decisions, so that any word that
/// is safe there will do: clients call themselves all sorts of things.
fn client_name(argument: &str) -> Result<&str, CommandError> {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if argument.is_empty() || argument.len() > DOMAIN_BYTES_MAX || !argument.bytes().all(safe) {
        return Err(CommandError::ClientName);
    }
    Ok(argument)
}

fn mail(argument: &str) -> Result<MailFrom, CommandError> {
    let path = keyword("FROM:", argument)?;
    let (rest, reverse_path) = address::reverse_path(path).map_err(CommandError::Path)?;
    let mut mail = MailFrom { reverse_path, size_bytes: None };
    let mut body_given = false;
    for word in parameters(rest)? {
        let (name, value) = parameter(word)?;
        if name.eq_ignore_ascii_case("SIZE") {
            let size = value.and_then(decimal).ok_or(CommandError::ParameterValue)?;
            if mail.size_bytes.replace(size).is_some() {
                return Err(CommandError::ParameterValue);
            }
        } else if name.eq_ignore_ascii_case("BODY") {
            // Either is fine: what a body is shows when it is read.
            let known = |value: &str| {
                value.eq_ignore_ascii_case("7BIT") || value.eq_ignore_ascii_case("8BITMIME")
            };
            if body_given || !value.is_some_and(known) {
                return Err(CommandError::ParameterValue);
            }
            body_given = true;
        } else {
            return Err(CommandError::UnknownParameter);
        }
    }
    Ok(mail)
}

fn rcpt(argument: &str) -> Result<ForwardPath, CommandError> {
    let path = keyword("TO:", argument)?;
    let (rest, forward_path) = address::forward_path(path).map_err(CommandError::Path)?;
    if let Some(word) = parameters(rest)?.next() {
        parameter(word)?;
        return Err(CommandError::UnknownParameter);
    }
    Ok(forward_path)
}

/// What follows `FROM:` or `TO:`. Blanks behind the colon are not of the grammar, but common and
/// harmless.
fn keyword<'a>(name: &'static str, argument: &'a str) -> Result<&'a str, CommandError> {
    let parsed: IResult<&str, _> = (tag_no_case(name), space0).parse(argument);
    parsed.map(|(rest, _)| rest).map_err(|_| CommandError::Path(AddressError::Syntax))
}

/// The words behind a path.
fn parameters(rest: &str) -> Result<impl Iterator<Item = &str>, CommandError> {
    if !rest.is_empty() && !rest.starts_with(' ') {
        return Err(CommandError::Path(AddressError::Syntax));
    }
    Ok(rest.split(' ').filter(|word| !word.is_empty()))
}

/// `esmtp-keyword ["=" esmtp-value]` (RFC 5321 section 4.1.2).
fn parameter(word: &str) -> Result<(&str, Option<&str>), CommandError> {
    let first = satisfy(|letter| letter.is_ascii_alphanumeric());
    let rest = take_while(|letter: char| letter.is_ascii_alphanumeric() || letter == '-');
    let name = recognize((first, rest));
    let value = take_while1(|letter: char| matches!(letter, '!'..='<' | '>'..='~'));
    let parsed: IResult<&str, _> =
        all_consuming((name, opt(preceded(char('='), value)))).parse(word);
    parsed.map(|(_, parts)| parts).map_err(|_| CommandError::ParameterValue)
}

/// Up to 20 digits (RFC 1870 section 5); more than fits is as good as the most.
fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::{String, ToString};

    use proptest::prelude::*;

    use super::*;

    fn words(line: &str) -> String {
        match parse(line.as_bytes()) {
            Ok(Command::Mail(MailFrom { reverse_path, size_bytes: None })) => {
                format!("MAIL {reverse_path}")
            }
            Ok(Command::Mail(MailFrom { reverse_path, size_bytes: Some(size) })) => {
                format!("MAIL {reverse_path} {size}")
            }
            Ok(Command::Rcpt(ForwardPath::Mailbox(mailbox))) => format!("RCPT {mailbox}"),
            Ok(command) => format!("{command:?}"),
            Err((verb, CommandError::Path(error))) => format!("{} {error:?}", verb.phase()),
            Err((verb, error)) => format!("{} {error:?}", verb.phase()),
        }
    }

    #[test]
    fn commands() {
        for (line, expected) in [
            ("EHLO client.example", "Ehlo(\"client.example\")"),
            ("ehlo [192.0.2.1]", "Ehlo(\"[192.0.2.1]\")"),
            ("EHLO [IPv6:2001:db8::1]", "Ehlo(\"[IPv6:2001:db8::1]\")"),
            ("HeLo my_laptop ", "Helo(\"my_laptop\")"),
            ("EHLO", "ehlo ClientName"),
            ("HELO ", "helo ClientName"),
            ("EHLO a b", "ehlo ClientName"),
            ("EHLO a(b)", "ehlo ClientName"),
            ("MAIL FROM:<>", "MAIL <>"),
            ("mail from:<a@b>", "MAIL <a@b>"),
            ("MAIL FROM: <a@b>", "MAIL <a@b>"),
            ("MAIL FROM:<a@b> SIZE=12", "MAIL <a@b> 12"),
            ("MAIL FROM:<a@b> size=12  body=8bitmime ", "MAIL <a@b> 12"),
            ("MAIL FROM:<a@b> BODY=7BIT", "MAIL <a@b>"),
            ("MAIL FROM:<a@b> SIZE=99999999999999999999", "MAIL <a@b> 18446744073709551615"),
            ("MAIL FROM:<a@b> SIZE=999999999999999999999", "mail ParameterValue"),
            ("MAIL FROM:<a@b> SIZE=-1", "mail ParameterValue"),
            ("MAIL FROM:<a@b> SIZE=+1", "mail ParameterValue"),
            ("MAIL FROM:<a@b> SIZE=", "mail ParameterValue"),
            ("MAIL FROM:<a@b> SIZE", "mail ParameterValue"),
            ("MAIL FROM:<a@b> SIZE=1 SIZE=1", "mail ParameterValue"),
            ("MAIL FROM:<a@b> BODY=BINARYMIME", "mail ParameterValue"),
            ("MAIL FROM:<a@b> BODY=7BIT BODY=7BIT", "mail ParameterValue"),
            ("MAIL FROM:<a@b> SMTPUTF8", "mail UnknownParameter"),
            ("MAIL FROM:<a@b> RET=HDRS", "mail UnknownParameter"),
            ("MAIL FROM:<a@b> =1", "mail ParameterValue"),
            ("MAIL FROM:<a@b> -X", "mail ParameterValue"),
            ("MAIL FROM:<a@b>SIZE=1", "mail Syntax"),
            ("MAIL FROM:a@b", "mail Syntax"),
            ("MAIL FROM:< a@b >", "mail Syntax"),
            ("MAIL FROM", "mail Syntax"),
            ("MAIL", "mail Syntax"),
            ("MAIL TO:<a@b>", "mail Syntax"),
            ("RCPT TO:<a@b>", "RCPT a@b"),
            ("rcpt to:<@c:a@b>", "RCPT a@b"),
            ("RCPT TO:<Postmaster>", "Rcpt(Postmaster)"),
            ("RCPT TO:<>", "rcpt Syntax"),
            ("RCPT TO:<a@b> NOTIFY=NEVER", "rcpt UnknownParameter"),
            ("RCPT TO:<a@b> X", "rcpt UnknownParameter"),
            ("RCPT TO:<a@b>,<c@d>", "rcpt Syntax"),
            ("DATA", "Data"),
            ("data  ", "Data"),
            ("DATA x", "data UnexpectedArgument"),
            ("RSET", "Rset"),
            ("RSET x", "rset UnexpectedArgument"),
            ("QUIT", "Quit"),
            ("QUIT x", "quit UnexpectedArgument"),
            ("NOOP", "Noop"),
            ("NOOP x y", "Noop"),
            ("VRFY a", "Vrfy"),
            ("HELP", "Help"),
            ("EXPN list", "command NotOffered"),
            ("STARTTLS", "StartTls"),
            ("STARTTLS now", "starttls UnexpectedArgument"),
            ("BDAT 10 LAST", "command NotOffered"),
            ("", "command Unrecognized"),
            (" QUIT", "command Unrecognized"),
            ("QUITX", "command Unrecognized"),
            ("GET / HTTP/1.1", "command Unrecognized"),
            ("RSET\nQUIT", "command Characters"),
            ("RSET\r", "command Characters"),
            ("MAIL FROM:<a@b\rRSET>", "command Characters"),
            ("NOOP \u{e9}", "command Characters"),
            ("NOOP\0", "command Characters"),
            ("RCPT TO:<a@b>\t", "command Characters"),
        ] {
            assert_eq!(words(line), expected, "{line:?}");
        }
    }

    #[test]
    fn long_names_are_refused() {
        let name = "x".repeat(DOMAIN_BYTES_MAX);
        assert_eq!(parse(format!("EHLO {name}").as_bytes()), Ok(Command::Ehlo(&name)));
        assert_eq!(words(&format!("EHLO {name}x")), "ehlo ClientName");
    }

    /// MAIL FROM as clients send it, in ways that no two parsers differ about.
    fn sound_mail() -> impl Strategy<Value = (String, String, Option<u64>)> {
        let address = "[a-z0-9+_-]{1,8}(\\.[a-z]{1,4})?@[a-z]{1,8}(\\.[a-z0-9]{1,4}){0,2}";
        let size = prop::option::of(0..u64::from(u32::MAX));
        let body = prop::sample::select(&["", " BODY=8BITMIME", " body=7bit"][..]);
        (address, size, body).prop_map(|(address, size, body)| {
            let size_parameter = size.map(|size| format!(" SIZE={size}")).unwrap_or_default();
            (format!("MAIL FROM:<{address}>{body}{size_parameter}"), address, size)
        })
    }

    proptest! {
        /// An independent parser agrees on every sound command.
        #[test]
        fn agrees_with_smtp_proto((line, address, size) in sound_mail()) {
            let Ok(Command::Mail(ours)) = parse(line.as_bytes()) else {
                panic!("not taken: {line}");
            };
            let wire = format!("{line}\r\n");
            let theirs = smtp_proto::Request::parse(&mut wire.as_bytes().iter()).unwrap();
            let smtp_proto::Request::Mail { from } = theirs else { panic!("{theirs:?}") };
            prop_assert_eq!(ours.reverse_path.0.unwrap().to_string(), from.address.to_string());
            prop_assert_eq!(from.address, address);
            prop_assert_eq!(ours.size_bytes.unwrap_or(0), from.size as u64);
            prop_assert_eq!(ours.size_bytes, size);
        }

        #[test]
        fn any_line_is_parsed_or_refused(
            verb in prop::sample::select(&["", "EHLO ", "MAIL FROM:<a@b> ", "RCPT TO:<"][..]),
            rest in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let line = [verb.as_bytes(), &rest].concat();
            if let Ok(command) = parse(&line) {
                let shown = format!("{command:?}");
                prop_assert!(line.iter().all(|byte| matches!(byte, b' '..=b'~')), "{}", shown);
            }
        }
    }
}
