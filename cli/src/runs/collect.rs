//! Which files are scenarios.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// The scenarios among and below `paths`, ordered by name. A file that is named counts in any case;
/// in a folder those TOML files count that begin with a `title`, as configurations and profiles of
/// receivers may lie beside them.
pub(crate) fn scenario_files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = BTreeSet::new();
    for path in paths {
        if path.is_dir() {
            let before = found.len();
            search(path, &mut found)?;
            if found.len() == before {
                bail!("no scenario below {}", path.display());
            }
        } else if path.exists() {
            found.insert(path.clone());
        } else {
            bail!("there is no {}", path.display());
        }
    }
    Ok(found.into_iter().collect())
}

fn search(folder: &Path, found: &mut BTreeSet<PathBuf>) -> anyhow::Result<()> {
    let unreadable = || format!("cannot read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        if path.is_dir() {
            search(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            let text = fs::read_to_string(&path);
            if has_title(&text.with_context(|| format!("cannot read {}", path.display()))?) {
                found.insert(path);
            }
        }
    }
    Ok(())
}

/// Whether there is a `title` before the first table.
fn has_title(text: &str) -> bool {
    let mut head = text.lines().map(str::trim_start).take_while(|line| !line.starts_with('['));
    head.any(|line| {
        line.strip_prefix("title").is_some_and(|rest| rest.trim_start().starts_with('='))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_has_a_title_at_its_top() {
        for (text, is_one) in [
            ("# x\n\ntitle = \"A\"\n", true),
            ("seed = 1\n  title=\"A\"\n[x]\n", true),
            ("[profile]\ntitle = \"A\"\n", false),
            ("titles = \"A\"\n", false),
            ("", false),
        ] {
            assert_eq!(has_title(text), is_one, "{text:?}");
        }
    }

    #[test]
    fn folders_are_searched_and_files_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("deep")).unwrap();
        for (name, text) in [
            ("b.toml", "title = \"B\""),
            ("deep/a.toml", "title = \"A\""),
            ("profile.toml", "name = \"P\""),
            ("x.conf", "title = \"no\""),
        ] {
            fs::write(path(name), text).unwrap();
        }
        let all = scenario_files(&[folder.path().into(), path("b.toml")]).unwrap();
        assert_eq!(all, [path("b.toml"), path("deep/a.toml")]);
        assert_eq!(scenario_files(&[path("profile.toml")]).unwrap(), [path("profile.toml")]);
        assert!(scenario_files(&[path("gone.toml")]).is_err());
        fs::create_dir(path("empty")).unwrap();
        assert!(scenario_files(&[path("empty")]).is_err());
    }
}
