//! What the index can reach.

use super::*;

fn entry(atoms: &str) -> Vec<Atom> {
    serde_json::from_str(atoms).unwrap()
}

#[test]
fn an_entry_is_reached_by_a_tool_a_path_a_text_claim_a_host_or_a_method() {
    for reached in [
        r#"[{"value":{"of":"mcp_tool","is":{"glob":"iam.*"}}}]"#,
        r#"[{"value":{"of":"path","is":{"template":"/{a}/users/**"}}}]"#,
        r#"[{"value":{"of":{"claim":"/team"},"is":{"equals":{"string":"iam"}}}}]"#,
        r#"[{"value":{"of":"host","is":{"prefix":"a."}}}]"#,
        r#"[{"value":{"of":"method","is":{"in":{"strings":["GET","HEAD"]}}}}]"#,
    ] {
        assert!(is_reached(&entry(reached)), "{reached}");
    }
    for not in [
        r#"[{"value":{"of":"mcp_tool","is":{"glob":"*_delete"}}}]"#,
        r#"[{"value":{"of":"path","is":{"template":"/{a}/**"}}}]"#,
        r#"[{"value":{"of":{"claim":"/risk"},"is":{"gt":"0.7"}}}]"#,
        r#"[{"value":{"of":{"body":"/role"},"is":{"equals":{"string":"admin"}}}}]"#,
        r#"[{"value":{"of":"host","is":{"suffix":".example"}}}]"#,
    ] {
        assert!(!is_reached(&entry(not)), "{not}");
    }
}
