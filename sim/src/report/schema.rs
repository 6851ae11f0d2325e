//! The JSON Schema of a report's JSON form, made from the types.

use schemars::generate::SchemaSettings;

use super::{Report, VERSION};

/// The schema (JSON Schema, draft 2020-12), ending with a newline. Within a version of the form,
/// keys are only added.
pub fn json_schema() -> String {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<Report>();
    schema.insert("$id".to_owned(), format!("urn:traject:report:{VERSION}").into());
    schema.insert("title".to_owned(), "Traject report".into());
    // Unwrap is OK because a schema is plain JSON.
    serde_json::to_string_pretty(&schema).expect("a schema can be written") + "\n"
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_published_schema_is_that_of_the_types() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/report.schema.json");
        let published = fs::read_to_string(path).unwrap_or_default();
        assert!(
            published == json_schema(),
            "run `cargo run -q -- schema report > docs/report.schema.json`"
        );
    }
}
