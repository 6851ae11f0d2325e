//! What rustls does not tell of a certificate: whose it is, who issued it, and its time.
//!
//! Nothing here decides about trust but for one case: a certificate that is itself in the list of
//! those to trust is found by its bytes, and then its time is all there is to check.

use rustls::pki_types::UnixTime;

/// The parts of a certificate (RFC 5280 section 4.1) that are shown or compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate<'a> {
    issuer: &'a [u8],
    subject: &'a [u8],
    not_before: UnixTime,
    not_after: UnixTime,
}

impl<'a> Certificate<'a> {
    /// Reads DER; `None` when it is no certificate.
    pub(super) fn read(der: &'a [u8]) -> Option<Self> {
        let (certificate, _) = expect(SEQUENCE, der)?;
        let (mut fields, _) = expect(SEQUENCE, certificate)?;
        if let Some((_, rest)) = expect(EXPLICIT_0, fields) {
            fields = rest;
        }
        let (_serial, fields) = expect(INTEGER, fields)?;
        let (_algorithm, fields) = expect(SEQUENCE, fields)?;
        let (issuer, fields) = expect(SEQUENCE, fields)?;
        let (validity, fields) = expect(SEQUENCE, fields)?;
        let (subject, _) = expect(SEQUENCE, fields)?;
        let (not_before, validity) = time(validity)?;
        let (not_after, _) = time(validity)?;
        Some(Self { issuer, subject, not_before, not_after })
    }

    /// Whether it names itself as its issuer.
    pub(super) fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }

    /// Who issued it, `C=US, O=Example, CN=Example CA`.
    pub(super) fn issuer(&self) -> Box<str> {
        name(self.issuer)
    }

    /// Whose it is.
    pub(super) fn subject(&self) -> Box<str> {
        name(self.subject)
    }

    /// Its first and last second.
    pub(super) const fn validity(&self) -> (UnixTime, UnixTime) {
        (self.not_before, self.not_after)
    }
}

/// The content of the first element and what follows it, if the element has this tag.
fn expect(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(der)?;
    (found == tag).then_some((content, rest))
}

/// The first element: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// A name on one line: its parts in the order of the certificate.
fn name(mut rdns: &[u8]) -> Box<str> {
    let mut text = String::new();
    while let Some((mut set, rest)) = expect(SET, rdns) {
        rdns = rest;
        while let Some((attribute, others)) = expect(SEQUENCE, set) {
            set = others;
            let Some((oid, value)) = expect(OBJECT_IDENTIFIER, attribute) else { continue };
            let Some((tag, value, _)) = element(value) else { continue };
            if text.len() > NAME_BYTES_MAX {
                break;
            }
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str(&attribute_name(oid));
            text.push('=');
            push_value(&mut text, tag, value);
        }
    }
    text.into()
}

/// The short name of an attribute (RFC 4514 section 3), or its number.
fn attribute_name(oid: &[u8]) -> String {
    let known = ATTRIBUTES.iter().find(|(known, _)| *known == oid);
    if let Some((_, short)) = known {
        return (*short).to_owned();
    }
    let mut numbers = Vec::new();
    let mut number = 0_u64;
    for byte in oid {
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if numbers.is_empty() {
                let first = (number / 40).min(2);
                numbers.push(first.to_string());
                number -= first * 40;
            }
            numbers.push(number.to_string());
            number = 0;
        }
    }
    numbers.join(".")
}

/// Control characters and commas would make one line into two, and one part into two.
fn push_value(text: &mut String, tag: u8, value: &[u8]) {
    let decoded = match tag {
        BMP_STRING => {
            let units = value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).map(|unit| unit.unwrap_or('\u{fffd}')).collect()
        }
        _ => String::from_utf8_lossy(value).into_owned(),
    };
    for character in decoded.chars().take(VALUE_CHARS_MAX) {
        match character {
            ',' | '\\' => text.extend(['\\', character]),
            character if character.is_control() => text.push('\u{fffd}'),
            character => text.push(character),
        }
    }
}

