//! Findings in SARIF 2.1.0, which code scanning services read.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Finding;
use crate::failure::Failure;

/// One run with all findings; rules are the codes that were found.
pub(crate) fn document(findings: &[Finding]) -> Result<String, Failure> {
    let codes: BTreeMap<&str, &Finding> = findings.iter().map(|finding| (finding.code, finding)).collect();
    let rules: Vec<Value> = codes.values().map(|finding| rule(finding)).collect();
    let place = |code: &str| codes.keys().position(|other| *other == code);
    let results: Vec<Value> = findings.iter().map(|finding| result(finding, place(finding.code))).collect();
    let document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "holdgate",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    serde_json::to_string_pretty(&document).map(|text| text + "\n").map_err(Failure::Encode)
}

fn rule(finding: &Finding) -> Value {
    json!({
        "id": finding.code,
        "shortDescription": {"text": finding.title},
        // SARIF wants an absolute address; the page lies beside the rule files, wherever these are kept.
        "helpUri": format!("urn:holdgate:finding:{}", finding.code),
        "help": {"text": format!("{}: {}", finding.title, finding.page)},
        "defaultConfiguration": {"level": finding.severity.to_string()},
    })
}

fn result(finding: &Finding, rule: Option<usize>) -> Value {
    let mut text = finding.message.clone();
    if let Some(help) = &finding.help {
        text.push_str(". ");
        text.push_str(help);
    }
    let mut location = json!({"artifactLocation": {"uri": uri(&finding.file)}});
    if let (Some(line), Some(column), Some(end)) = (finding.line, finding.column, finding.end_column)
        && let Some(location) = location.as_object_mut()
    {
        location.insert("region".into(), json!({"startLine": line, "startColumn": column, "endColumn": end}));
    }
    json!({
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": finding.severity.to_string(),
        "message": {"text": text},
        "locations": [{"physicalLocation": location}],
    })
}

/// A file's name as a URI reference (RFC 3986).
fn uri(file: &str) -> String {
    let mut uri = String::new();
    for byte in file.strip_prefix("./").unwrap_or(file).bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}
