//! Ports, waiting, and programs of others.

use std::env;
use std::fmt;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// When this variable is set a missing program is a failure: continuous integration installs them.
const REQUIRED: &str = "TRAJECT_REQUIRE_PEERS";

/// A program that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    name: String,
    package: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} not found (apt install {})", self.name, self.package)
    }
}

impl Missing {
    /// Says that a test is skipped.
    ///
    /// # Panics
    ///
    /// Where nothing may be missing.
    pub fn skip(&self) {
        assert!(env::var_os(REQUIRED).is_none(), "{self}, and {REQUIRED} is set");
        // Not by `eprintln!`, which a passing test does not show.
        let _ = writeln!(std::io::stderr(), "skipped: {self}");
    }
}

/// Something that cannot be done here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unable {
    why: String,
    forbidden: bool,
}

impl Unable {
    /// What nobody has to be able to do, such as what only root can.
    pub fn allowed(why: impl Into<String>) -> Self {
        Self { why: why.into(), forbidden: false }
    }

    /// What continuous integration must be able to do.
    pub fn forbidden(why: impl Into<String>) -> Self {
        Self { why: why.into(), forbidden: true }
    }

    /// Whether this process is root's.
    pub fn is_root() -> bool {
        let id = Command::new("id").arg("-u").output();
        id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
    }

    /// Says that a test is skipped.
    ///
    /// # Panics
    ///
    /// Where it must not be.
    pub fn skip(&self) {
        let required = self.forbidden && env::var_os(REQUIRED).is_some();
        assert!(!required, "{}, and {REQUIRED} is set", self.why);
        // Not by `eprintln!`, which a passing test does not show.
        let _ = writeln!(std::io::stderr(), "skipped: {}", self.why);
    }
}

/// Looks for a program where a user and where an administrator would find it.
///
/// # Errors
///
/// It is in none of those places.
pub fn find_tool(name: &str, package: &str) -> Result<PathBuf, Missing> {
    let path = env::var_os("PATH").unwrap_or_default();
    let administrators = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let mut candidates =
        env::split_paths(&path).chain(administrators).map(|folder| folder.join(name));
    let missing = || Missing { name: name.to_owned(), package: package.to_owned() };
    candidates.find(|file| file.is_file()).ok_or_else(missing)
}

/// A port nobody listens on, outside the range the system takes ports for outgoing connections
/// from: it stays free between two lives of a daemon.
pub fn free_port() -> u16 {
    // Threads of one process never get the same, processes start at different places.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id().wrapping_mul(97);
    loop {
        let n = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = (10_000 + (start.wrapping_add(n)) % 20_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until `done` says so.
///
/// # Panics
///
/// After `patience`.
pub fn wait_until(what: &str, patience: Duration, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < patience, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Cargo, to be run by a test.
///
/// What Cargo tells a test about its package is taken out of the environment: build scripts ask
/// for some of it, and would compile C code anew at each change between a test and a user.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    for (name, _) in env::vars_os() {
        let about_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"];
        if name.to_str().is_some_and(|name| about_package.iter().any(|p| name.starts_with(p))) {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// The build folder of the running test: `target` in `target/<profile>/deps/<test>`.
pub fn target() -> PathBuf {
    let test = env::current_exe().unwrap();
    test.ancestors().nth(3).expect("a build folder").to_owned()
}

/// The folder of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_or_said_to_be_missing_with_a_remedy() {
        assert!(find_tool("sh", "dash").is_ok());
        let missing = find_tool("no-such-program", "such-a-package").unwrap_err();
        assert_eq!(missing.to_string(), "no-such-program not found (apt install such-a-package)");
    }
}
