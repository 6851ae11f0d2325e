//! What our client may say, judged at the receiving end: an independent reading of RFC 5321 and
//! of the extensions offered. A breach is a bug of the engine, never of a scenario.

use super::spec::{Extensions, Protocol};

/// A command, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// EHLO, with our client's name for itself.
    Ehlo(&'a str),
    /// HELO.
    Helo(&'a str),
    /// LHLO.
    Lhlo(&'a str),
    /// XCLIENT, with the attributes as they were written.
    Xclient(&'a str),
    /// MAIL FROM.
    Mail {
        /// The sender; empty for the null sender.
        sender: &'a str,
        /// Whether 8-bit content is announced.
        eight_bit: bool,
        /// How many bytes are announced.
        size: Option<u64>,
    },
    /// RCPT TO, with the recipient.
    Rcpt(&'a str),
    /// DATA.
    Data,
    /// STARTTLS.
    StartTls,
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// QUIT.
    Quit,
}

impl Command<'_> {
    /// Whether another command may follow before the reply (RFC 2920 section 3.1).
    pub const fn may_be_followed(&self) -> bool {
        matches!(self, Self::Mail { .. } | Self::Rcpt(_) | Self::Rset)
    }

    /// Whether it is the greeting of a protocol. LMTP has one of its own, and SMTP's two are not
    /// known there (RFC 2033 section 4.1).
    pub const fn greets(&self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Smtp => matches!(self, Self::Ehlo(_) | Self::Helo(_)),
            Protocol::Lmtp => matches!(self, Self::Lhlo(_)),
        }
    }
}

/// How far a dialogue has come.
#[derive(Debug)]
pub struct Grammar {
    offered: Extensions,
    /// The banner refused service (RFC 5321 section 3.1).
    unwelcome: bool,
    greeting: Greeting,
    /// The last reply to EHLO offered STARTTLS.
    offers_tls: bool,
    /// The handshake is over.
    secured: bool,
    mail: Progress,
    /// RCPT commands accepted.
    accepted: u32,
    /// Whether a RCPT was sent at all.
    named: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Greeting {
    None,
    /// With extensions: EHLO or LHLO.
    Extended,
    Helo,
}

/// How far MAIL has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    None,
    Refused,
    Open,
}

impl Grammar {
    /// A dialogue with a server that offers these extensions in its reply to EHLO.
    pub const fn new(offered: Extensions) -> Self {
        Self {
            offered,
            unwelcome: false,
            greeting: Greeting::None,
            offers_tls: false,
            secured: false,
            mail: Progress::None,
            accepted: 0,
            named: false,
        }
    }

    /// Reads one line, its CRLF included. An error says what rule it breaks.
    pub fn command<'l>(&self, line: &'l [u8]) -> Result<Command<'l>, String> {
        let text = line.strip_suffix(b"\r\n").ok_or("a line ends without CRLF")?;
        if let Some(byte) = text.iter().find(|byte| !(b' '..=b'~').contains(*byte)) {
            return Err(format!("byte {byte:#04x} in a command"));
        }
        let text = str::from_utf8(text).map_err(|_| "a command that is no ASCII")?;
        let command = self.parse(text)?;
        let limit = match command {
            Command::Mail { .. } => COMMAND_BYTES_MAX + SIZE_BYTES_EXTRA + BODY_BYTES_EXTRA,
            _ => COMMAND_BYTES_MAX,
        };
        if line.len() > limit {
            return Err(format!("a command of {} bytes; the limit is {limit}", line.len()));
        }
        self.check_order(command)?;
        Ok(command)
    }

    /// What our banner said.
    pub fn welcomed(&mut self, welcome: bool) {
        self.unwelcome = !welcome;
    }

    /// Whether commands may be sent ahead of replies.
    pub fn pipelining(&self) -> bool {
        self.offered.pipelining && self.greeting == Greeting::Extended
    }

    /// Whether our reply to EHLO offers STARTTLS.
    pub const fn offers_tls(&mut self, offered: bool) {
        self.offers_tls = offered;
    }

    /// TLS is up: nothing said before counts any more (RFC 3207 section 4.2).
    pub const fn secured(&mut self) {
        self.secured = true;
        self.offers_tls = false;
        self.greeting = Greeting::None;
        self.end();
    }

    /// Whether TLS is up.
    pub const fn is_secured(&self) -> bool {
        self.secured
    }

    /// What we made of a command.
    pub fn replied(&mut self, command: Command<'_>, accepted: bool) {
        match (command, accepted) {
            (Command::Ehlo(_) | Command::Lhlo(_), true) => {
                (self.greeting, self.mail) = (Greeting::Extended, Progress::None);
            }
            (Command::Helo(_), true) => {
                (self.greeting, self.mail) = (Greeting::Helo, Progress::None);
            }
            // The client is somebody else now, and has not greeted.
            (Command::Xclient(_), true) => {
                (self.greeting, self.mail) = (Greeting::None, Progress::None);
            }
            (Command::Mail { .. }, _) => {
                self.mail = if accepted { Progress::Open } else { Progress::Refused };
                self.accepted = 0;
                self.named = false;
            }
            (Command::Rcpt(_), _) => {
                self.named = true;
                self.accepted += u32::from(accepted);
            }
            (Command::Data, false) if !self.pipelining() || self.accepted > 0 => self.end(),
            (Command::Rset, _) => self.end(),
            _ => {}
        }
    }

    /// The transaction is over.
    pub const fn end(&mut self) {
        self.mail = Progress::None;
        self.accepted = 0;
        self.named = false;
    }

    /// Whether MAIL was accepted.
    pub fn accepts_recipients(&self) -> bool {
        self.mail == Progress::Open
    }

    /// Whether the transaction has a recipient.
    pub const fn has_recipients(&self) -> bool {
        self.accepted > 0
    }

    fn parse<'l>(&self, text: &'l str) -> Result<Command<'l>, String> {
        let (verb, argument) = text.split_once(' ').unwrap_or((text, ""));
        match (verb, argument) {
            ("EHLO" | "HELO" | "LHLO", name) => {
                let literal = name.starts_with('[') && name.ends_with(']');
                let domain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
                if name.is_empty() || !(literal || name.bytes().all(domain)) {
                    return Err(format!("`{name}` is no name to say {verb} with"));
                }
                Ok(match verb {
                    "EHLO" => Command::Ehlo(name),
                    "HELO" => Command::Helo(name),
                    _ => Command::Lhlo(name),
                })
            }
            ("XCLIENT", attributes) => {
                self.check_attributes(attributes)?;
                Ok(Command::Xclient(attributes))
            }
            ("MAIL", rest) => {
                let (path, parameters) = path_of(rest, "FROM:")?;
                let eight_bit = parameters.contains(&"BODY=8BITMIME");
                let size = parameters.iter().find_map(|one| one.strip_prefix("SIZE="));
                let size = size.and_then(|size| size.parse().ok());
                self.check_parameters(parameters)?;
                if !path.is_empty() && !path.contains('@') {
                    return Err(format!("`{path}` is no reverse-path"));
                }
                Ok(Command::Mail { sender: path, eight_bit, size })
            }
            ("RCPT", rest) => {
                let (path, parameters) = path_of(rest, "TO:")?;
                if let Some(parameter) = parameters.first() {
                    return Err(format!("RCPT parameter `{parameter}` was not offered"));
                }
                if !path.contains('@') {
                    return Err(format!("`{path}` is no forward-path"));
                }
                Ok(Command::Rcpt(path))
            }
            ("DATA", "") => Ok(Command::Data),
            ("STARTTLS", "") => Ok(Command::StartTls),
            ("RSET", "") => Ok(Command::Rset),
            ("NOOP", _) => Ok(Command::Noop),
            ("QUIT", "") => Ok(Command::Quit),
            _ => Err(format!("`{text}` is no command our client has")),
        }
    }

    /// ESMTP parameters of MAIL only as offered, and only after EHLO.
    fn check_parameters(&self, parameters: Vec<&str>) -> Result<(), String> {
        for parameter in parameters {
            let (keyword, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let offered = self.greeting == Greeting::Extended
                && match keyword {
                    "SIZE" => self.offered.size.is_some(),
                    "BODY" => self.offered.eight_bit_mime,
                    _ => false,
                };
            if !offered {
                return Err(format!("MAIL parameter `{parameter}` was not offered"));
            }
            match (keyword, value, self.offered.size) {
                ("BODY", "7BIT" | "8BITMIME", _) => {}
                ("SIZE", size, max) => {
                    let size: u64 = size.parse().map_err(|_| format!("`{parameter}`"))?;
                    if max.is_some_and(|max| max > 0 && size > max) {
                        return Err(format!("SIZE={size} is more than was offered"));
                    }
                }
                _ => return Err(format!("`{parameter}` is not understood")),
            }
        }
        Ok(())
    }

    /// Attributes of XCLIENT only as offered, with values in xtext (RFC 3461 section 4) or in
    /// brackets.
    fn check_attributes(&self, attributes: &str) -> Result<(), String> {
        for attribute in attributes.split(' ') {
            let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            if self.greeting != Greeting::Extended || !self.offered.xclient.has(name) {
                return Err(format!("XCLIENT attribute `{attribute}` was not offered"));
            }
            let unknown = ["[UNAVAILABLE]", "[TEMPUNAVAIL]"].contains(&value);
            if !unknown && !is_xtext(value) {
                return Err(format!("`{attribute}` has no value in xtext"));
            }
        }
        Ok(())
    }

    fn check_order(&self, command: Command<'_>) -> Result<(), String> {
        // With pipelining a command may have been sent before the refusal it ignores.
        let ahead = self.pipelining();
        let wrong = match command {
            Command::Quit => return Ok(()),
            _ if self.unwelcome => "after a banner that refused service",
            Command::Ehlo(_) | Command::Helo(_) | Command::Lhlo(_) | Command::Xclient(_)
                if self.mail == Progress::Open =>
            {
                "inside a transaction"
            }
            Command::StartTls if self.secured => "while TLS is up",
            Command::StartTls if self.greeting != Greeting::Extended => "before EHLO",
            Command::StartTls if !self.offers_tls => "which was not offered",
            Command::StartTls if self.mail != Progress::None => "inside a transaction",
            Command::Mail { .. } if self.greeting == Greeting::None => "before EHLO",
            Command::Mail { .. } if self.mail == Progress::Open => "inside a transaction",
            Command::Rcpt(_) | Command::Data if self.mail == Progress::None => "before MAIL",
            Command::Rcpt(_) | Command::Data if self.mail == Progress::Refused && !ahead => {
                "after MAIL was refused"
            }
            Command::Data if !self.named => "before RCPT",
            Command::Data if self.accepted == 0 && !ahead => "without a recipient",
            _ => return Ok(()),
        };
        Err(format!("{command:?} {wrong}"))
    }
}

