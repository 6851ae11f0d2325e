//! Mailboxes and paths (RFC 5321 section 4.1.2).

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use nom::branch::alt;
use nom::bytes::complete::{tag_no_case, take_while_m_n, take_while1};
use nom::character::complete::{anychar, char, satisfy};
use nom::combinator::{opt, recognize, verify};
use nom::multi::{many0_count, separated_list1};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};
use serde::{Deserialize, Serialize};

/// `local-part@domain`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Mailbox {
    /// As written by the client, quotes included; its case is significant.
    pub local: Arc<str>,
    /// A domain in lower case without a trailing dot, or an address literal with its brackets.
    pub domain: Arc<str>,
}

impl Mailbox {
    /// The address, when the domain is an address literal.
    pub fn literal_address(&self) -> Option<IpAddr> {
        literal_address(&self.domain)
    }
}

/// The address in `domain`, when that is an address literal as [`Mailbox::domain`] has it.
pub fn literal_address(domain: &str) -> Option<IpAddr> {
    match address_literal(domain) {
        Ok(("", address)) => Some(address),
        _ => None,
    }
}

impl FromStr for Mailbox {
    type Err = AddressError;

    /// Parses a mailbox without angle brackets; nothing may follow it.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        match mailbox(text) {
            Ok(("", parts)) => parts.build(),
            _ => Err(AddressError::Syntax),
        }
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

/// The sender of an envelope; `None` is the null reverse-path `<>` of bounces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReversePath(pub Option<Mailbox>);

impl fmt::Display for ReversePath {
    /// With the angle brackets of MAIL FROM.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(mailbox) => write!(f, "<{mailbox}>"),
            None => f.write_str("<>"),
        }
    }
}

/// The recipient of an envelope as RCPT TO may name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardPath {
    /// A mailbox.
    Mailbox(Mailbox),
    /// `<postmaster>`, without a domain: ours (RFC 5321 section 4.5.1).
    Postmaster,
}

/// What is wrong with an address or path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// Not of the grammar: control and non-ASCII characters included (no SMTPUTF8).
    Syntax,
    /// The local part exceeds [`LOCAL_PART_BYTES_MAX`].
    LocalPartTooLong,
    /// The domain exceeds [`DOMAIN_BYTES_MAX`].
    DomainTooLong,
    /// The path exceeds [`PATH_BYTES_MAX`].
    PathTooLong,
}

/// Longest local part (RFC 5321 section 4.5.3.1.1).
pub const LOCAL_PART_BYTES_MAX: usize = 64;

/// Longest domain (RFC 5321 section 4.5.3.1.2).
pub const DOMAIN_BYTES_MAX: usize = 255;

/// Longest path, its brackets and a source route included (RFC 5321 section 4.5.3.1.3).
pub const PATH_BYTES_MAX: usize = 256;

/// Longest label of a domain (RFC 1035 section 2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// Takes a reverse-path off the start of `input`; answers with what follows it.
///
/// A source route is parsed and dropped, as RFC 5321 appendix C asks.
pub fn reverse_path(input: &str) -> Result<(&str, ReversePath), AddressError> {
    if let Some(rest) = input.strip_prefix("<>") {
        return Ok((rest, ReversePath(None)));
    }
    let (rest, mailbox) = path(input)?;
    Ok((rest, ReversePath(Some(mailbox))))
}

/// Takes a forward-path off the start of `input`; answers with what follows it.
pub fn forward_path(input: &str) -> Result<(&str, ForwardPath), AddressError> {
    let postmaster: IResult<&str, &str> = tag_no_case("<postmaster>").parse(input);
    if let Ok((rest, _)) = postmaster {
        return Ok((rest, ForwardPath::Postmaster));
    }
    let (rest, mailbox) = path(input)?;
    Ok((rest, ForwardPath::Mailbox(mailbox)))
}

fn path(input: &str) -> Result<(&str, Mailbox), AddressError> {
    let mut bracketed = delimited(char('<'), preceded(opt(source_route), mailbox), char('>'));
    let Ok((rest, parts)) = bracketed.parse(input) else {
        return Err(AddressError::Syntax);
    };
    let mailbox = parts.build()?;
    if input.len() - rest.len() > PATH_BYTES_MAX {
        return Err(AddressError::PathTooLong);
    }
    Ok((rest, mailbox))
}

/// The parts of a mailbox, before limits are looked at.
struct Parts<'a> {
    local: &'a str,
    domain: Domain<'a>,
}

enum Domain<'a> {
    Name(&'a str),
    Literal(IpAddr),
}