/// UTCTime or GeneralizedTime, and what follows it (RFC 5280 section 4.1.2.5).
fn time(der: &[u8]) -> Option<(UnixTime, &[u8])> {
    let (tag, digits, rest) = element(der)?;
    let digits = str::from_utf8(digits.strip_suffix(b"Z")?).ok()?;
    let (year, others) = match tag {
        UTC_TIME => {
            let (year, others) = digits.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, others)
        }
        GENERALIZED_TIME => {
            let (year, others) = digits.split_at_checked(4)?;
            (number(year)?, others)
        }
        _ => return None,
    };
    if others.len() != 10 {
        return None;
    }
    let part = |n: usize| number(others.get(2 * n..2 * n + 2)?);
    let (month, day) = (part(0)?, part(1)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds = part(2)? * 3600 + part(3)? * 60 + part(4)?;
    // What was before the epoch is long over.
    let days = days_since_epoch(year, month, day).max(0);
    let at = std::time::Duration::from_secs((days * 86_400 + seconds).unsigned_abs());
    Some((UnixTime::since_unix_epoch(at), rest))
}

fn number(digits: &str) -> Option<i64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Days of the Gregorian calendar, counted in years that begin with March, so that the leap day is
/// the last of its year.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - DAYS_TO_EPOCH
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const BMP_STRING: u8 = 0x1e;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const EXPLICIT_0: u8 = 0xa0;

/// From 1 March of the year 0 to 1 January 1970.
const DAYS_TO_EPOCH: i64 = 719_468;

/// A name that is longer than this is cut.
const NAME_BYTES_MAX: usize = 512;

/// A part of a name that is longer than this is cut; X.520 allows most of them 64.
const VALUE_CHARS_MAX: usize = 128;

const ATTRIBUTES: &[(&[u8], &str)] = &[
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 4], "SN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "street"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 97], "organizationIdentifier"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_certificate_is_read_as_it_was_made() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["mx.example".into()]).unwrap();
        params.distinguished_name.push(DnType::CountryName, "DE");
        params.distinguished_name.push(DnType::OrganizationName, "Post, Bote \\ S\u{f6}hne\n");
        params.distinguished_name.push(DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 9999]), "x");
        let name = DnValue::BmpString("mx.example".try_into().unwrap());
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2024, 2, 29);
        params.not_after = date_time_ymd(2051, 12, 31);
        let made = params.self_signed(&key).unwrap();
        let read = Certificate::read(made.der()).unwrap();
        let expected = "C=DE, O=Post\\, Bote \\\\ S\u{f6}hne\u{fffd}, 1.3.6.1.4.1.9999=x, \
                        CN=mx.example";
        let mut parts: Vec<_> = read.subject().split(", ").map(str::to_owned).collect();
        let mut expected: Vec<_> = expected.split(", ").map(str::to_owned).collect();
        parts.retain(|part| !part.starts_with("CN=rcgen"));
        parts.sort();
        expected.sort();
        assert_eq!(parts, expected);
        assert_eq!(read.issuer(), read.subject());
        assert!(read.is_self_issued());
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        assert_eq!(read.validity(), (at(1_709_164_800), at(2_587_593_600)));
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        let key = KeyPair::generate().unwrap();
        let made = CertificateParams::default().self_signed(&key).unwrap();
        assert!(Certificate::read(made.der()).is_some());
        // Behind the names comes what is not read here.
        for length in 0..100 {
            assert_eq!(Certificate::read(&made.der()[..length]), None, "{length}");
        }
        for junk in [&b"\x30\x84\0\0\0\x01\0"[..], b"\x30\x02\x30\0", b"220 mail"] {
            assert_eq!(Certificate::read(junk), None, "{junk:?}");
        }
    }

    #[test]
    fn times() {
        let read = |tag, text: &str| {
            let der = [&[tag, text.len() as u8], text.as_bytes()].concat();
            time(&der).map(|(at, _)| at.as_secs())
        };
        for (tag, text, seconds) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (UTC_TIME, "500101000000Z", Some(0)),
            (UTC_TIME, "260228120000Z", Some(1_772_280_000)),
            (GENERALIZED_TIME, "20000229000000Z", Some(951_782_400)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (UTC_TIME, "260228120000", None),
            (UTC_TIME, "261328120000Z", None),
            (UTC_TIME, "2602281200Z", None),
            (UTC_TIME, "26022812+000Z", None),
            (INTEGER, "260228120000Z", None),
        ] {
            assert_eq!(read(tag, text), seconds, "{text}");
        }
    }
}
