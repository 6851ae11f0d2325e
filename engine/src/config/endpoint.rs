//! Addresses to listen on.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::diagnostic::Diagnostic;
use super::source::Span;

/// Backlog of an endpoint in the list form that names none.
pub(super) const LIST_FORM_BACKLOG: u32 = 5;

/// What is wrong with an endpoint, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EndpointError {
    message: String,
    help: &'static str,
}

/// Which address families a wildcard means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Families {
    Both,
    V4,
    V6,
}

impl Families {
    /// Of the value of `proto`.
    pub(super) fn from_proto(word: &str) -> Self {
        match word {
            "ipv4" => Self::V4,
            "ipv6" => Self::V6,
            _ => Self::Both,
        }
    }
}

/// Takes `,backlog` and `~concurrency` off an endpoint of the list form. The concurrency is the
/// number of threads the original accepts with; we accept with one task however many there are.
pub(super) fn split_suffixes(text: &str) -> Result<(&str, Option<u32>), EndpointError> {
    let wrong = |message: String| EndpointError {
        message,
        help: "an endpoint is `address:port,backlog~concurrency`, the last two if wanted",
    };
    let positive = |digits: &str| digits.parse::<u32>().ok().filter(|&number| number > 0);
    let (text, concurrency) = match text.rsplit_once('~') {
        Some((text, concurrency)) => (text, Some(concurrency)),
        None => (text, None),
    };
    if let Some(digits) = concurrency.filter(|digits| positive(digits).is_none()) {
        return Err(wrong(format!("`{digits}` is not a concurrency")));
    }
    match text.rsplit_once(',') {
        None => Ok((text, None)),
        Some((text, digits)) => match positive(digits).filter(|&backlog| backlog <= 65_535) {
            Some(backlog) => Ok((text, Some(backlog))),
            None => Err(wrong(format!("`{digits}` is not a backlog"))),
        },
    }
}

/// What is wrong with an endpoint that is a named pipe.
pub(super) fn named_pipe(text: &str) -> Option<EndpointError> {
    text.starts_with('\\').then(|| EndpointError {
        message: format!("`{text}` is a named pipe of Windows"),
        help: "write `address:port`",
    })
}

/// The socket addresses of `address:port`.
pub(super) fn addresses(text: &str, families: Families) -> Result<Vec<SocketAddr>, EndpointError> {
    if text.starts_with('/') {
        return Err(EndpointError {
            message: format!("`{text}` is a Unix socket"),
            help: "mail is received over TCP only: write `address:port`",
        });
    }
    if let Some(pipe) = named_pipe(text) {
        return Err(pipe);
    }
    let wrong = || EndpointError {
        message: format!("`{text}` is not an endpoint"),
        help: "write `*:25`, `192.0.2.1:25` or `[2001:db8::1]:25`",
    };
    let (address, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let addresses: &[IpAddr] = match (address, families) {
        ("*" | "", Families::Both) => {
            &[IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]
        }
        ("*" | "", Families::V4) => &[IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
        ("*" | "", Families::V6) | ("[*]", _) => &[IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
        _ => &[one_address(address).ok_or_else(wrong)?],
    };
    Ok(addresses.iter().map(|&address| SocketAddr::new(address, port)).collect())
}

/// The finding for a wrong endpoint.
pub(super) fn error(span: Span, error: &EndpointError) -> Diagnostic {
    Diagnostic::error(span, error.message.clone()).help(error.help)
}

fn one_address(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse().ok().map(IpAddr::V6),
        None => text.parse().ok().map(IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    #[test]
    fn endpoints_are_read() {
        let table = [
            ("*:25", Families::Both, "0.0.0.0:25 [::]:25"),
            (":587", Families::Both, "0.0.0.0:587 [::]:587"),
            ("*:25", Families::V4, "0.0.0.0:25"),
            ("*:25", Families::V6, "[::]:25"),
            ("[*]:25", Families::Both, "[::]:25"),
            ("127.0.0.1:2525", Families::V6, "127.0.0.1:2525"),
            ("[::1]:25", Families::Both, "[::1]:25"),
            ("*:0", Families::V4, "0.0.0.0:0"),
        ];
        for (text, families, want) in table {
            let addresses = addresses(text, families).unwrap();
            let shown: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
            assert_eq!(shown.join(" "), want, "{text}");
        }
        let wrong = ["25", "*", "*:x", "*:65536", "::1:25", "localhost:25", "[127.0.0.1]:25", ""];
        for text in wrong {
            assert!(addresses(text, Families::Both).is_err(), "{text}");
        }
    }

    #[test]
    fn suffixes_are_taken_off() {
        assert_eq!(split_suffixes("*:25"), Ok(("*:25", None)));
        assert_eq!(split_suffixes("*:587,200"), Ok(("*:587", Some(200))));
        assert_eq!(split_suffixes("[::1]:587,200~20"), Ok(("[::1]:587", Some(200))));
        assert_eq!(split_suffixes("/tmp/2025~2"), Ok(("/tmp/2025", None)));
        for text in ["*:25,", "*:25,x", "*:25,0", "*:25,99999", "*:25,5~", "*:25,5~0"] {
            assert!(split_suffixes(text).is_err(), "{text}");
        }
    }
}
