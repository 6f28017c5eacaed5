//! The paths that tests may have are the paths that the filter lets in.

use holdgate_gate::Head;
use proptest::prelude::*;

fn gateway_takes(path: &str) -> bool {
    let pairs = [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", path)];
    let pairs = pairs.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    Head::read(pairs.to_vec().into(), "authorization").is_ok()
}

fn test_takes(path: &str) -> bool {
    let file = serde_json::json!({
        "format": 1, "policy": "p",
        "rules": [{"id": "r", "effect": "deny", "match": [{"http": {"path": "/**"}}]}],
        "tests": [{"name": "t", "request": {"http": {"method": "GET", "path": path}}, "expect": {"effect": "deny"}}],
    });
    holdgate_authoring::compile(&[("p.yaml", &file.to_string())]).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn a_test_has_a_path_if_the_gateway_takes_it(
        path in "/([a.;{}%~ \\\\é/]|%2e|%2E|%2F|%C3%A4|%C3|%20|%7B|%7b|%0A|%25|\\.\\.|:|@){0,6}"
    ) {
        prop_assert_eq!(test_takes(&path), gateway_takes(&path), "{}", path);
    }
}
