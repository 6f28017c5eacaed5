//! JSON Merge Patch (RFC 7396).

use holdgate_protocol::Json;
use serde_json::{Map, Value};

/// Sets a patch over a value: objects member by member, null takes a member away, all else is replaced.
pub fn merge(target: &mut Value, patch: Value) {
    let Value::Object(members) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(target) = target {
        for (name, value) in members {
            if value.is_null() {
                target.remove(&name);
            } else {
                merge(target.entry(name).or_insert(Value::Null), value);
            }
        }
    }
}

/// A value of our own reader as one of `serde_json`'s.
pub fn to_value(json: &Json) -> Value {
    serde_json::from_slice(&json.to_jcs()).unwrap_or_default()
}
