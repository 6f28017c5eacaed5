//! Agents that are named by certificates, and issuers whose keys are fetched: what takes more than one edit.

use super::{CLUSTERS, FIRST_FILTER, SHIPPED, found};

/// What these tests show.
pub(super) const SHOWN: [&str; 1] = ["HE126"];

const HEADER: &str = "\"header\": \"authorization\"";
const CHAINS: &str = "        - filters:\n";
const VALIDATES: &str = "        - transport_socket:
            name: tls
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
              common_tls_context: {validation_context: {trusted_ca: {filename: ca.pem}}}
          filters:
";

fn with_script(script: &str) -> Vec<(&'static str, String)> {
    let spiffe = format!("\"spiffe\": {{\"trust_domains\": [\"example.org\"]}}, {HEADER}");
    let lua = format!(
        "                  - name: certificates
                    typed_config:
                      \"@type\": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
                      default_source_code: {script}
{FIRST_FILTER}"
    );
    let edits = [(HEADER, spiffe.as_str()), (FIRST_FILTER, &lua), (CHAINS, VALIDATES)];
    found(&edits.iter().fold(SHIPPED.to_owned(), |text, (old, new)| {
        assert_eq!(text.matches(old).count(), 1, "`{old}`");
        text.replace(old, new)
    }))
}

/// The script of the reference is the one that is looked for.
#[test]
fn a_script_before_the_filter_asks_whether_a_certificate_was_validated() {
    let reference = include_str!("../../../../envoy/CONFIGURATION.md");
    let script = reference.split_once("```lua\n").unwrap().1.split_once("```").unwrap().0;
    let inline = |script: &str| format!("{{inline_string: {}}}", serde_json::to_string(script).unwrap());
    let of = |script: &str| with_script(script).into_iter().map(|(code, _)| code).collect::<Vec<_>>();
    assert_eq!(with_script(&inline(script)), []);
    let blind = script.replace("tls:peerCertificateValidated()", "tls:peerCertificatePresented()");
    assert_eq!(with_script(&inline(&blind)), [("HE126", "certificates".to_owned())]);
    assert_eq!(of("{filename: peer.lua}"), ["HE201"]);
    // Another script is no answer to the question.
    assert_eq!(of(&inline("function envoy_on_request(request) end")), ["HE219"]);
}

/// Whoever answers for an issuer decides whose tokens count.
#[test]
fn the_cluster_of_an_issuers_keys_is_looked_at_like_that_of_the_approval_service() {
    let (before, pinned) = SHIPPED.split_once("\"jwks\": {\"keys\": [{").unwrap();
    let (_, behind) = pinned.split_once("}]}").unwrap();
    let place = "\"jwks\": {\"cluster\": \"idp\", \"authority\": \"idp.example\", \"path\": \"/jwks\"}";
    let fetched = [before, place, behind].concat();
    let of = |address: &str, more: &str| {
        let cluster = format!(
            "    - name: idp\n      load_assignment:\n        endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: \
             {{address: {address}, port_value: 443}}}}}}}}]}}]\n{more}{CLUSTERS}"
        );
        found(&fetched.replace(CLUSTERS, &cluster))
    };
    assert_eq!(of("127.0.0.1", ""), []);
    assert_eq!(of("idp.example", ""), [("HE208", "idp".to_owned())]);
    let tls = |context: &str| {
        let kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
        of(
            "idp.example",
            &format!("      transport_socket: {{name: tls, typed_config: {{\"@type\": {kind}{context}}}}}\n"),
        )
    };
    assert_eq!(tls("").iter().map(|(code, _)| *code).collect::<Vec<_>>(), ["HE208"]);
    assert_eq!(tls(", common_tls_context: {validation_context: {trusted_ca: {filename: ca.pem}}}"), []);
}
