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

/// Places of entries in all leaves.
fn places(node: &Node) -> usize {
    fn of_segments(segments: &Segments) -> usize {
        let below = segments.literals.values().chain(segments.one.as_deref());
        let below = below.chain(segments.globs.iter().map(|(_, next)| next));
        places(&segments.end) + places(&segments.open) + below.map(of_segments).sum::<usize>()
    }
    match node {
        Node::Leaf(entries) => entries.len(),
        Node::ByPath(split) => of_segments(&split.root) + places(&split.rest),
        Node::ByValue(split) => {
            let values = split.exact.values().chain(split.prefixes.values());
            values.chain([&split.unknown, &split.rest]).map(places).sum()
        }
    }
}

/// Lists in several attributes once multiplied: 40 rules of 112 KB stopped a worker.
#[test]
fn lists_in_several_attributes_do_not_multiply() {
    let entries: Vec<Vec<Atom>> = (0..200)
        .map(|rule| {
            let list = |of: &str| {
                let values: std::collections::BTreeSet<String> =
                    (0..100).map(|value| format!("v{:03}", (rule * 7 + value * 3) % 200)).collect();
                let of: serde_json::Value = serde_json::from_str(of).unwrap();
                serde_json::json!({"value": {"of": of, "is": {"in": {"strings": values}}}})
            };
            let atoms: Vec<_> =
                [r#""host""#, r#"{"claim":"/a"}"#, r#"{"claim":"/b"}"#, r#"{"claim":"/c"}"#].map(list).to_vec();
            serde_json::from_value(serde_json::Value::Array(atoms)).unwrap()
        })
        .collect();
    let Index(root) = Index::new(entries.iter().map(Vec::as_slice));
    assert!(places(&root) <= entries.len() * MAX_PLACES * 2, "{}", places(&root));
}
