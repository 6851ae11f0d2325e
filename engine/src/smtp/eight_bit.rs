//! 8-bit content towards servers with and without 8BITMIME (RFC 6152): `send_8bitmime` and
//! `transform_8bitmime_content`.

/// `transform_8bitmime_content`: what becomes of 8-bit content for a server that does not offer
/// 8BITMIME.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform8bit {
    /// It is sent as it is.
    No,
    /// It is made 7-bit.
    IfNeeded,
    /// It is encoded as quoted-printable, or fails.
    Strict,
    /// The high bit of every byte is cleared.
    Strip,
}

/// How a body goes to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// As it is, and nothing is said about it.
    Plain,
    /// As it is, with `BODY=8BITMIME`.
    Announced,
    /// Only after a conversion, and bodies are not converted here: not at all.
    NeedsConversion,
}

/// Decides how a body goes to a server. `announce` is `send_8bitmime = ifavailable`; `offered`
/// tells whether the server offers 8BITMIME.
pub const fn passage(
    eight_bit: bool,
    offered: bool,
    announce: bool,
    transform: Transform8bit,
) -> Passage {
    match (eight_bit, offered, announce, transform) {
        (false, ..) => Passage::Plain,
        (true, true, true, _) => Passage::Announced,
        (true, true, false, _) => Passage::Plain,
        (true, false, _, Transform8bit::No) => Passage::Plain,
        (
            true,
            false,
            _,
            Transform8bit::IfNeeded | Transform8bit::Strict | Transform8bit::Strip,
        ) => Passage::NeedsConversion,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_pass_as_the_options_and_the_server_say() {
        use Passage::{Announced, NeedsConversion, Plain};
        use Transform8bit::{IfNeeded, No, Strict, Strip};
        for transform in [No, IfNeeded, Strict, Strip] {
            for (offered, announce) in [(false, false), (false, true), (true, false), (true, true)]
            {
                assert_eq!(passage(false, offered, announce, transform), Plain);
            }
            assert_eq!(passage(true, true, true, transform), Announced);
            assert_eq!(passage(true, true, false, transform), Plain);
            let expected = if transform == No { Plain } else { NeedsConversion };
            assert_eq!(passage(true, false, false, transform), expected);
            assert_eq!(passage(true, false, true, transform), expected);
        }
    }
}
