//! The document that describes the scenario format is about the format there is.

use std::fs;
use std::path::Path;

use traject_sim::expect::Metric;
use traject_sim::scenario::parse;

#[test]
fn the_examples_of_the_document_can_be_read_and_its_tables_are_complete() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scenarios.md");
    let document = fs::read_to_string(path).unwrap();
    let blocks: Vec<&str> = document.split("```toml\n").skip(1).collect();
    let mut whole = 0;
    let examples = blocks.iter().map(|block| block.split("```").next().unwrap());
    for example in examples.filter(|example| example.contains("title =")) {
        parse(Path::new("docs/scenarios.md"), example).unwrap_or_else(|error| panic!("{error}"));
        whole += 1;
    }
    assert!(whole > 0, "no whole scenario in the document");
    for (metric, _) in Metric::NAMES {
        assert!(document.contains(&format!("`{metric}`")), "{metric} is not described");
    }
}
