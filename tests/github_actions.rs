//! The workflow in `docs/github-actions.yml` does what it says: a shell runs its steps in a
//! repository with a change, as a pull request would.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use traject_tests::{binary, find_tool, workspace};

const CONFIG: &str = "retry_interval = 400\n";

const SCENARIO: &str = r#"
title = "A receiver that greylists"
horizon = "1d"
config = "../ecelerity.conf"
traffic = [{ from = "news@brand.example", to = "grey.example", messages = 20 }]
receiver = [{ name = "grey", domains = ["grey.example"], greylist = { hold = "5m" } }]
expect = [{ that = "t100 <= 7m" }]
"#;

/// The shell steps of the workflow that need no network: their names and commands.
fn steps() -> Vec<(String, String)> {
    let workflow = fs::read_to_string(workspace().join("docs/github-actions.yml")).unwrap();
    let mut steps = Vec::new();
    for step in workflow.split("\n      - name: ").skip(1) {
        let (name, rest) = step.split_once('\n').unwrap();
        let (_, run) = rest.split_once("        run: ").unwrap();
        let script = match run.strip_prefix("|\n") {
            None => run.lines().next().unwrap().to_owned(),
            Some(block) => {
                let lines = block.lines().map_while(|line| line.strip_prefix("          "));
                lines.map(|line| line.to_owned() + "\n").collect()
            }
        };
        steps.push((name.to_owned(), script));
    }
    steps.retain(|(name, _)| name != "Install");
    steps
}

fn git(folder: &Path, args: &[&str]) {
    let run = Command::new("git")
        .current_dir(folder)
        .args(["-c", "user.name=A", "-c", "user.email=a@brand.example"])
        .args(args)
        .output()
        .unwrap();
    assert!(run.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&run.stderr));
}

/// A clone of a repository, on a branch on which the configuration has become `config`.
fn pull_request(config: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (upstream, clone) = (folder.path().join("upstream"), folder.path().join("clone"));
    fs::create_dir_all(upstream.join("scenarios")).unwrap();
    fs::write(upstream.join("ecelerity.conf"), CONFIG).unwrap();
    fs::write(upstream.join("scenarios/grey.toml"), SCENARIO).unwrap();
    fs::write(upstream.join("thresholds.toml"), "t50 = \"10s\"\n").unwrap();
    git(&upstream, &["init", "-q", "-b", "main"]);
    git(&upstream, &["add", "."]);
    git(&upstream, &["commit", "-q", "-m", "How mail leaves"]);
    git(folder.path(), &["clone", "-q", "upstream", "clone"]);
    fs::write(clone.join("ecelerity.conf"), config).unwrap();
    git(&clone, &["commit", "-q", "--allow-empty", "-a", "-m", "A change"]);
    (folder, clone)
}

/// The exit code of each step, and what stands in the summary.
fn workflow(config: &str) -> (Vec<(String, i32)>, String) {
    let (_folder, clone) = pull_request(config);
    let programs = binary().parent().unwrap().to_owned();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let summary = clone.join("summary.md");
    let run = |(name, script): (String, String)| {
        let status = Command::new("sh")
            .current_dir(&clone)
            .env("PATH", &path)
            .env("GITHUB_BASE_REF", "main")
            .env("GITHUB_STEP_SUMMARY", &summary)
            .args(["-e", "-c", &script])
            .output()
            .unwrap()
            .status;
        (name, status.code().unwrap())
    };
    let codes = steps().into_iter().map(run).collect();
    (codes, fs::read_to_string(summary).unwrap())
}

#[test]
fn a_pull_request_is_judged() {
    if let Err(missing) = find_tool("git", "git") {
        return missing.skip();
    }
    let table = [
        // Nothing that the scenario sees.
        ("retry_interval = 400\nmax_retries = 3\n", [0, 0, 0], "nothing is worse"),
        // The retry comes later, but still within the seven minutes.
        ("retry_interval = 415\n", [0, 0, 1], "| 6m40s | 6m55s | WORSE |"),
        ("retry_interval = 500\n", [0, 1, 1], "| BROKEN |"),
        ("retry_intervall = 500\n", [3, 3, 3], ""),
    ];
    for (config, codes, says) in table {
        let (steps, summary) = workflow(config);
        assert_eq!(steps.iter().map(|(_, code)| *code).collect::<Vec<_>>(), codes, "{steps:?}");
        assert!(summary.contains(says), "{config}: {summary}");
    }
}
