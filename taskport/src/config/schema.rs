use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::Config;

/// The JSON Schema of a configuration file, for editors: every key with its meaning, range and default.
pub fn schema() -> Value {
    let mut schema =
        SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Config>().to_value();
    let overlay = json!({
        "description": "Overlays of the rest of the file, by name; one is selected by `--profile` or \
            TASKPORT_PROFILE. Since v0.1.",
        "type": "object",
        "additionalProperties": { "$ref": "#" },
    });
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("profile".to_owned(), overlay);
    }
    schema
}
