//! Files that are something else, or more than one edit away.

use super::*;

/// What is shown here and by no edit.
pub(super) const SHOWN: [&str; 4] = ["HE001", "HE002", "HE004", "HE101"];

fn code_and_message(text: &[u8]) -> Vec<(&'static str, String)> {
    examine("x.yaml", text).into_iter().map(|finding| (finding.code, finding.message)).collect()
}

#[track_caller]
fn check_one(text: &[u8], code: &str, message: &str) {
    let found = code_and_message(text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, code);
    assert!(found[0].1.contains(message), "{}", found[0].1);
}

#[test]
fn what_cannot_be_read_is_said_to_be_so() {
    check_one(b"", "HE001", "the file is empty");
    check_one(b"a: [1, 2", "HE001", "not YAML or JSON");
    check_one(b"a: *b", "HE001", "not YAML or JSON");
    check_one(b"a: &a [*a]", "HE001", "an alias of itself");
    check_one(b"a: \xff", "HE001", "the byte at 3 is not UTF-8");
    check_one(b"? [a]\n: b", "HE001", "a key must be a text");
    check_one(["[".repeat(120), "]".repeat(120)].concat().as_bytes(), "HE001", "deeper than 100 levels");
    check_one(&vec![b'#'; MAX_BYTES + 1], "HE001", "more than 8388608 bytes");
    check_one(b"a: 1\n---\nb: 2", "HE003", "second document");
    check_one(b"normalizePath: 1\nnormalize_path: 2", "HE003", "`normalize_path` stands there twice");
}

#[test]
fn aliases_of_aliases_do_not_fill_the_memory() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!("a{level}: &a{level} [{alias}]\n"));
    }
    check_one(text.as_bytes(), "HE001", "more than 1000000 values");
}

#[test]
fn what_is_no_bootstrap_is_no_success() {
    check_one(b"hello", "HE002", "neither `static_resources` nor");
    check_one(b"resources: []", "HE002", "without the bootstrap");
    let istio = b"apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nspec: {}\n";
    check_one(istio, "HE002", "a Kubernetes resource (`EnvoyFilter`)");
    check_one(b"static_resources: {}", "HE101", "nothing was checked");
    check_one(b"static_resources: {clusters: []}", "HE101", "nothing was checked");
    let dynamic = code_and_message(b"dynamic_resources: {lds_config: {ads: {}}}");
    assert_eq!(dynamic.iter().map(|found| found.0).collect::<Vec<_>>(), ["HE101", "HE201"]);
}

#[test]
fn very_many_findings_are_counted() {
    let routes: String = (0..300)
        .map(|n| format!("                        - {{match: {{path: /{n}}}, route: {{cluster: approval}}}}\n"))
        .collect();
    let text = SHIPPED.replace(ROUTE, &format!("{routes}{ROUTE}"));
    let found = code_and_message(text.as_bytes());
    assert_eq!(found.len(), 201);
    assert_eq!(found[200], ("HE004", "and 100 more findings in this file".to_owned()));
}

#[test]
fn the_configuration_that_the_tests_run_is_json() {
    let config: serde_json::Value = serde_saphyr::from_str(SHIPPED).unwrap();
    for text in [config.to_string(), format!("{config:#}")] {
        assert_eq!(found(&text), []);
        assert_eq!(found(&text.replace("\"merge_slashes\"", "\"mergeSlash\""))[0].0, "HE115");
    }
}

#[test]
fn holds_may_not_outlast_what_the_proxy_waits_by_default() {
    let text = SHIPPED.replace("                stream_idle_timeout: 300s\n", "");
    assert_eq!(found(&text), []);
    let text = text.replace("\"max_wait\": \"45s\"", "\"max_wait\": \"5m\"");
    assert_eq!(found(&text), [("HE118", "value".to_owned())]);
}

#[test]
fn a_plugin_configuration_may_be_a_structure() {
    let mut config: serde_json::Value = serde_saphyr::from_str(SHIPPED).unwrap();
    let filter = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/0";
    let plugin = config.pointer_mut(&format!("{filter}/typed_config/config/configuration")).unwrap();
    let value: serde_json::Value = serde_json::from_str(plugin["value"].as_str().unwrap()).unwrap();
    *plugin = serde_json::json!({"@type": "type.googleapis.com/google.protobuf.Struct", "value": value});
    let text = format!("{config:#}");
    assert_eq!(found(&text), []);
    let wrong = found(&text.replace("\"max_wait\": \"45s\"", "\"max_wait\": \"soon\""));
    assert_eq!(wrong, [("HE123", "\"value\"".to_owned())]);
}