/// Printable ASCII without `+` and `=`, and `+XX` for everything else; not empty.
fn is_xtext(value: &str) -> bool {
    let mut bytes = value.bytes();
    let mut fits = !value.is_empty();
    while let Some(byte) = bytes.next() {
        let mut is_hex = || bytes.next().is_some_and(|digit| b"0123456789ABCDEF".contains(&digit));
        fits &= match byte {
            b'+' => is_hex() && is_hex(),
            b'=' => false,
            other => other.is_ascii_graphic(),
        };
    }
    fits
}

/// `FROM:<path> parameters`.
fn path_of<'l>(text: &'l str, keyword: &str) -> Result<(&'l str, Vec<&'l str>), String> {
    let wrong = || format!("`{text}` is not of the form {keyword}<path>");
    let path_on = text.strip_prefix(keyword).and_then(|rest| rest.strip_prefix('<'));
    let (path, rest) = path_on.and_then(|rest| rest.split_once('>')).ok_or_else(wrong)?;
    let parameters = match rest.strip_prefix(' ') {
        None if rest.is_empty() => Vec::new(),
        Some(parameters) => parameters.split(' ').collect(),
        None => return Err(wrong()),
    };
    if path.contains(['<', ' ']) || parameters.contains(&"") {
        return Err(wrong());
    }
    let (local, domain) = path.rsplit_once('@').unwrap_or((path, ""));
    if local.len() > LOCAL_BYTES_MAX || domain.len() > DOMAIN_BYTES_MAX {
        return Err(format!("`{path}` is too long"));
    }
    Ok((path, parameters))
}