impl Parts<'_> {
    fn build(self) -> Result<Mailbox, AddressError> {
        if self.local.len() > LOCAL_PART_BYTES_MAX {
            return Err(AddressError::LocalPartTooLong);
        }
        let domain = match self.domain {
            Domain::Name(name) if name.len() > DOMAIN_BYTES_MAX => {
                return Err(AddressError::DomainTooLong);
            }
            Domain::Name(name) if name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                Arc::from(name.to_ascii_lowercase())
            }
            Domain::Name(name) => Arc::from(name),
            Domain::Literal(address) => Arc::from(bracketed(address)),
        };
        Ok(Mailbox { local: Arc::from(self.local), domain })
    }
}

/// The one spelling of an address literal we use.
fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    }
}

/// `@one,@two:`
fn source_route(input: &str) -> IResult<&str, ()> {
    let hops = separated_list1(char(','), preceded(char('@'), domain));
    terminated(hops, char(':')).map(|_| ()).parse(input)
}

fn mailbox(input: &str) -> IResult<&str, Parts<'_>> {
    let local = alt((dot_string, quoted_string));
    let (rest, (local, _, domain)) = (local, char('@'), domain).parse(input)?;
    Ok((rest, Parts { local, domain }))
}

fn dot_string(input: &str) -> IResult<&str, &str> {
    let atom = || take_while1(is_atext);
    recognize((atom(), many0_count(preceded(char('.'), atom())))).parse(input)
}

fn is_atext(character: char) -> bool {
    // RFC 5322 section 3.2.3.
    character.is_ascii_alphanumeric()
        || matches!(character, '!' | '#'..='\'' | '*' | '+' | '-' | '/' | '=' | '?')
        || matches!(character, '^'..='`' | '{'..='~')
}

/// `"..."`: any printable ASCII; quote and backslash only behind a backslash.
fn quoted_string(input: &str) -> IResult<&str, &str> {
    let printable = |character: char| matches!(character, ' '..='~');
    let plain = satisfy(move |character| printable(character) && !matches!(character, '"' | '\\'));
    let escaped = preceded(char('\\'), verify(anychar, move |character| printable(*character)));
    recognize(delimited(char('"'), many0_count(alt((plain, escaped))), char('"'))).parse(input)
}

fn domain(input: &str) -> IResult<&str, Domain<'_>> {
    alt((domain_name.map(Domain::Name), address_literal.map(Domain::Literal))).parse(input)
}

/// Labels of letters, digits and inner hyphens. One trailing dot, which DNS people like to write,
/// is taken and dropped; it names the same domain.
fn domain_name(input: &str) -> IResult<&str, &str> {
    let in_label = |character: char| character.is_ascii_alphanumeric() || character == '-';
    let label = || {
        verify(take_while_m_n(1, LABEL_BYTES_MAX, in_label), |label: &str| {
            !label.starts_with('-') && !label.ends_with('-')
        })
    };
    let labels = recognize((label(), many0_count(preceded(char('.'), label()))));
    terminated(labels, opt(char('.'))).parse(input)
}

