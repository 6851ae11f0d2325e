//! Telling systemd how the daemon is doing (sd_notify(3)).

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::time::{ClockId, clock_gettime};

/// Where a service manager waits to be told; nowhere, if none asked for it.
#[derive(Debug)]
pub(crate) struct Notify(Option<(UnixDatagram, SocketAddr)>);

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tell {
    /// Clients can connect; or a reload is over.
    Ready,
    /// A reload begins.
    Reloading,
    /// The end begins.
    Stopping,
}

impl Notify {
    /// To the socket that `NOTIFY_SOCKET` names. One that cannot be used is said and forgotten.
    pub(crate) fn from_env() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Self(None) };
        let connected = address(&name).and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            // A manager that does not listen must not keep mail waiting.
            socket.set_nonblocking(true)?;
            Ok((socket, address))
        });
        if let Err(error) = &connected {
            tracing::warn!(%error, "cannot use NOTIFY_SOCKET");
        }
        Self(connected.ok())
    }

    /// Tells it.
    pub(crate) fn tell(&self, tell: Tell) {
        let Some((socket, address)) = &self.0 else { return };
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        if let Err(error) = socket.send_to_addr(words(tell, micros).as_bytes(), address) {
            tracing::warn!(%error, ?tell, "the service manager cannot be told");
        }
    }
}

/// A path, or behind `@` a name in the abstract namespace.
fn address(name: &OsString) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name),
        _ => SocketAddr::from_pathname(name),
    }
}

/// `micros` is the monotonic clock, by which a manager tells this reload's end from another's.
fn words(tell: Tell, micros: i64) -> String {
    match tell {
        Tell::Ready => "READY=1\nSTATUS=Receiving and delivering mail\n".to_owned(),
        Tell::Reloading => {
            format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=Reading the configuration\n")
        }
        Tell::Stopping => "STOPPING=1\nSTATUS=Finishing what is under way\n".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_addresses_are_understood() {
        let path = address(&"/run/notify".into()).unwrap();
        assert_eq!(path.as_pathname().unwrap().to_str(), Some("/run/notify"));
        let name = address(&"@manager".into()).unwrap();
        assert_eq!(name.as_abstract_name(), Some(&b"manager"[..]));
    }

    #[test]
    fn a_reload_bears_its_time() {
        let words = words(Tell::Reloading, 5);
        assert!(words.starts_with("RELOADING=1\nMONOTONIC_USEC=5\n"), "{words}");
    }
}
