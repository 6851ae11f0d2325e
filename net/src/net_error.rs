//! The system's errors in the engine's terms.

use std::io::{self, ErrorKind};

use traject_engine::io::NetError;

/// What an error of a socket means to the engine.
pub fn net_error(error: &io::Error) -> NetError {
    if error.raw_os_error().is_some_and(|code| EXHAUSTED.contains(&code)) {
        return NetError::Exhausted;
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => NetError::Refused,
        ErrorKind::TimedOut => NetError::TimedOut,
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable | ErrorKind::NetworkDown => {
            NetError::Unreachable
        }
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::NotConnected
        // TLS without its closing alert.
        | ErrorKind::UnexpectedEof
        | ErrorKind::WriteZero => NetError::Reset,
        ErrorKind::AddrNotAvailable => NetError::SourceUnavailable,
        ErrorKind::AddrInUse | ErrorKind::OutOfMemory => NetError::Exhausted,
        _ => NetError::Other,
    }
}

/// Linux: ENOMEM, ENFILE, EMFILE, ENOBUFS.
const EXHAUSTED: [i32; 4] = [12, 23, 24, 105];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_linux_are_told_apart() {
        let cases = [
            (111, NetError::Refused),          // ECONNREFUSED
            (110, NetError::TimedOut),         // ETIMEDOUT
            (101, NetError::Unreachable),      // ENETUNREACH
            (113, NetError::Unreachable),      // EHOSTUNREACH
            (104, NetError::Reset),            // ECONNRESET
            (32, NetError::Reset),             // EPIPE
            (99, NetError::SourceUnavailable), // EADDRNOTAVAIL
            (98, NetError::Exhausted),         // EADDRINUSE
            (24, NetError::Exhausted),         // EMFILE
            (23, NetError::Exhausted),         // ENFILE
            (105, NetError::Exhausted),        // ENOBUFS
            (12, NetError::Exhausted),         // ENOMEM
            (1, NetError::Other),              // EPERM
        ];
        for (code, expected) in cases {
            assert_eq!(net_error(&io::Error::from_raw_os_error(code)), expected, "{code}");
        }
        let simulated = io::Error::from(ErrorKind::ConnectionReset);
        assert_eq!(net_error(&simulated), NetError::Reset);
    }
}
