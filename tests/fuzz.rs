//! What is fuzzed for hours elsewhere, for a moment: the seeds as they are, seeds that were broken,
//! and any bytes.

#[path = "../fuzz/bodies/mod.rs"]
mod bodies;

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use traject_tests::workspace;

use bodies::ALL;

/// The seeds of a target.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = workspace().join("fuzz/seeds").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn every_target_is_in_the_manifest_and_has_seeds() {
    let manifest = fs::read_to_string(workspace().join("fuzz/Cargo.toml")).unwrap();
    for (name, _) in ALL {
        let bin = format!("[[bin]]\nname = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\n");
        assert!(manifest.contains(&bin), "{name}");
        assert!(seeds(name).len() >= 2, "{name}");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), ALL.len());
}

#[test]
fn every_seed_is_answered() {
    for (name, run) in ALL {
        for seed in seeds(name) {
            run(&seed);
        }
    }
}

/// A change of a seed: at a place, so many bytes are replaced.
type Edit = (prop::sample::Index, usize, Vec<u8>);

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let scrap = prop::collection::vec(any::<u8>(), 0..6);
    prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, scrap), 1..8)
}

fn broken(mut bytes: Vec<u8>, edits: Vec<Edit>) -> Vec<u8> {
    for (at, length, scrap) in edits {
        let at = at.index(bytes.len() + 1);
        let end = (at + length).min(bytes.len());
        bytes.splice(at..end, scrap);
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn broken_seeds_are_answered(seed in any::<prop::sample::Index>(), edits in edits()) {
        for (name, run) in ALL {
            let seeds = seeds(name);
            run(&broken(seeds[seed.index(seeds.len())].clone(), edits.clone()));
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        for (_, run) in ALL {
            run(&bytes);
        }
    }
}
