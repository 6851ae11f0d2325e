//! The tutorial `docs/predicting.md` is true: its commands are run in an empty folder, one after
//! the other, and print what the page says. `TRAJECT_UPDATE_DOCS=1` writes what they print into it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use regex::Regex;
use traject_tests::{binary, workspace};

/// One fenced block of the page.
struct Block<'a> {
    /// What follows the fence: the language, and the name of a file.
    info: &'a str,
    body: &'a str,
}

/// The blocks of a page, with the text before each and the text after the last.
fn blocks(page: &str) -> (Vec<(&str, Block<'_>)>, &str) {
    let mut found = Vec::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once("```") {
        let (info, after) = after.split_once('\n').expect("a line after the fence");
        let (body, after) = after.split_once("```").expect("the end of a block");
        found.push((before, Block { info, body }));
        rest = after;
    }
    (found, rest)
}

/// The commands of a console block: a line that begins with `$ `, and with `<<'END'` all lines to
/// that one.
fn commands(block: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut lines = block.lines();
    while let Some(line) = lines.next() {
        let Some(command) = line.strip_prefix("$ ") else { continue };
        let mut whole = command.to_owned();
        if command.ends_with("<<'END'") {
            for line in lines.by_ref() {
                whole = whole + "\n" + line;
                if line == "END" {
                    break;
                }
            }
        }
        found.push(whole);
    }
    found
}

/// What a block prints when its commands are run in `folder`. Each sees the exit code of the one
/// before it.
fn session(block: &str, folder: &Path) -> String {
    let programs = binary().parent().expect("the program is in a folder").to_owned();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let mut printed = String::new();
    let mut code = 0;
    for command in commands(block) {
        let run = Command::new("sh")
            .current_dir(folder)
            .env("PATH", &path)
            .args(["-c", &format!("exec 2>&1\n(exit {code})\n{command}")])
            .output()
            .expect("a shell");
        code = run.status.code().expect("no signal ended it");
        printed = printed + "$ " + &command + "\n" + &String::from_utf8_lossy(&run.stdout);
    }
    printed
}

/// Without what differs from run to run: the seconds it took, and the trace, which changes with the
/// program.
fn lasting(printed: &str) -> String {
    static VARIES: LazyLock<[(Regex, &str); 3]> = LazyLock::new(|| {
        [
            (r"(?m) in [0-9.]+ ?(ms|s)( \(|$)", " in a moment$2"),
            (r"\([0-9.]+ s\)", "(a moment)"),
            (r"trace [0-9a-f]{32}", "trace (a hash)"),
        ]
        .map(|(pattern, instead)| (Regex::new(pattern).expect("it is right"), instead))
    });
    let replace = |text: String, (pattern, instead): &(Regex, &str)| {
        pattern.replace_all(&text, *instead).into_owned()
    };
    VARIES.iter().fold(printed.to_owned(), replace)
}

#[test]
fn the_tutorial_prints_what_it_says() {
    let place = workspace().join("docs/predicting.md");
    let page = fs::read_to_string(&place).expect("the tutorial");
    let update = std::env::var_os("TRAJECT_UPDATE_DOCS").is_some();
    let folder = tempfile::tempdir().expect("a folder");
    let (blocks, last) = blocks(&page);
    let mut updated = String::new();
    let mut sessions = 0;
    for (before, Block { info, body }) in blocks {
        let mut shown = body.to_owned();
        if info == "console" {
            sessions += 1;
            shown = lasting(&session(body, folder.path()));
            if !update {
                assert_eq!(lasting(body), shown, "TRAJECT_UPDATE_DOCS=1 writes what is printed");
            }
        } else if let Some((_, name)) = info.split_once(' ') {
            fs::write(folder.path().join(name), body).expect("a file");
        }
        updated = updated + before + "```" + info + "\n" + &shown + "```";
    }
    assert!(sessions > 5, "the page has its commands");
    if update {
        fs::write(place, updated + last).expect("the tutorial can be written");
    }
}
