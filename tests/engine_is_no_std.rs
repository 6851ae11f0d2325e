//! The engine is built without the standard library: no clock, no socket, no thread, no randomly
//! seeded map can be reached from it, whatever a dependency or a feature drags in.
//!
//! The proof is a program without std that links the engine and brings its own panic handler. std
//! has one too, and the compiler refuses a crate graph with two (E0152). So the program compiles
//! exactly if neither the engine nor anything it links, however deep, contains std. An attribute
//! `no_std` proves less: it says what a crate imports by default, not what it links. The check
//! looks at the graph that is linked and not at words in sources, and cannot be talked out of it
//! by a feature, since features are resolved here as for any user of the engine alone: in the
//! workspace's own build the needs of the other crates are added to them.
//!
//! That the check can fail is tested beside it, with a crate in place of the engine that links
//! std three levels deep.

use std::fs;
use std::path::{Path, PathBuf};

use traject_tests::{cargo, target, workspace};

const PROGRAM: &str = r#"
#![no_std]

extern crate probed as _;

use core::alloc::{GlobalAlloc, Layout};
use core::panic::PanicInfo;

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    loop {}
}

struct NoMemory;

unsafe impl GlobalAlloc for NoMemory {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }
    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static MEMORY: NoMemory = NoMemory;
"#;

/// Compiles the program with `probed = { <dependency> }`; what the compiler said if it refused.
fn compile(name: &str, dependency: &str) -> Result<(), String> {
    let folder = folder(name);
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [lib]\npath = \"lib.rs\"\ncrate-type = [\"staticlib\"]\n\n\
         [dependencies]\nprobed = {{ {dependency} }}\n\n\
         [profile.dev]\npanic = \"abort\"\n\n[workspace]\n"
    );
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    fs::write(folder.join("lib.rs"), PROGRAM).unwrap();
    // The versions the workspace uses, which are on this machine already.
    fs::copy(workspace().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let output = cargo()
        .args(["check", "--quiet", "--offline", "--target-dir"])
        .arg(target().join("no_std"))
        .current_dir(&folder)
        .output()
        .unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// A library that depends on the one before it.
fn library(name: &str, source: &str, dependency: &str) -> PathBuf {
    let folder = folder(name);
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [lib]\npath = \"lib.rs\"\n\n[dependencies]\n{dependency}\n"
    );
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    fs::write(folder.join("lib.rs"), source).unwrap();
    folder
}

/// A place in the build folder: out of the repository, and found again by the next run.
fn folder(name: &str) -> PathBuf {
    let folder = target().join("no_std_sources").join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn by_path(package: &str, folder: &Path) -> String {
    format!("package = \"{package}\", path = \"{}\"", folder.display())
}

#[test]
fn the_engine_links_no_std() {
    let engine = by_path("traject-engine", &workspace().join("engine"));
    if let Err(refusal) = compile("engine_probe", &engine) {
        panic!("the engine links std, or does not compile without it:\n{refusal}");
    }
}

#[test]
fn the_proof_would_notice() {
    let deep = library("deep", "pub fn now() { std::time::Instant::now(); }", "");
    let middle = library(
        "middle",
        "#![no_std]\npub use deep::now;",
        &format!("deep = {{ path = \"{}\" }}", deep.display()),
    );
    let top = library(
        "top",
        "#![no_std]\npub use middle::now;",
        &format!("middle = {{ path = \"{}\" }}", middle.display()),
    );
    let refusal = compile("std_probe", &by_path("top", &top)).unwrap_err();
    assert!(refusal.contains("E0152") && refusal.contains("panic_impl"), "{refusal}");

    let clean = library("clean", "#![no_std]\nextern crate alloc;", "");
    compile("clean_probe", &by_path("clean", &clean)).unwrap();
}
