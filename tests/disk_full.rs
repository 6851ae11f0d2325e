//! A disk that is full: the spool is on a small file system of its own, and gets no help.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use traject_net::spool::Inspection;
use traject_tests::{Arrivals, Client, Mail, Sink, Site, Unable, free_port, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

const DISK_KIB: u32 = 6 << 10;

/// A file system in memory. Dropping it takes it away.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn mount(path: &Path) -> Result<Self, Unable> {
        if !Unable::is_root() {
            return Err(Unable::allowed("only root can mount a small file system"));
        }
        std::fs::create_dir_all(path).unwrap();
        let size = format!("size={DISK_KIB}k,mode=700");
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Self { path: path.to_owned() }),
            Ok(output) => {
                let words = String::from_utf8_lossy(&output.stderr);
                Err(Unable::forbidden(format!("no file system can be mounted: {}", words.trim())))
            }
            Err(error) => Err(Unable::forbidden(format!("mount cannot be run: {error}"))),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

fn mail(number: u32) -> Mail {
    Mail::new(number, format!("Subject: {number}\r\n\r\n{}", "a line of text\r\n".repeat(6000)))
}

#[test]
fn a_full_disk_loses_nothing_and_frees_itself() {
    let port = free_port();
    let options = "relay_hosts = (\"127.0.0.1\")\nhost_failure_retry = 1";
    let site = Site::new(([127, 0, 0, 1], port).into(), options);
    let disk = match SmallDisk::mount(&site.spool()) {
        Ok(disk) => disk,
        Err(unable) => return unable.skip(),
    };
    let daemon = site.start();
    let mut client = Client::connect(site.address()).unwrap();
    client.command("EHLO client.example.org").unwrap();
    let mut accepted = Vec::new();
    let refusal = loop {
        let mail = mail(accepted.len() as u32);
        let reply = client.deliver(&mail).unwrap();
        if reply.code != 250 {
            break reply;
        }
        accepted.push(mail);
        assert!(accepted.len() < 200, "the disk does not fill up");
    };
    assert!(refusal.lines[0].starts_with("452 4.3.1 "), "{refusal:?}");
    assert!(accepted.len() > 20, "{} messages", accepted.len());
    // It answers, and goes on to say so.
    assert_eq!(client.command("NOOP").unwrap().code, 250);
    assert_eq!(client.deliver(&mail(1000)).unwrap().code, 452);

    let sink = Sink::start_at(port);
    sink.wait_for_recipients_of(&accepted, PATIENCE);
    // What was delivered makes room.
    let late = mail(accepted.len() as u32);
    wait_until("mail is taken again", PATIENCE, || client.deliver(&late).unwrap().code == 250);
    accepted.push(late);
    sink.wait_for_recipients_of(&accepted, PATIENCE);
    drop(client);
    assert!(daemon.terminate().success());
    sink.assert_no_violations();
    let arrivals = Arrivals::count(&sink.deliveries(), &accepted);
    assert_eq!(arrivals.missing(&accepted), Vec::<String>::new());
    assert_eq!(arrivals.duplicates(), 0);
    assert_eq!(Inspection::open(&site.spool()).unwrap().report().messages, 0);
    drop(disk);
}
