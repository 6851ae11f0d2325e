//! The account in `security`: root binds the ports and gives itself up for good.
//!
//! These tests need root, and say so when they are skipped.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use traject_tests::{Client, Mail, Sink, binary, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// An account that every system has and that owns nothing.
const ACCOUNT: &str = "nobody";

/// Another group that every system has.
const GROUP: &str = "mail";

/// The third field of a name's line in a file of accounts.
fn id_of(file: &str, name: &str) -> u32 {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.split(':').next() == Some(name));
    let line = line.unwrap_or_else(|| panic!("{file} has no {name}"));
    line.split(':').nth(2).expect("an id").parse().unwrap()
}

/// Whether we are root; says that the test is skipped if not.
fn is_root() -> bool {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !is_root {
        // Not by `eprintln!`, which a passing test does not show.
        let _ = writeln!(std::io::stderr(), "skipped: only root can change its account");
    }
    is_root
}

/// A folder that belongs to the account, and a configuration in it.
struct Home {
    folder: TempDir,
    uid: u32,
}

impl Home {
    fn new(options: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let uid = id_of("/etc/passwd", ACCOUNT);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        chown(folder.path(), Some(uid), None).unwrap();
        let home = Self { folder, uid };
        home.write(options);
        home
    }

    fn write(&self, options: &str) {
        let spool = self.path("spool");
        let text = format!("spoolbase = \"{}\"\nretry_interval = 1\n{options}\n", spool.display());
        fs::write(self.path("t.conf"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.args(["daemon", "t.conf", "--records", "records"]).current_dir(self.folder.path());
        command.env_remove("RUST_LOG").stderr(Stdio::piped());
        command
    }

    fn start(&self) -> Running {
        Running(self.command(binary()).spawn().unwrap())
    }

    fn fail_to_start(&self) -> Output {
        self.command(binary()).output().unwrap()
    }

    /// Everything in the spool: names, owners, contents.
    fn spool(&self) -> Vec<(PathBuf, u32, Vec<u8>)> {
        let entries = fs::read_dir(self.path("spool")).unwrap().map(|entry| entry.unwrap().path());
        // The control socket is none.
        let mut files: Vec<_> = entries
            .filter(|path| path.is_file())
            .map(|path| {
                let owner = fs::metadata(&path).unwrap().uid();
                let bytes = fs::read(&path).unwrap();
                (path, owner, bytes)
            })
            .collect();
        files.sort();
        files
    }
}

/// A daemon, killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// The values of a line of each thread's `status`, all the same.
    fn status(&self, key: &str) -> Vec<String> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap();
        let mut values = threads.map(|thread| {
            let text = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.expect(key).split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        });
        let first = values.next().expect("a thread");
        assert!(values.all(|value| value == first), "threads differ in {key}");
        first
    }

    /// SIGTERM, and what standard error held.
    fn end(mut self) -> String {
        let words = self.0.stderr.take().unwrap();
        self.signal("TERM");
        let words: Vec<_> = BufReader::new(words).lines().map(Result::unwrap).collect();
        let status = self.0.wait().unwrap();
        assert!(status.success(), "{status}: {words:#?}");
        words.join("\n")
    }
}

/// A port that only root may bind and nobody has bound.
fn privileged_port() -> u16 {
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let start = 600 + (std::process::id() % 300) as u16;
    (start..1024).find(free).expect("a free port below 1024")
}

