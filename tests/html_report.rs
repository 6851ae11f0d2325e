//! The HTML report in a real browser: it renders, is legible in light and dark, on a wide page and
//! on a telephone, and no label covers another.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use traject_sim::report::html;
use traject_sim::runner::{RunOptions, run};
use traject_sim::scenario::parse;
use traject_tests::{Missing, binary, find_tool, workspace};

/// What the browser is told to prefer, by its own numbers.
const SCHEMES: [(&str, &str); 2] = [("dark", "0"), ("light", "1")];

/// A page for an engineer's screen, and a telephone.
const WIDTHS: [u32; 2] = [1000, 400];

struct Browser {
    program: PathBuf,
    folder: TempDir,
}

impl Browser {
    fn find() -> Result<Self, Missing> {
        let program = find_tool("chromium", "chromium")?;
        Ok(Self { program, folder: tempfile::tempdir().expect("a folder") })
    }

    /// Runs it on a page of that name; answers with what it prints, and what it complains about.
    fn run(&self, page: &str, scheme: &str, more: &[&str]) -> (String, String) {
        let output = Command::new(&self.program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
            .args(["--enable-logging=stderr", "--virtual-time-budget=10000"])
            .arg(format!("--user-data-dir={}", self.folder.path().join("profile").display()))
            .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
            .args(more)
            .arg(format!("file://{}", self.folder.path().join(page).display()))
            .output()
            .expect("the browser runs");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    }

    /// What is wrong with a page that is so wide.
    #[track_caller]
    fn look(&self, page: &str, (scheme, number): (&str, &str), width: u32) -> Value {
        let harness = format!(
            "<!DOCTYPE html><meta charset=\"utf-8\"><meta name=\"color-scheme\" \
             content=\"light dark\"><body><iframe id=\"page\" style=\"border:0\" \
             width=\"{width}\" height=\"800\"></iframe><pre id=\"result\"></pre><script>{}\n\
             frame.srcdoc = {};</script></body>",
            include_str!("html_report.js"),
            // A script must not contain its own end.
            serde_json::to_string(page).expect("a string").replace("</", "<\\/"),
        );
        fs::write(self.folder.path().join("harness.html"), harness).expect("a file");
        let (dom, complaints) =
            self.run("harness.html", number, &["--window-size=1100,1000", "--dump-dom"]);
        let told: Vec<&str> = complaints.lines().filter(|line| line.contains("CONSOLE")).collect();
        assert!(told.is_empty(), "the console says {told:?}");
        let result =
            dom.split("<pre id=\"result\">").nth(1).and_then(|rest| rest.split_once("</pre>"));
        let (result, _) = result.unwrap_or_else(|| panic!("no result in {dom}\n{complaints}"));
        let plain = result.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        let seen: Value = serde_json::from_str(&plain)
            .unwrap_or_else(|error| panic!("{error}: {plain}\n{complaints}"));
        assert_eq!((&seen["scheme"], &seen["width"]), (&scheme.into(), &width.into()));
        seen
    }
}

fn page_of(path: &Path, text: &str) -> String {
    let scenario = parse(path, text).unwrap_or_else(|error| panic!("{error}"));
    let config = scenario.load_config(None).config.expect("a configuration");
    let outcome = run(&scenario, Arc::new(config), RunOptions::default());
    assert!(outcome.failure.is_none());
    html::render(&outcome.report)
}

fn page_of_file(name: &str) -> String {
    let path = workspace().join("scenarios").join(name);
    let text = fs::read_to_string(&path).expect("a scenario");
    page_of(&path, &text)
}

fn page_of_samples() -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("samples.html");
    let run = Command::new(binary())
        .current_dir(workspace())
        .args(["sim", "scenarios/tls/required.toml", "--samples", "5", "--html"])
        .arg(&file)
        .output()
        .expect("the program runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    fs::read_to_string(file).expect("a page")
}

/// Twelve receivers with long names, each with its own troubles, all at the same time.
fn crowded() -> String {
    let mut text = String::from(
        "title = \"Much at once\"\nhorizon = \"2d\"\nconfig_text = \"max_outbound_connections = 3\"\n\
         [[expect]]\nthat = \"bounced == 0\"\n[[expect]]\nthat = \"delivered == 1\"\n",
    );
    for n in 1..=12 {
        let domain = format!("a-rather-long-name-of-number-{n}.and-a-long-domain.example");
        let _ = write!(
            text,
            "[[traffic]]\nfrom = \"n@brand.example\"\nto = \"{domain}\"\nmessages = {}\n\
             over = \"1h\"\n[[receiver]]\nname = \"{domain}\"\ndomains = [\"{domain}\"]\n",
            13 - n
        );
        for reply in 0..10 {
            let _ = write!(
                text,
                "[[receiver.reply]]\nstage = \"rcpt\"\nprobability = 0.1\n\
                 reply = \"451 4.7.{reply} {}\"\n",
                "An explanation that has no end ".repeat(1 + reply)
            );
        }
        let _ = write!(
            text,
            "[[fault]]\nat = \"{n}h\"\nfor = \"3h\"\nwhat = \"host_down\"\nreceiver = \"{domain}\"\n\
             [[event]]\nat = \"{}h\"\nwhat = \"restart\"\n",
            4 * n
        );
    }
    page_of(Path::new("crowded.toml"), &text)
}

#[test]
fn two_processes_write_the_same_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let pages = ["one.html", "other.html"].map(|name| {
        let file = folder.path().join(name);
        let run = Command::new(binary())
            .current_dir(workspace())
            .args(["sim", "scenarios/basics/expiry.toml", "--html"])
            .arg(&file)
            .output()
            .expect("the program runs");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        fs::read_to_string(file).expect("a page")
    });
    assert_eq!(pages[0], pages[1]);
    assert!(pages[0].contains("traject sim scenarios/basics/expiry.toml --seed"));
}

