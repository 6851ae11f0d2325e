//! The JSON Schemas (draft 2020-12) of what is written, made from the types. Keys are only added:
//! to reports within a version of their form, to records always.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use traject_engine::record::Record;

use crate::report::{Report, VERSION};

/// The schema of a report's JSON form, ending with a newline.
pub fn report() -> String {
    text(schema_of::<Report>(&format!("report:{VERSION}"), "Traject report"))
}

/// The schema of one line of records, ending with a newline.
pub fn record() -> String {
    text(schema_of::<Line>("record", "Traject record"))
}

/// A record as it is written.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is of interest")]
struct Line {
    /// Number of the record in the run, from 1; the simulator's only.
    #[schemars(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    /// `id` of the record that led to this one, if one did; the simulator's only.
    #[schemars(skip_serializing_if = "Option::is_none")]
    cause: Option<u64>,
    #[schemars(flatten)]
    record: Record,
}

fn schema_of<T: JsonSchema>(name: &str, title: &str) -> Schema {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<T>();
    schema.insert("$id".to_owned(), format!("urn:traject:{name}").into());
    schema.insert("title".to_owned(), title.into());
    schema
}

fn text(schema: Schema) -> String {
    // Unwrap is OK because a schema is plain JSON.
    serde_json::to_string_pretty(&schema).expect("a schema can be written") + "\n"
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_published_schemas_are_those_of_the_types() {
        for (name, schema) in [("report", report()), ("record", record())] {
            let file = format!("docs/{name}.schema.json");
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(&file);
            let published = fs::read_to_string(path).unwrap_or_default();
            assert!(published == schema, "run `cargo run -q -- schema {name} > {file}`");
        }
    }
}
