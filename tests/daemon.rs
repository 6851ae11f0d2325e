//! The built daemon as a process of its own.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use crate::dns_server::DnsServer;
use crate::{Client, cargo, free_port, target, wait_until, workspace};

/// Longest wait for a start or an orderly end: a busy machine, a debug build.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything a daemon has around it, which outlives its processes: configuration, spool, name
/// server, address.
pub struct Site {
    folder: TempDir,
    address: SocketAddr,
    _dns: DnsServer,
}

impl Site {
    /// A site whose mail goes to `next_hop` whatever its domain. `options` are added to the
    /// configuration.
    pub fn new(next_hop: SocketAddr, options: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let dns = DnsServer::start();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let text = format!(
            "hostname = mta.example.com\n\
             spoolbase = {spool}\n\
             resolv_conf = \"{dns}\"\n\
             remote_smtp_port = {port}\n\
             retry_interval = 1\n\
             send_8bitmime = ifavailable\n\
             {options}\n\
             ESMTP_Listener {{\n  Listen \"{address}\" {{ }}\n}}\n",
            spool = folder.path().join("spool").display(),
            dns = dns.address,
            port = next_hop.port(),
        );
        fs::write(folder.path().join("traject.conf"), text).unwrap();
        Self { folder, address, _dns: dns }
    }

    /// Replaces a piece of the configuration, for the next reload or start.
    pub fn reconfigure(&self, from: &str, to: &str) {
        let path = self.folder.path().join("traject.conf");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from} is not in the configuration");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    /// Starts the daemon and waits for its banner.
    pub fn start(&self) -> Daemon {
        self.start_with(&[])
    }

    /// Starts the daemon with more arguments and waits for its banner.
    pub fn start_with(&self, arguments: &[&str]) -> Daemon {
        let mut child = self.spawn(arguments);
        wait_until("the daemon answers", PATIENCE, || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the daemon ended with {status}:\n{}", self.log());
            }
            Client::connect(self.address).is_ok()
        });
        Daemon { child }
    }

    /// Starts a daemon that ends by itself: its exit status, and what it printed.
    pub fn fail_to_start(&self) -> (ExitStatus, String) {
        let status = Daemon { child: self.spawn(&[]) }.wait();
        (status, self.log())
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        let log = self.folder.path().join("log");
        let log = File::options().append(true).create(true).open(log).unwrap();
        Command::new(binary())
            .arg("daemon")
            .arg(self.folder.path().join("traject.conf"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// Where the daemon listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The folder of its spool.
    pub fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    /// What the daemons of this site have printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// Shows the log of a test that failed.
impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            let _ = writeln!(std::io::stderr(), "the end of the daemon's log:");
            for line in tail.iter().rev() {
                let _ = writeln!(std::io::stderr(), "  {line}");
            }
        }
    }
}

/// A running daemon. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; waits for the end.
    pub fn terminate(self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    fn wait(mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the daemon ends", PATIENCE, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.expect("it has ended")
    }

    /// Whether the process is still there.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// SIGHUP.
    pub fn reload(&self) {
        self.signal("HUP");
    }

    fn signal(&self, name: &str) {
        let kill =
            Command::new("kill").args(["-s", name]).arg(self.child.id().to_string()).status();
        assert!(kill.unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The daemon's program, built from the present sources.
///
/// `cargo test` builds the programs of a package only for that package's own tests, so it is built
/// here, with the profile of the running test. Naming a test of this package gives every crate
/// the features it has when the whole workspace is tested: nothing is compiled a second time.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let mut cargo = cargo();
        cargo.args(["build", "--quiet", "--workspace", "--bin", "traject", "--test", "tidy"]);
        let folder = if cfg!(debug_assertions) {
            "debug"
        } else {
            cargo.arg("--release");
            "release"
        };
        cargo.arg("--target-dir").arg(target());
        let built = cargo.current_dir(workspace()).status().unwrap();
        assert!(built.success(), "the daemon cannot be built");
        target().join(folder).join("traject")
    })
}
