//! Vectors after the CEL specification: the points of its conformance tests that fall into the subset, asked of a body.
//!
//! `of` names the file and the section of those tests, or says that the point is ours. `is` is what we say of the request:
//! true, false, unknown (an error in CEL), or that we refuse the expression. `cel` is what CEL says where that is something
//! else; the reference of the language tells why.

use holdgate_engine::Truth;
use holdgate_protocol::{Json, bundle::Effect, json::Object};

use super::{
    subject::{Subject, parse},
    when,
};

const VECTORS: &str = include_str!("../../../tests/cel/vectors.json");

#[test]
fn vectors_of_the_specification_hold() {
    let Ok(Json::Array(vectors)) = Json::parse(VECTORS.as_bytes()) else { panic!("the vectors are a list") };
    assert!(vectors.len() >= 200, "{} vectors", vectors.len());
    let wrong: Vec<String> = vectors.iter().filter_map(|vector| problem(vector.as_object().unwrap())).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn problem(vector: &Object) -> Option<String> {
    let text = |key: &str| vector.get(key).and_then(Json::as_str).unwrap();
    let (is, cel) = (spelled(vector.get("is")?), vector.get("cel").map(spelled));
    let subject = Subject::with_body(vector.get("body")?.clone());
    let ours = match when(text("when")) {
        Ok(expr) => {
            let [allow, deny] = [Effect::Allow, Effect::Deny].map(|effect| subject.truth(&expr, effect));
            assert_eq!(allow, deny, "a body has one value at each place");
            name(allow)
        }
        Err(_) => "refused",
    };
    // Of what we refuse CEL says many things.
    let theirs = match cel.as_deref() {
        Some("refused") => {
            if parse(text("when")).is_err() {
                "refused"
            } else {
                "read"
            }
        }
        _ if is == "refused" => "",
        _ => name(subject.oracle(text("when"))),
    };
    let expected = if is == "refused" { "" } else { cel.as_deref().unwrap_or(&is) };
    let of = text("of");
    (ours != is || theirs != expected).then(|| format!("{of}: {ours}, not {is}; in CEL {theirs}, not {expected}"))
}

fn name(truth: Truth) -> &'static str {
    match truth {
        Truth::True => "true",
        Truth::False => "false",
        Truth::Unknown => "unknown",
        Truth::Pending => "pending",
    }
}

fn spelled(json: &Json) -> String {
    String::from_utf8(json.to_jcs()).unwrap().replace('"', "")
}