/// `[192.0.2.1]` or `[IPv6:2001:db8::1]`.
fn address_literal(input: &str) -> IResult<&str, IpAddr> {
    let digits = || take_while1(|digit: char| digit.is_ascii_hexdigit() || ":.".contains(digit));
    let v6 = preceded(tag_no_case("IPv6:"), digits())
        .map_res(|text: &str| text.parse::<Ipv6Addr>().map(IpAddr::V6));
    let v4 = digits().map_res(|text: &str| text.parse::<Ipv4Addr>().map(IpAddr::V4));
    delimited(char('['), alt((v6, v4)), char(']')).parse(input)
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    /// What becomes of `RCPT TO:` with this path, in words.
    fn forward(input: &str) -> String {
        match forward_path(input) {
            Ok((rest, ForwardPath::Mailbox(mailbox))) => format!("{mailbox}|{rest}"),
            Ok((rest, ForwardPath::Postmaster)) => format!("postmaster|{rest}"),
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn paths() {
        for (input, expected) in [
            ("<a@example.com>", "a@example.com|"),
            ("<a@example.com> SIZE=1", "a@example.com| SIZE=1"),
            ("<Ann.O'Neil+x@Example.COM>", "Ann.O'Neil+x@example.com|"),
            ("<a@localhost>", "a@localhost|"),
            ("<a@1.example>", "a@1.example|"),
            ("<a@example.com.>", "a@example.com|"),
            ("<\"a b\"@example.com>", "\"a b\"@example.com|"),
            ("<\"a@b>\\\"\\\\\"@example.com>", "\"a@b>\\\"\\\\\"@example.com|"),
            ("<\"\"@example.com>", "\"\"@example.com|"),
            ("<a@[192.0.2.1]>", "a@[192.0.2.1]|"),
            ("<a@[ipv6:2001:DB8::0:1]>", "a@[IPv6:2001:db8::1]|"),
            ("<a@[IPv6:::ffff:192.0.2.1]>", "a@[IPv6:::ffff:192.0.2.1]|"),
            ("<@one.example,@two.example:a@example.com>", "a@example.com|"),
            ("<@[192.0.2.1]:a@example.com>", "a@example.com|"),
            ("<Postmaster>", "postmaster|"),
            ("<POSTMASTER@example.com>", "POSTMASTER@example.com|"),
            ("<a%b@example.com>", "a%b@example.com|"),
            // Not paths.
            ("", "Syntax"),
            ("<>", "Syntax"),
            ("a@example.com", "Syntax"),
            ("<a@example.com", "Syntax"),
            ("<a>", "Syntax"),
            ("<@example.com>", "Syntax"),
            ("<a@>", "Syntax"),
            ("<.a@example.com>", "Syntax"),
            ("<a.@example.com>", "Syntax"),
            ("<a..b@example.com>", "Syntax"),
            ("<a b@example.com>", "Syntax"),
            ("<a@b@example.com>", "Syntax"),
            ("<\"a@example.com>", "Syntax"),
            ("<\"a\"b@example.com>", "Syntax"),
            ("< a@example.com >", "Syntax"),
            ("<a@-example.com>", "Syntax"),
            ("<a@example-.com>", "Syntax"),
            ("<a@example..com>", "Syntax"),
            ("<a@example.com..>", "Syntax"),
            ("<a@.>", "Syntax"),
            ("<a@exa_mple.com>", "Syntax"),
            ("<a@[192.0.2.256]>", "Syntax"),
            ("<a@[192.0.2.1>", "Syntax"),
            ("<a@[2001:db8::1]>", "Syntax"),
            ("<a@[IPv6:192.0.2.1]>", "Syntax"),
            ("<a@[x-tag:1]>", "Syntax"),
            ("<@one.example,a@example.com>", "Syntax"),
            // Nothing that could end a line, a header or a string.
            ("<a\r@example.com>", "Syntax"),
            ("<a\n@example.com>", "Syntax"),
            ("<a@b\rRSET>", "Syntax"),
            ("<a@b\0>", "Syntax"),
            ("<\"a\r\nb\"@example.com>", "Syntax"),
            ("<\"a\\\nb\"@example.com>", "Syntax"),
            ("<\"a\tb\"@example.com>", "Syntax"),
            ("<caf\u{e9}@example.com>", "Syntax"),
            ("<a@ex\u{e4}mple.com>", "Syntax"),
        ] {
            assert_eq!(forward(input), expected, "{input:?}");
        }
    }

    #[test]
    fn limits() {
        let local = |length| "x".repeat(length);
        let domain = |length: usize| {
            let labels = format!("{}.", "y".repeat(63)).repeat(length / 64);
            let last = "z".repeat(length - labels.len());
            format!("{labels}{last}")
        };
        for (mailbox, error) in [
            (format!("{}@{}", local(64), domain(62)), None),
            (format!("{}@{}", local(65), domain(62)), Some(AddressError::LocalPartTooLong)),
            (format!("{}@{}", local(1), domain(252)), None),
            (format!("{}@{}", local(1), domain(253)), Some(AddressError::PathTooLong)),
            (format!("{}@{}", local(1), domain(255)), Some(AddressError::PathTooLong)),
            (format!("{}@{}", local(1), domain(256 + 1)), Some(AddressError::DomainTooLong)),
            (format!("{}@{}", local(1), "y".repeat(64)), Some(AddressError::Syntax)),
        ] {
            assert_eq!(forward_path(&format!("<{mailbox}>")).err(), error, "{mailbox}");
        }
        assert!(format!("{}@{}", local(64), domain(255)).parse::<Mailbox>().is_ok());
    }

    #[test]
    fn the_null_reverse_path() {
        assert_eq!(reverse_path("<> SIZE=1"), Ok((" SIZE=1", ReversePath(None))));
        let (rest, path) = reverse_path("<a@Example.com>").unwrap();
        assert_eq!((rest, path.to_string()), ("", "<a@example.com>".to_string()));
    }

    #[test]
    fn literals_are_told_from_names() {
        let address = |text: &str| text.parse::<Mailbox>().unwrap().literal_address();
        assert_eq!(address("a@[192.0.2.1]"), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(address("a@[IPv6:2001:db8::9]"), Some("2001:db8::9".parse().unwrap()));
        assert_eq!(address("a@192.0.2.1"), None);
    }

    proptest! {
        /// What is taken can be written in a command, and reads back as the same.
        #[test]
        fn accepted_paths_are_printable_and_stable(
            input in "<[a\"\\\\ .@%!:,\\[\\]\r\n\0\u{e9}b1I-]{0,12}@[a-zA-Z.\\[1:\\]-]{0,9}>",
        ) {
            if let Ok((_, path)) = reverse_path(&input) {
                let written = path.to_string();
                prop_assert!(written.bytes().all(|byte| matches!(byte, b' '..=b'~')));
                prop_assert_eq!(reverse_path(&written), Ok(("", path)));
            }
        }
    }
}
