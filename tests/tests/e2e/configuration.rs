//! What `holdgate check-envoy` says of the proxy that all these tests run on.

use holdgate_tests::{http, stack::Places};
use serde_json::json;

use crate::common::start;

#[tokio::test(flavor = "multi_thread")]
async fn running_proxy_shows_a_configuration_without_a_way_around_the_filter() {
    let stack = start(json!({})).await;
    let dump = http::get(stack.ports.admin(), "/config_dump").await.unwrap().text();
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        Places::find().unwrap().holdgate(&["check-envoy", "--strict", file.to_str().unwrap()])
    };
    check("dump.json", &dump).unwrap();
    for (good, wrong) in [
        ("\"FAIL_RELOAD\"", "\"FAIL_OPEN\""),
        ("\"cluster\": \"upstream\"", "\"cluster\": \"approval\""),
        ("\"merge_slashes\": true", "\"merge_slashes\": false"),
    ] {
        assert!(dump.contains(good), "{dump}");
        let said = check("wrong.json", &dump.replace(good, wrong)).unwrap_err();
        assert!(said.to_string().contains("exit status: 1"), "{good}: {said:#}");
    }
}
