//! The JSON Schemas of rule files and of files of cases, from the same tables that they are read by.
//!
//! They are for editors: they know keys, types and words, and not what only reading can find out.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    cases,
    conditions::VALUE,
    file::FILE,
    shape::{Key, Kind, Shape},
};

/// The JSON Schema (draft 2020-12) of rule files.
pub fn policy_schema() -> String {
    whole(&FILE, "Holdgate rule file")
}

/// The JSON Schema (draft 2020-12) of files of cases.
pub fn cases_schema() -> String {
    whole(&cases::FILE, "Holdgate cases")
}

fn whole(file: &Shape, title: &str) -> String {
    let mut shapes = BTreeMap::new();
    let mut schema = Map::new();
    schema.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".into(), json!(title));
    schema.extend(shape(file, &mut shapes));
    schema.insert("$defs".into(), json!(shapes));
    let text = serde_json::to_string_pretty(&Value::Object(schema)).unwrap_or_default();
    format!("{text}\n")
}

/// The schema of a map; maps within it are put under their names into `shapes`.
fn shape(of: &Shape, shapes: &mut BTreeMap<String, Map<String, Value>>) -> Map<String, Value> {
    let mut properties = Map::new();
    for Key { name, kind: of, about, .. } in of.keys {
        let mut property = kind(of, shapes);
        property.insert("description".into(), json!(about));
        properties.insert((*name).to_owned(), Value::Object(property));
    }
    let required: Vec<&str> = of.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut schema = Map::new();
    schema.insert("type".into(), json!("object"));
    schema.insert("properties".into(), Value::Object(properties));
    if !required.is_empty() {
        schema.insert("required".into(), json!(required));
    }
    schema.insert("additionalProperties".into(), json!(false));
    schema
}

fn kind(of: &Kind, shapes: &mut BTreeMap<String, Map<String, Value>>) -> Map<String, Value> {
    let schema = match of {
        Kind::Any => json!({}),
        Kind::Text => json!({"type": "string", "minLength": 1}),
        Kind::Name => json!({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Count => json!({"type": "integer", "minimum": 1}),
        Kind::Whole => json!({"type": "integer", "minimum": 0}),
        Kind::Number => json!({"type": "number"}),
        Kind::Format(format) => {
            let number: Value = serde_json::from_str(format).unwrap_or_default();
            json!({"enum": [number, format]})
        }
        Kind::Duration => json!({"type": "string", "pattern": "^(0|[1-9][0-9]*)[smhd]$"}),
        Kind::Time => json!({"type": "string", "pattern": "^(0|[1-9][0-9]*)(ms|s|m|h|d)$"}),
        Kind::Share => json!({"type": "string", "pattern": "^[1-9][0-9]?%$"}),
        Kind::Pointer => json!({"type": "string", "pattern": POINTER}),
        Kind::Clock => json!({"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"}),
        Kind::Word(words) => json!({"enum": words()}),
        Kind::Literal => json!({"type": ["string", "number", "boolean"]}),
        Kind::Null => json!({"type": "null"}),
        Kind::Value => json!({"anyOf": [kind(&Kind::Literal, shapes), reference(&VALUE, shapes)]}),
        Kind::List(item) => json!({"type": "array", "items": kind(item, shapes)}),
        Kind::Filled(item) => json!({"type": "array", "minItems": 1, "items": kind(item, shapes)}),
        Kind::Map(of) => reference(of, shapes),
        Kind::Each(value) => json!({"type": "object", "additionalProperties": kind(value, shapes)}),
        Kind::Pointers(value) => {
            let names = json!({"pattern": POINTER});
            json!({"type": "object", "propertyNames": names, "additionalProperties": kind(value, shapes)})
        }
        Kind::OneOf(kinds) => {
            let kinds: Vec<_> = kinds.iter().map(|of| kind(of, shapes)).collect();
            json!({"anyOf": kinds})
        }
    };
    match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

/// A JSON pointer (RFC 6901).
const POINTER: &str = "^(/([^~]|~[01])*)?$";

fn reference(of: &Shape, shapes: &mut BTreeMap<String, Map<String, Value>>) -> Value {
    // The name in messages, as an anchor: "`agent` of a request" is `agent-of-a-request`.
    let name = of.what.replace(['`', '\''], "").replace(' ', "-");
    if !shapes.contains_key(&name) {
        let schema = shape(of, shapes);
        shapes.insert(name.clone(), schema);
    }
    json!({"$ref": format!("#/$defs/{name}")})
}