#[test]
fn root_binds_the_port_and_is_gone() {
    if !is_root() {
        return;
    }
    let (sink, port) = (Sink::start(), privileged_port());
    let config = format!(
        "gateway = \"127.0.0.1\"\nremote_smtp_port = {}\nrelay_hosts = ( \"127.0.0.1\" )\n\
         security {{ user = {ACCOUNT} supplemental_groups = ( {GROUP} ) }}\n\
         esmtp_listener {{ listen \"127.0.0.1:{port}\" {{ }} }}",
        sink.address().port()
    );
    let home = Home::new(&config);
    let daemon = home.start();
    let address = ([127, 0, 0, 1], port).into();
    wait_until("the daemon answers", PATIENCE, || Client::connect(address).is_ok());

    let uid = home.uid.to_string();
    assert_eq!(daemon.status("Uid:"), [&*uid; 4]);
    let groups = daemon.status("Groups:");
    assert!(groups.contains(&id_of("/etc/group", GROUP).to_string()), "{groups:?}");
    assert!(!groups.contains(&"0".to_owned()), "{groups:?}");
    for set in ["CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(daemon.status(set), ["0000000000000000"], "{set}");
    }

    // Mail goes through, and the logs can be opened anew.
    let mail = Mail::new(1, "Subject: x\r\n\r\n");
    let mut client = Client::connect(address).unwrap();
    assert_eq!(client.command("EHLO client.test").unwrap().code, 250);
    assert_eq!(client.deliver(&mail).unwrap().code, 250);
    sink.wait_for_recipients_of(&[mail], PATIENCE);
    fs::rename(home.path("records"), home.path("records.1")).unwrap();
    home.write(&config.replace(ACCOUNT, "daemon"));
    daemon.signal("HUP");
    wait_until("the log is opened anew", PATIENCE, || home.path("records").exists());
    assert_eq!(fs::metadata(home.path("records")).unwrap().uid(), home.uid);
    assert!(home.spool().iter().all(|(_, owner, _)| *owner == home.uid));
    wait_until("the reload is over", PATIENCE, || {
        // What is written down before the log is opened anew is in the old file.
        let logs = ["records", "records.1"].map(|log| fs::read_to_string(home.path(log)).unwrap());
        logs.concat().contains("\"reconfigured\"")
    });
    let words = daemon.end();
    assert!(words.contains(&format!("running as {ACCOUNT}")), "{words}");
    assert!(words.contains("the account in `security` changed, which needs a restart"), "{words}");
}

#[test]
fn what_root_has_left_behind_is_refused_and_stays_as_it_was() {
    if !is_root() {
        return;
    }
    let home = Home::new("");
    let daemon = home.start();
    wait_until("there is a spool", PATIENCE, || {
        fs::read_dir(home.path("spool")).is_ok_and(|files| files.count() > 1)
    });
    assert!(daemon.end().contains("running as root"));
    fs::remove_file(home.path("records")).unwrap();
    let before = home.spool();
    home.write(&format!("security {{ user = {ACCOUNT} }}"));
    // First the folder cannot be entered, then the files in it cannot be opened.
    for mode in [0o700, 0o777] {
        fs::set_permissions(home.path("spool"), fs::Permissions::from_mode(mode)).unwrap();
        let output = home.fail_to_start();
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{words}");
        assert!(words.contains("cannot use the spool in "), "{words}");
        assert!(words.contains("Permission denied"), "{words}");
        assert!(words.contains("hint: the daemon runs as `nobody`: its spool, "), "{words}");
        assert_eq!(home.spool(), before);
    }
    // Last of all with the lock free for the taking.
    chown(home.path("spool/lock"), Some(home.uid), None).unwrap();
    let output = home.fail_to_start();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{words}");
    assert!(words.contains("hint: the daemon runs as `nobody`: its spool, "), "{words}");
    let after = home.spool();
    for ((path, _, bytes), (path_before, _, bytes_before)) in after.iter().zip(&before) {
        assert_eq!((path, bytes), (path_before, bytes_before));
    }
    assert_eq!(after.len(), before.len());
}

#[test]
fn an_account_that_cannot_be_had_is_refused() {
    if !is_root() {
        return;
    }
    let home = Home::new("security { user = \"no-such-user\" }");
    let refused = |output: Output, words: &str| {
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        assert!(stderr.contains(words), "{stderr}");
    };
    refused(home.fail_to_start(), "the user `no-such-user`, which this machine does not have");
    home.write("security { chroot = \"/var/empty\" }");
    refused(home.fail_to_start(), "use the sandbox of the systemd unit, or a container");

    // The build folder may be out of its reach.
    let program = home.path("traject");
    fs::hard_link(binary(), &program).or_else(|_| fs::copy(binary(), &program).map(drop)).unwrap();
    let start = |options: &str| {
        home.write(options);
        home.command(&program).uid(home.uid).gid(home.uid).output().unwrap()
    };
    refused(start("security { user = root }"), "but the daemon was started as `nobody`");
    refused(start(&format!("security {{ group = {GROUP} }}")), "wants groups that the daemon was");
    assert!(!home.path("spool").exists(), "a spool was made before the account was known");
}
