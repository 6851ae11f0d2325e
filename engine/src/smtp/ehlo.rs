//! What a server says it can do: the lines of its reply to EHLO (RFC 5321 section 4.1.1.1).

/// The extensions of a server, as far as we use them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// SIZE (RFC 1870).
    pub size: SizeLimit,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhanced_status_codes: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// XCLIENT (Postfix's XCLIENT_README), if an attribute that we know is listed.
    pub xclient: Option<XclientOffer>,
}

/// The attributes of XCLIENT that a server takes, of those we have something to say about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XclientOffer {
    /// The client's name.
    pub name: bool,
    /// Its address.
    pub addr: bool,
    /// Its port.
    pub port: bool,
    /// Whether it spoke SMTP or ESMTP.
    pub proto: bool,
    /// What it called itself.
    pub helo: bool,
}

/// What a server says about the size of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SizeLimit {
    /// Nothing: SIZE must not be sent.
    #[default]
    NotOffered,
    /// It takes SIZE and names no limit.
    Unknown,
    /// The largest message in bytes.
    Bytes(u64),
}

impl Capabilities {
    /// Takes one line of the reply, without its code. `number` 0 is the greeting, which names no
    /// extension.
    pub fn take_line(&mut self, number: usize, text: &[u8]) {
        if number == 0 {
            return;
        }
        let mut words = text.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        let keyword = words.next().unwrap_or_default();
        let is = |name: &str| keyword.eq_ignore_ascii_case(name.as_bytes());
        if is("PIPELINING") {
            self.pipelining = true;
        } else if is("SIZE") {
            self.size = SizeLimit::parse(words.next());
        } else if is("8BITMIME") {
            self.eight_bit_mime = true;
        } else if is("ENHANCEDSTATUSCODES") {
            self.enhanced_status_codes = true;
        } else if is("STARTTLS") {
            self.starttls = true;
        } else if is("XCLIENT") {
            self.xclient = XclientOffer::parse(words);
        }
    }
}

impl XclientOffer {
    fn parse<'a>(attributes: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let mut offer = Self::default();
        for attribute in attributes {
            match &*attribute.to_ascii_uppercase() {
                b"NAME" => offer.name = true,
                b"ADDR" => offer.addr = true,
                b"PORT" => offer.port = true,
                b"PROTO" => offer.proto = true,
                b"HELO" => offer.helo = true,
                _ => {}
            }
        }
        (offer != Self::default()).then_some(offer)
    }
}

impl SizeLimit {
    /// Zero is no limit (RFC 1870 section 4), and so is what is not a number.
    fn parse(argument: Option<&[u8]>) -> Self {
        argument
            .and_then(|digits| core::str::from_utf8(digits).ok())
            .and_then(|digits| digits.parse().ok())
            .filter(|limit| *limit > 0)
            .map_or(Self::Unknown, Self::Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_recognised() {
        let none = Capabilities::default();
        for (line, expected) in [
            ("PIPELINING", Capabilities { pipelining: true, ..none }),
            ("pipelining", Capabilities { pipelining: true, ..none }),
            ("PIPELININGX", none),
            ("X-PIPELINING", none),
            ("8BITMIME", Capabilities { eight_bit_mime: true, ..none }),
            ("EnhancedStatusCodes", Capabilities { enhanced_status_codes: true, ..none }),
            ("STARTTLS", Capabilities { starttls: true, ..none }),
            ("SIZE 1000", Capabilities { size: SizeLimit::Bytes(1000), ..none }),
            ("SIZE  1000 ", Capabilities { size: SizeLimit::Bytes(1000), ..none }),
            ("SIZE", Capabilities { size: SizeLimit::Unknown, ..none }),
            ("SIZE 0", Capabilities { size: SizeLimit::Unknown, ..none }),
            ("SIZE many", Capabilities { size: SizeLimit::Unknown, ..none }),
            ("SIZE 99999999999999999999", Capabilities { size: SizeLimit::Unknown, ..none }),
            (
                "XCLIENT NAME addr LOGIN",
                Capabilities {
                    xclient: Some(XclientOffer {
                        name: true,
                        addr: true,
                        ..XclientOffer::default()
                    }),
                    ..none
                },
            ),
            ("XCLIENT LOGIN", none),
            ("XCLIENT", none),
            ("", none),
            ("\0\u{ff}", none),
        ] {
            let mut capabilities = none;
            capabilities.take_line(1, line.as_bytes());
            assert_eq!(capabilities, expected, "{line:?}");
        }
    }

    #[test]
    fn the_greeting_names_no_extension() {
        let mut capabilities = Capabilities::default();
        capabilities.take_line(0, b"PIPELINING");
        assert_eq!(capabilities, Capabilities::default());
    }
}