#[test]
fn reports_are_legible_everywhere() {
    let browser = match Browser::find() {
        Ok(browser) => browser,
        Err(missing) => return missing.skip(),
    };
    let pages = [
        ("a run of many outcomes", page_of_file("basics/expiry.toml"), 4),
        ("many receivers", page_of_file("tls/required.toml"), 50),
        ("much at once", crowded(), 40),
        ("how far samples spread", page_of_samples(), 3),
    ];
    for (name, page, charts) in pages {
        for scheme in SCHEMES {
            for width in WIDTHS {
                let seen = browser.look(&page, scheme, width);
                let findings = seen["findings"].as_array().expect("a list");
                assert!(findings.is_empty(), "{name}, {} at {width}: {findings:#?}", scheme.0);
                let drawn = seen["charts"].as_u64().unwrap_or(0);
                assert!(drawn >= charts, "{name}: {drawn} charts");
                assert!(seen["texts"].as_u64() > Some(50), "{name}: {seen}");
            }
        }
    }
}

#[test]
fn what_is_illegible_is_found() {
    let browser = match Browser::find() {
        Ok(browser) => browser,
        Err(missing) => return missing.skip(),
    };
    let page = "<!DOCTYPE html><style>:root { color-scheme: light dark }</style>\
                <p style=\"color:#999;background:#fff\">Pale</p>\
                <div style=\"width:1200px\">Wide</div>\
                <svg width=\"200\" height=\"50\"><text y=\"20\" fill=\"#777\">One label</text>\
                <text x=\"5\" y=\"22\" fill=\"#777\">another</text></svg>";
    let seen = browser.look(page, SCHEMES[1], 1000);
    let findings = seen["findings"].to_string();
    for found in ["contrast 2.8: <p> Pale", "overflows: <div> Wide", "overlaps with"] {
        assert!(findings.contains(found), "{found} is not in {findings}");
    }
}

#[test]
fn light_and_dark_are_two_pictures() {
    let browser = match Browser::find() {
        Ok(browser) => browser,
        Err(missing) => return missing.skip(),
    };
    let page = page_of_file("basics/expiry.toml");
    fs::write(browser.folder.path().join("report.html"), page).expect("a file");
    let pictures = SCHEMES.map(|(name, number)| {
        let file = browser.folder.path().join(format!("{name}.png"));
        let to = format!("--screenshot={}", file.display());
        let (_, complaints) = browser.run("report.html", number, &["--window-size=1000,1500", &to]);
        fs::read(&file).unwrap_or_else(|error| panic!("{error}: {complaints}"))
    });
    assert!(pictures.iter().all(|picture| picture.starts_with(b"\x89PNG")));
    // A blank page of that size takes a tenth of it.
    assert!(pictures.iter().all(|picture| picture.len() > 40_000));
    assert_ne!(pictures[0], pictures[1]);
}
