//! The same vectors through our own code in the filter, and through the function of the proxy around it.

#[path = "../../../crates/protocol/tests/signatures/vectors.rs"]
mod vectors;

use std::fmt::Write as _;

use holdgate_protocol::b64url;
use holdgate_tests::{
    agent::Agent,
    stack::{Places, Ports, Process},
    until,
};
use serde_json::json;
use vectors::Vector;

use crate::common::LIMIT;

#[tokio::test(flavor = "multi_thread")]
async fn the_proxys_function_gives_the_answers_that_ours_gives() {
    let places = Places::find().unwrap();
    let filter = places.filter.with_file_name("verify.wasm");
    let (ports, folder) = (Ports::choose(None).unwrap(), tempfile::tempdir().unwrap());
    let address =
        |port: std::net::SocketAddr| json!({"socket_address": {"address": "127.0.0.1", "port_value": port.port()}});
    let wasm = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": {"name": "verify", "allow_on_headers_stop_iteration": true,
            "vm_config": {"runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": filter}}}},
    });
    let http = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "verify",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "direct_response": {"status": 404}}]}]},
        "http_filters": [
            {"name": "verify", "typed_config": wasm},
            {"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}},
        ],
    });
    let config = json!({
        "admin": {"address": address(ports.admin())},
        "static_resources": {"listeners": [{
            "address": address(ports.gateway()), "per_connection_buffer_limit_bytes": 16_777_216,
            "filter_chains": [{"filters": [{"name": "http", "typed_config": http}]}],
        }]},
    });
    let path = folder.path().join("verify.json");
    std::fs::write(&path, config.to_string()).unwrap();
    let arguments = ["--config-path", path.to_str().unwrap(), "--use-dynamic-base-id", "--concurrency", "1"];
    let mut envoy = Process::new("verify", places.envoy, arguments.map(str::to_owned).to_vec(), folder.path());
    envoy.start().unwrap();
    let agent = Agent { gateway: ports.gateway(), token: String::new() };
    let ready = async || agent.get("/").send().await.ok().filter(|answer| answer.status == 404);
    until("Envoy", LIMIT, ready).await.unwrap_or_else(|why| panic!("{why}\n{}", envoy.log_tail()));

    let all = vectors::wycheproof();
    let mut by_host = 0;
    for batch in all.chunks(100) {
        let mut body = String::new();
        for Vector { jwk, text, signature, .. } in batch {
            writeln!(body, "{} {} {}", b64url(&jwk.to_jcs()), b64url(text), b64url(signature)).unwrap();
        }
        let answer = agent.post("/", body).send().await.unwrap();
        assert_eq!(answer.status, 200, "{}", envoy.log_tail());
        let answer = answer.text();
        let mut lines = answer.lines();
        assert_eq!(lines.next(), Some("ES256 RS256 "), "the proxy verifies both");
        for Vector { name, good, .. } in batch {
            let line = lines.next().unwrap();
            let expected: &[&str] = match (name.starts_with("EdDSA"), good) {
                (true, true) => &["++"],
                (true, false) => &["--", "xx"],
                (false, true) => &["++h"],
                (false, false) => &["--h", "xx"],
            };
            assert!(expected.contains(&line), "{name}: {line}");
            by_host += usize::from(line.ends_with('h'));
        }
    }
    assert!(by_host > 500, "{by_host} of {} vectors", all.len());
}