#[test]
fn a_cluster_that_leads_to_the_approval_service_is_known_by_its_address_and_its_parts() {
    let alias = "    - name: alias
      load_assignment:
        endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: localhost, port_value: 8002}}}}]}]
    - name: both
      cluster_type:
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig
          clusters: [upstream, alias, both]
    - name: any
      cluster_type:
        typed_config: {\"@type\": type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig}
    - name: original
      type: ORIGINAL_DST
      original_dst_lb_config: {use_http_header: true}
";
    let text = SHIPPED.replace(CLUSTERS, &format!("{alias}{CLUSTERS}"));
    for (name, code) in [("alias", "HE111"), ("both", "HE111"), ("any", "HE112"), ("original", "HE112")] {
        let text = text.replace(ACTION, &format!("                            cluster: {name}\n"));
        assert_eq!(found(&text)[0], (code, name.to_owned()));
    }
}

#[test]
fn a_guarded_address_has_no_second_way() {
    let listener = "    - name: open
      address: {socket_address: {address: 127.0.0.1, port_value: 8010}}
      filter_chains:
        - filters:
            - name: raw
              typed_config:
                \"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
                weighted_clusters: {clusters: [{name: alias, weight: 1}]}
";
    let alias = "    - name: alias
      load_assignment:
        endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: LOCALHOST, port_value: PORT}}}}]}]
";
    let text = SHIPPED.replace(LISTENERS, &format!("{listener}{LISTENERS}"));
    for (port, code) in [("8003", "HE102"), ("8009", "HE202")] {
        let alias = alias.replace("PORT", port);
        let text = text.replace(CLUSTERS, &format!("{alias}{CLUSTERS}"));
        assert_eq!(found(&text), [(code, "raw".to_owned())]);
    }
}

#[test]
fn a_dump_has_what_came_from_elsewhere() {
    let config: serde_json::Value = serde_saphyr::from_str(SHIPPED).unwrap();
    let clusters = config["static_resources"]["clusters"].as_array().unwrap();
    let mut listener = config["static_resources"]["listeners"][0].clone();
    let manager = listener.pointer_mut("/filter_chains/0/filters/0/typed_config").unwrap();
    let manager = manager.as_object_mut().unwrap();
    let routes = manager.remove("route_config").unwrap();
    manager.insert("rds".into(), serde_json::json!({"route_config_name": "agents"}));
    let filters = manager.get_mut("http_filters").unwrap();
    let filter = filters[0]["typed_config"].take();
    filters[0] = serde_json::json!({"name": "holdgate", "config_discovery": {}});
    let url = |name: &str| format!("type.googleapis.com/envoy.admin.v3.{name}");
    let dump = serde_json::json!({"configs": [
        {"@type": url("BootstrapConfigDump"), "bootstrap": {"dynamic_resources": {"lds_config": {}}}},
        {"@type": url("ClustersConfigDump"),
         "static_clusters": [{"cluster": clusters[0]}], "dynamic_active_clusters": [{"cluster": clusters[1]}]},
        {"@type": url("ListenersConfigDump"), "dynamic_listeners": [{"active_state": {"listener": listener}}]},
        {"@type": url("RoutesConfigDump"), "dynamic_route_configs": [{"route_config": routes}]},
        {"@type": url("EcdsConfigDump"), "ecds_filters": [{"ecds_filter": {"name": "holdgate", "typed_config": filter}}]},
    ]});
    let text = format!("{dump:#}");
    assert_eq!(found(&text), []);
    assert_eq!(found(&text.replace("FAIL_RELOAD", "FAIL_OPEN")), [("HE119", "\"FAIL_OPEN\"".to_owned())]);
    let without = text.replace("ecds_filters", "none");
    assert_eq!(found(&without).iter().map(|found| found.0).collect::<Vec<_>>(), ["HE102", "HE201"]);
    let routed = text.replace("\"cluster\": \"upstream\"", "\"cluster\": \"approval\"");
    assert_eq!(found(&routed)[0], ("HE111", "\"approval\"".to_owned()));
}
