//! Configuration files on the file system.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use traject_engine::config::{ConfigFiles, FileError, HostFacts, SourceFile};
use traject_engine::limits;

/// The file system. A relative include is looked for in the directory of the including file, then
/// in the working directory.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileSystem;

impl ConfigFiles for FileSystem {
    fn read(&mut self, path: &str, from: Option<&str>) -> Result<Vec<SourceFile>, FileError> {
        let beside = from.and_then(|from| Path::new(from).parent()).map(|folder| folder.join(path));
        let candidates = beside.into_iter().chain([PathBuf::from(path)]);
        let Some(path) = candidates.into_iter().find(|path| path.exists()) else {
            return Err(FileError::NotFound);
        };
        let found = if path.is_dir() { list(&path) } else { Ok(vec![path]) };
        let paths = found.map_err(|error| FileError::Unreadable(error.to_string()))?;
        paths.iter().map(|path| read_file(path)).collect()
    }
}

/// What this machine contributes to a configuration.
pub fn host_facts() -> HostFacts {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    let hostname = if name.is_empty() { "localhost" } else { name };
    HostFacts { hostname: hostname.to_owned() }
}

/// The files of a directory in lexical order: no directories, nothing hidden.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        // Follows links, as reading does.
        if !hidden && entry.path().is_file() {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_file(path: &Path) -> Result<SourceFile, FileError> {
    let unreadable =
        |error: io::Error| FileError::Unreadable(format!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    // One byte more than is allowed, so that the loader sees that there is too much.
    let limit = limits::CONFIG_FILE_BYTES_MAX as u64 + 1;
    let file = File::open(path).map_err(unreadable)?;
    file.take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Ok(SourceFile { name: name(path), text })
}

/// A name that is the same for every route to a file, and short where the file is near.
fn name(path: &Path) -> String {
    let Ok(absolute) = path.canonicalize() else { return path.display().to_string() };
    let here = std::env::current_dir().and_then(|here| here.canonicalize());
    let near = here.ok().and_then(|here| Some(absolute.strip_prefix(here).ok()?.to_owned()));
    near.unwrap_or(absolute).display().to_string()
}

#[cfg(test)]
mod tests {
    use traject_engine::config::Config;

    use super::*;

    fn write(folder: &Path, files: &[(&str, &[u8])]) {
        for (name, text) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn directories_are_read_in_order_and_relative_names_beside_the_includer() {
        let folder = tempfile::tempdir().unwrap();
        write(
            folder.path(),
            &[
                ("main.conf", b"include \"conf.d\"\ninclude sub/one.conf"),
                ("conf.d/20", b"retry_interval = 600"),
                ("conf.d/10", b"retry_interval = 300 # caf\xe9"),
                ("conf.d/.hidden", b"broken"),
                ("conf.d/deeper/x", b"broken"),
                ("sub/one.conf", b"include two.conf"),
                ("sub/two.conf", b"body_timeout = 2"),
            ],
        );
        let entry = folder.path().join("main.conf");
        let loaded = Config::load(entry.to_str().unwrap(), &mut FileSystem, &host_facts());
        assert_eq!(loaded.diagnostics, []);
        let options = loaded.config.unwrap().delivery_options("default", "x.test");
        assert_eq!(options.retry_interval.as_secs(), 600);
        assert_eq!(options.body_timeout.as_secs(), 2);
        let names: Vec<_> = loaded.sources.files().map(|file| &file.name).collect();
        assert!(names[1].ends_with("conf.d/10") && names[2].ends_with("conf.d/20"), "{names:?}");
    }

    #[test]
    fn what_is_not_there_or_goes_round_is_told() {
        let folder = tempfile::tempdir().unwrap();
        write(
            folder.path(),
            &[("a.conf", b"include sub/../b.conf\ninclude gone"), ("b.conf", b"include a.conf")],
        );
        fs::create_dir(folder.path().join("sub")).unwrap();
        let entry = folder.path().join("a.conf");
        let loaded = Config::load(entry.to_str().unwrap(), &mut FileSystem, &host_facts());
        let messages: Vec<_> = loaded.diagnostics.iter().map(|found| &*found.message).collect();
        let gone = "cannot include `gone`: no such file or directory";
        assert_eq!(messages, [gone, "this file includes itself"]);
    }
}
