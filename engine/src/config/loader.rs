//! Reads a configuration with everything it includes.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::ast::{File, Include, Item};
use super::diagnostic::{Diagnostic, Findings};
use super::parser;
use super::source::{ConfigFiles, FileError, SourceFile, Sources};
use crate::limits;

/// Reads the entry file and what it includes.
pub(super) fn load(
    entry: &str,
    files: &mut dyn ConfigFiles,
    findings: &mut Findings,
) -> (Vec<File>, Sources) {
    let mut loader = Loader { files, findings, sources: Sources::default(), bytes: 0 };
    let trees = match loader.files.read(entry, None) {
        Ok(found) => loader.parse_all(found, &mut Vec::new()),
        Err(error) => {
            loader.findings.push(Diagnostic::nowhere(format!("cannot read {entry}: {error}")));
            Vec::new()
        }
    };
    (trees, loader.sources)
}

struct Loader<'a> {
    files: &'a mut dyn ConfigFiles,
    findings: &'a mut Findings,
    sources: Sources,
    /// Of all files.
    bytes: usize,
}

impl Loader<'_> {
    /// Parses files and what they include. `stack` names the files that led here.
    fn parse_all(&mut self, found: Vec<SourceFile>, stack: &mut Vec<String>) -> Vec<File> {
        let mut trees = Vec::new();
        for file in found {
            let name = file.name.clone();
            if file.text.len() > limits::CONFIG_FILE_BYTES_MAX {
                let mebibytes = limits::CONFIG_FILE_BYTES_MAX >> 20;
                let message = format!("{name} is larger than {mebibytes} MiB");
                self.findings.push(Diagnostic::nowhere(message));
                continue;
            }
            self.bytes += file.text.len();
            let id = self.sources.add(file);
            let (mut items, diagnostics) = parser::parse(id, self.sources.text(id));
            for diagnostic in diagnostics {
                self.findings.push(diagnostic);
            }
            stack.push(name);
            self.include_all(&mut items, stack);
            stack.pop();
            trees.push(File { id, items });
        }
        trees
    }

    fn include_all(&mut self, items: &mut [Item], stack: &mut Vec<String>) {
        for item in items {
            match item {
                Item::Include(include) => self.include(include, stack),
                Item::Scope(scope) => self.include_all(&mut scope.items, stack),
                Item::Option(_) => {}
            }
        }
    }

    fn include(&mut self, include: &mut Include, stack: &mut Vec<String>) {
        if let Some(problem) = self.not_includable(&include.path.text, stack.len()) {
            let problem = Diagnostic { span: Some(include.path.span), ..problem };
            return self.findings.push(problem);
        }
        let found = match self.files.read(&include.path.text, stack.last().map(String::as_str)) {
            Ok(found) => found,
            Err(error) => {
                let message = format!("cannot include `{}`: {error}", include.path.text);
                let mut unread = Diagnostic::error(include.path.span, message);
                if error == FileError::NotFound {
                    unread = unread.help("a relative name is looked for beside this file first");
                }
                return self.findings.push(unread);
            }
        };
        if let Some(file) = found.iter().find(|file| stack.contains(&file.name)) {
            let mut route = stack.join(" includes ");
            route.push_str(&format!(" includes {}", file.name));
            return self.findings.push(
                Diagnostic::error(include.path.span, "this file includes itself")
                    .label("closes the circle")
                    .help(format!("the way round: {route}")),
            );
        }
        include.files = self.parse_all(found, stack);
    }

    /// What stands against an include before anything is read.
    fn not_includable(&self, path: &str, depth: usize) -> Option<Diagnostic> {
        if let Some((scheme, _)) = path.split_once("://") {
            let message = format!("cannot include from `{scheme}://`");
            return Some(
                Diagnostic::nowhere(message)
                    .label("only files and directories can be included")
                    .help("write the configuration to a file and include that"),
            );
        }
        let limit = |message: String| Some(Diagnostic::nowhere(message));
        if path.is_empty() {
            return limit(String::from("an include needs the name of a file or directory"));
        }
        if depth >= limits::CONFIG_INCLUDE_DEPTH_MAX {
            let max = limits::CONFIG_INCLUDE_DEPTH_MAX;
            return limit(format!("more than {max} files include each other"));
        }
        if self.sources.files().count() >= limits::CONFIG_FILES_MAX {
            return limit(format!("more than {} files are included", limits::CONFIG_FILES_MAX));
        }
        if self.bytes >= limits::CONFIG_BYTES_MAX {
            let mebibytes = limits::CONFIG_BYTES_MAX >> 20;
            return limit(format!("more than {mebibytes} MiB are included"));
        }
        None
    }
}
