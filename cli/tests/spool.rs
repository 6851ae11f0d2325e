//! What an operator sees of a spool.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use tempfile::TempDir;
use traject_engine::Timestamp;
use traject_engine::ids::MessageId;
use traject_engine::io::SpoolWrite;
use traject_engine::message::{RecipientState, StoredMessage, StoredRecipient};
use traject_engine::smtp::address::ReversePath;
use traject_net::spool::Journal;
use traject_net::world::{BodyWriter as _, Spool as _};

const BODY: &str = "Subject: hello \u{1b}[2J\r\nX-Other: 1\r\n\r\nthe text\r\n";

/// A message to these recipients, the first of which was tried twice.
async fn put(journal: &Journal, id: u64, binding: &str, recipients: &[&str]) {
    let id = MessageId(id);
    let mut staging = journal.stage(id).await.unwrap();
    staging.append(BODY.as_bytes()).await.unwrap();
    staging.finish().await.unwrap();
    let received_at = Timestamp::from_secs(1_700_000_000);
    let recipient = |(n, address): (usize, &&str)| StoredRecipient {
        mailbox: address.parse().unwrap(),
        state: RecipientState::Pending {
            attempts: if n == 0 { 2 } else { 0 },
            next_attempt_at: received_at,
        },
    };
    let message = StoredMessage {
        id,
        reverse_path: ReversePath(Some("ann@our.test".parse().unwrap())),
        recipients: recipients.iter().enumerate().map(recipient).collect(),
        received_at,
        size_bytes: BODY.len() as u64,
        eight_bit: false,
        binding: binding.into(),
        origin: None,
        rerouted: Vec::new(),
    };
    journal.write(SpoolWrite::Insert(Arc::new(message))).await.unwrap();
}

/// Two messages in a spool that is in use until the journal is dropped.
async fn spool() -> (TempDir, Journal) {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    put(&journal, 0xab1, "red", &["bob@one.test", "eve@two.test"]).await;
    put(&journal, 0xab2, "blue", &["tom@two.test"]).await;
    (folder, journal)
}

fn traject(verb: &str, folder: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_traject"));
    command.args(["spool", verb]).arg(folder).args(more).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

#[tokio::test]
async fn a_spool_in_use_is_listed_shown_and_checked() {
    let (folder, _journal) = spool().await;
    let checked = traject("check", folder.path(), &[]);
    assert_eq!(checked.status.code(), Some(0));
    assert!(stdout(&checked).starts_with("2 messages in "), "{}", stdout(&checked));
    assert!(stdout(&checked).ends_with(" 5 frames intact, 0 damaged\n"), "{}", stdout(&checked));

    let listed = traject("list", folder.path(), &[]);
    let lines: Vec<_> = stdout(&listed).lines().collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    // Without the age, which grows.
    let fields = |line: &str| -> Vec<String> {
        line.split_whitespace()
            .map(str::to_owned)
            .enumerate()
            .filter(|(n, _)| *n != 1)
            .map(|(_, f)| f)
            .collect()
    };
    let size = BODY.len().to_string();
    assert_eq!(fields(lines[1]), ["ab1", "2", "2", "now", &size, "red", "<ann@our.test>"]);
    assert_eq!(fields(lines[2]), ["ab2", "1", "2", "now", &size, "blue", "<ann@our.test>"]);
    assert_eq!(lines[3], "2 messages, 3 recipients left");

    let listed = traject("list", folder.path(), &["--json", "--domain", "two.test"]);
    let entries: Vec<serde_json::Value> =
        stdout(&listed).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(entries.len(), 2);
    assert_eq!((&entries[0]["message"], &entries[0]["left"]), (&"ab1".into(), &1.into()));
    let listed = traject("list", folder.path(), &["--binding", "blue"]);
    assert!(stdout(&listed).ends_with("1 messages, 1 recipients left\n"));

    let shown = traject("show", folder.path(), &["ab1-1"]);
    let expected = "Tue, 14 Nov 2023 22:13:20 +0000";
    assert!(stdout(&shown).contains(expected), "{}", stdout(&shown));
    let tail = "sender    <ann@our.test>\n\
                0         <bob@one.test>: tried 2 times, due now\n\
                1         <eve@two.test>: tried 0 times, due now\n\
                \n\
                Subject: hello \u{fffd}[2J\n\
                X-Other: 1\n";
    assert!(stdout(&shown).ends_with(tail), "{}", stdout(&shown));
    let body = traject("show", folder.path(), &["ab1", "--body"]);
    assert_eq!(stdout(&body), BODY);
}

#[tokio::test]
async fn damage_is_named_with_its_place_and_fails_the_check() {
    let (folder, journal) = spool().await;
    drop(journal);
    let mut files = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let segment = |path: &PathBuf| path.extension().is_some_and(|end| end == "journal");
    let file = files.find(segment).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    // Of the first message: what a crash may have torn is no damage.
    let at = bytes.windows(8).position(|window| window == b"the text").unwrap();
    bytes[at] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let checked = traject("check", folder.path(), &[]);
    assert_eq!(checked.status.code(), Some(1));
    let name = file.file_name().unwrap().to_str().unwrap();
    let first = stdout(&checked).lines().next().unwrap();
    assert!(first.starts_with(&format!("damage: {name} at ")), "{first}");
    assert!(first.ends_with("a piece of a message's body is unreadable (message ab1)"), "{first}");
    let body = traject("show", folder.path(), &["ab1", "--body"]);
    assert_eq!(body.status.code(), Some(2));
    assert_eq!(fs::read(&file).unwrap(), bytes, "nothing is changed");
}

#[test]
fn what_is_no_spool_or_no_message_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let checked = traject("check", folder.path(), &[]);
    assert_eq!(checked.status.code(), Some(2));
    let words = String::from_utf8(checked.stderr).unwrap();
    assert!(words.contains("is no spool") && words.contains("hint: the folder is `spoolbase`"));
    drop(Journal::open(folder.path()).unwrap());
    let shown = traject("show", folder.path(), &["1"]);
    let words = String::from_utf8(shown.stderr).unwrap();
    assert!(words.contains("there is no message 1 in the spool"), "{words}");
}
