//! Agents that are named by a SPIFFE ID in a client certificate, through an Envoy that accepts untrusted ones too.

use std::{net::SocketAddr, sync::Arc};

use holdgate_tests::{
    agent::Agent,
    certificates::{Authority, Certificate, self_signed},
    stack::{Edit, Options, Ports, Stack},
};
use serde_json::{Value, json};

use crate::common::{JSON_BODY, assert_problem, passed, pending_hold, roles, start_with};

const ID: &str = "spiffe://example.org/ns/iam/sa/agent-7";

/// The filter that the reference of the configuration shows, word by word.
fn shipped_lua(stack_root: &str) -> String {
    let page = std::fs::read_to_string(format!("{stack_root}/envoy/CONFIGURATION.md")).unwrap();
    let (_, from) = page.split_once("```lua\n").unwrap();
    from.split_once("```").unwrap().0.to_owned()
}

/// TLS in front of the filter, and one plain listener for each client, which Envoy itself takes to the first one by TLS with
/// that client's certificate.
fn edit(clients: Vec<(u16, Option<Certificate>)>, tls: SocketAddr, server: Certificate, trusted: String) -> Edit {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let lua = json!({
        "name": "envoy.filters.http.lua",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": {"inline_string": shipped_lua(root)},
        },
    });
    Arc::new(move |config: &mut Value| {
        let resources = &mut config["static_resources"];
        let mut listener = resources["listeners"][0].clone();
        listener["name"] = json!("mtls");
        listener["address"]["socket_address"] = json!({"address": "127.0.0.1", "port_value": tls.port()});
        let chain = &mut listener["filter_chains"][0];
        let filters = chain["filters"][0]["typed_config"]["http_filters"].as_array_mut().unwrap();
        filters.insert(0, lua.clone());
        let certificate = |certificate: &Certificate| json!([{"certificate_chain": {"inline_string": certificate.pem}, "private_key": {"inline_string": certificate.key_pem}}]);
        chain["transport_socket"] = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "disable_stateless_session_resumption": true,
                "disable_stateful_session_resumption": true,
                "common_tls_context": {
                    "tls_certificates": certificate(&server),
                    "validation_context": {
                        "trusted_ca": {"inline_string": trusted},
                        "trust_chain_verification": "ACCEPT_UNTRUSTED",
                    },
                },
            },
        });
        resources["listeners"].as_array_mut().unwrap().push(listener);
        for (index, (port, client)) in clients.iter().enumerate() {
            let name = format!("client-{index}");
            let certificates = client.as_ref().map_or(json!([]), certificate);
            resources["clusters"].as_array_mut().unwrap().push(json!({
                "name": name, "type": "STATIC",
                "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address":
                    {"socket_address": {"address": "127.0.0.1", "port_value": tls.port()}}}}]}]},
                "transport_socket": {
                    "name": "envoy.transport_sockets.tls",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                        "common_tls_context": {"tls_certificates": certificates},
                    },
                },
            }));
            resources["listeners"].as_array_mut().unwrap().push(json!({
                "name": name,
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.tcp_proxy",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                        "stat_prefix": name, "cluster": name,
                    },
                }]}],
            }));
        }
    })
}

/// A stack, and for each client the address where it has that certificate.
async fn stack(clients: Vec<Option<Certificate>>, untagged: &str) -> (Stack, Vec<SocketAddr>) {
    let authority = Authority::new(1).unwrap();
    let server = authority.issue(2, &["api.example"]).unwrap();
    let (more, tls) = (Ports::choose(None).unwrap(), Ports::choose(None).unwrap().gateway());
    let ports = [more.gateway(), more.people(), more.service(), more.upstream(), more.admin(), more.proxy()];
    let clients: Vec<_> = ports.iter().map(SocketAddr::port).zip(clients).collect();
    let spiffe = json!({"trust_domains": ["example.org"], "owner": "group/iam"});
    let plugin = json!({"identity": {"spiffe": spiffe, "untagged": untagged}});
    let edit = edit(clients, tls, server, authority.pem);
    let stack = start_with(Options { plugin, envoy: Some(edit), ..Options::default() }).await;
    (stack, ports.to_vec())
}

fn at(gateway: SocketAddr) -> Agent {
    Agent { gateway, token: String::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_counts_only_once_it_was_validated() {
    let (authority, other) = (Authority::new(1).unwrap(), Authority::new(8).unwrap());
    let clients = vec![
        Some(authority.issue(3, &[ID]).unwrap()),
        Some(self_signed(4, &[ID]).unwrap()),
        Some(other.issue(5, &[ID]).unwrap()),
        Some(authority.issue(6, &[ID, "spiffe://example.org/second"]).unwrap()),
        Some(authority.issue(7, &["spiffe://other.org/ns/iam/sa/agent-7"]).unwrap()),
        None,
    ];
    let (stack, clients) = stack(clients, "deny").await;
    let ask =
        async |client: usize| at(clients[client]).get("/iam/users").without("authorization").send().await.unwrap();
    let good = ask(0).await;
    assert!(passed(&good), "{}", good.text());
    for (client, what) in
        [(1, "self-signed"), (2, "another authority's"), (3, "two URIs"), (4, "another domain"), (5, "none")]
    {
        let answer = ask(client).await;
        assert_eq!((answer.status, answer.problem().as_str()), (401, "identity"), "{what}: {}", answer.text());
    }
    // No header says who the peer is.
    let header = format!("Hash=x;URI={ID}");
    for name in ["x-forwarded-client-cert", "holdgate-peer"] {
        let answer =
            at(clients[1]).get("/iam/users").without("authorization").header(name, &header).send().await.unwrap();
        assert_problem(&answer, 401, "identity");
    }

    // Its holds are an agent's like any other; the group that answers for it is asked.
    let alice = stack.sign_in("alice").await.unwrap();
    let target = roles("7");
    let call = at(clients[0]).post(&target, JSON_BODY).without("authorization");
    let waiting = tokio::spawn(call.send());
    pending_hold(&alice, &target).await;
    assert!(alice.pending().await.unwrap().iter().any(|hold| hold.to_string().contains(ID)));
    waiting.abort();

    // A token decides, where there is one: a good one of another agent, and a bad one.
    let token = stack.agent().token;
    let with = async |client: usize, token: &str| {
        at(clients[client])
            .get("/iam/users")
            .without("authorization")
            .header("authorization", &format!("Bearer {token}"))
            .send()
            .await
            .unwrap()
    };
    assert!(passed(&with(1, &token).await));
    assert_problem(&with(0, "x.y.z").await, 401, "identity");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_rules_for_nobody_are_asked_if_that_is_wanted() {
    let (stack, clients) = stack(vec![None, Some(self_signed(4, &[ID]).unwrap())], "evaluate").await;
    for client in &clients[..2] {
        let answer = at(*client).get("/iam/users").without("authorization").send().await.unwrap();
        assert!(!passed(&answer), "the shipped policy allows agents only");
        assert_problem(&answer, 403, "denied");
    }
    assert!(stack.passes_routine().await);
}