/// Longest command line with its CRLF (RFC 5321 section 4.5.3.1.4).
pub const COMMAND_BYTES_MAX: usize = 512;

/// What SIZE adds to the length of MAIL (RFC 1870 section 3).
pub const SIZE_BYTES_EXTRA: usize = 26;

/// What BODY adds to the length of MAIL (RFC 6152 section 2).
pub const BODY_BYTES_EXTRA: usize = 17;

/// RFC 5321 section 4.5.3.1.1.
const LOCAL_BYTES_MAX: usize = 64;

/// RFC 5321 section 4.5.3.1.2.
const DOMAIN_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receiver::spec::XclientAttributes;

    const NOTHING: Extensions = Extensions {
        pipelining: false,
        size: None,
        eight_bit_mime: false,
        enhanced_status_codes: false,
        xclient: XclientAttributes::ALL,
    };

    /// A dialogue: (line, whether we agree). The result of the last line.
    fn last(offered: Extensions, dialogue: &[(&str, bool)]) -> Result<(), String> {
        let mut grammar = Grammar::new(offered);
        let mut result = Ok(());
        for (n, (line, accepted)) in dialogue.iter().enumerate() {
            let line = format!("{line}\r\n");
            match grammar.command(line.as_bytes()) {
                Ok(command) => {
                    let (command, accepted) = (command, *accepted);
                    grammar.replied(command, accepted);
                }
                Err(why) => {
                    assert_eq!(n, dialogue.len() - 1, "{line}: {why}");
                    result = Err(why);
                }
            }
        }
        result
    }

    #[test]
    fn a_proper_dialogue_is_proper() {
        let dialogue = [
            ("EHLO mail.brand.test", true),
            ("MAIL FROM:<a@b.test> SIZE=100 BODY=8BITMIME", true),
            ("RCPT TO:<x@a.test>", true),
            ("RCPT TO:<y@a.test>", false),
            ("DATA", true),
        ];
        assert_eq!(last(Extensions::default(), &dialogue), Ok(()));
        let plain = [
            ("EHLO [192.0.2.1]", false),
            ("HELO mail.brand.test", true),
            ("MAIL FROM:<>", true),
            ("RCPT TO:<x@a.test>", false),
            ("RSET", true),
            ("MAIL FROM:<a@b.test>", false),
            ("MAIL FROM:<a@b.test>", true),
            ("RCPT TO:<x@a.test>", true),
            ("DATA", true),
        ];
        assert_eq!(last(NOTHING, &plain), Ok(()));
    }

    #[test]
    fn breaches() {
        let ehlo = ("EHLO mail.test", true);
        let mail = ("MAIL FROM:<a@b.test>", true);
        for (offered, dialogue, why) in [
            (NOTHING, vec![mail], "before EHLO"),
            (NOTHING, vec![("EHLO bad name", true)], "no name"),
            (NOTHING, vec![ehlo, mail, mail], "inside a transaction"),
            (NOTHING, vec![ehlo, ("RCPT TO:<x@a.test>", true)], "before MAIL"),
            (NOTHING, vec![ehlo, mail, ("DATA", true)], "before RCPT"),
            (
                NOTHING,
                vec![ehlo, mail, ("RCPT TO:<x@a.test>", false), ("DATA", true)],
                "without a recipient",
            ),
            (NOTHING, vec![ehlo, ("MAIL FROM:<a@b.test> SIZE=5", true)], "not offered"),
            (NOTHING, vec![ehlo, ("MAIL FROM:<a@b.test> BODY=8BITMIME", true)], "not offered"),
            (
                Extensions { size: Some(10), ..NOTHING },
                vec![ehlo, ("MAIL FROM:<a@b.test> SIZE=11", true)],
                "more than was offered",
            ),
            (NOTHING, vec![ehlo, ("MAIL FROM: <a@b.test>", true)], "not of the form"),
            (NOTHING, vec![ehlo, ("MAIL FROM:<a@b.test>  X", true)], "not of the form"),
            (NOTHING, vec![ehlo, mail, ("RCPT TO:<x@a.test> NOTIFY=NEVER", true)], "not offered"),
            (NOTHING, vec![("XCLIENT ADDR=192.0.2.1", true)], "not offered"),
            (NOTHING, vec![ehlo, ("XCLIENT ADDR=192.0.2.1 LOGIN=x", true)], "not offered"),
            (NOTHING, vec![ehlo, ("XCLIENT ADDR=", true)], "xtext"),
            (NOTHING, vec![ehlo, ("XCLIENT HELO=a=b", true)], "xtext"),
            (NOTHING, vec![ehlo, ("XCLIENT HELO=a+2", true)], "xtext"),
            (NOTHING, vec![ehlo, mail, ("XCLIENT ADDR=192.0.2.1", true)], "inside a transaction"),
            (NOTHING, vec![ehlo, ("XCLIENT ADDR=192.0.2.1", true), mail], "before EHLO"),
            (NOTHING, vec![("HELP", true)], "no command"),
            (NOTHING, vec![("EHLO a\tb", true)], "byte 0x09"),
        ] {
            let found = last(offered, &dialogue).unwrap_err();
            assert!(found.contains(why), "{dialogue:?}: {found}");
        }
        let mut grammar = Grammar::new(NOTHING);
        assert!(grammar.command(b"QUIT\n").unwrap_err().contains("CRLF"));
        let long = format!("EHLO {}\r\n", "a".repeat(600));
        assert!(grammar.command(long.as_bytes()).unwrap_err().contains("limit"));
        grammar.welcomed(false);
        assert!(grammar.command(b"EHLO a\r\n").unwrap_err().contains("refused service"));
        assert_eq!(grammar.command(b"QUIT\r\n"), Ok(Command::Quit));
    }

    #[test]
    fn starttls_once_after_ehlo_where_it_is_offered() {
        let mut grammar = Grammar::new(Extensions::default());
        let refused = |grammar: &Grammar, why: &str| {
            let found = grammar.command(b"STARTTLS\r\n").unwrap_err();
            assert!(found.contains(why), "{found}");
        };
        refused(&grammar, "before EHLO");
        grammar.replied(Command::Ehlo("us.test"), true);
        refused(&grammar, "not offered");
        grammar.offers_tls(true);
        assert_eq!(grammar.command(b"STARTTLS\r\n"), Ok(Command::StartTls));
        assert!(!Command::StartTls.may_be_followed());
        grammar.replied(Command::Mail { sender: "", eight_bit: false, size: None }, true);
        refused(&grammar, "inside a transaction");
        grammar.end();
        grammar.secured();
        refused(&grammar, "while TLS is up");
        let mail = grammar.command(b"MAIL FROM:<>\r\n").unwrap_err();
        assert!(mail.contains("before EHLO"), "{mail}");
        grammar.replied(Command::Helo("us.test"), true);
        assert!(!grammar.pipelining());
        assert!(grammar.command(b"STARTTLS now\r\n").unwrap_err().contains("no command"));
    }

    #[test]
    fn a_client_is_introduced_and_greets_anew() {
        let dialogue = [
            ("EHLO mail.brand.test", true),
            ("XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1 HELO=a+2Bb", true),
            ("EHLO a+b", true),
        ];
        assert!(last(NOTHING, &dialogue).unwrap_err().contains("no name"));
        let dialogue = [
            ("EHLO mail.brand.test", true),
            ("XCLIENT ADDR=192.0.2.1", true),
            ("EHLO c.test", true),
            ("MAIL FROM:<>", true),
        ];
        assert_eq!(last(NOTHING, &dialogue), Ok(()));
    }

    #[test]
    fn each_protocol_has_its_greetings() {
        use Protocol::{Lmtp, Smtp};
        for (command, smtp) in
            [(Command::Ehlo("a"), true), (Command::Helo("a"), true), (Command::Lhlo("a"), false)]
        {
            assert_eq!((command.greets(Smtp), command.greets(Lmtp)), (smtp, !smtp));
        }
        assert!(!Command::Noop.greets(Smtp) && !Command::Noop.greets(Lmtp));
    }

    #[test]
    fn with_pipelining_a_group_may_outrun_its_refusals() {
        let group = [
            ("EHLO mail.test", true),
            ("MAIL FROM:<a@b.test>", false),
            ("RCPT TO:<x@a.test>", false),
            ("DATA", false),
            ("MAIL FROM:<a@b.test>", true),
        ];
        assert_eq!(last(Extensions::default(), &group), Ok(()));
        assert!(last(NOTHING, &group[..3]).unwrap_err().contains("after MAIL was refused"));
    }
}
