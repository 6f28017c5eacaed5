//! The filter, and those around it.

use super::{Case, FIRST_FILTER, ROUTER};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "the filter is not there",
        old: "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        new: "type.googleapis.com/envoy.extensions.filters.http.tap.v3.Tap",
        found: &[("HE102", "envoy.filters.network.http_connection_manager")],
    },
    Case {
        name: "switched off, or left out where it is not known",
        old: FIRST_FILTER,
        new: "                  - name: holdgate\n                    disabled: yes\n                    is_optional: true\n                    typed_config:\n",
        found: &[("HE103", "yes"), ("HE103", "true")],
    },
    Case {
        name: "twice",
        old: ROUTER,
        new: "                  - name: holdgate-2
                    typed_config:
                      \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
                      config: {root_id: holdgate}
{old}",
        found: &[
            ("HE207", "holdgate-2"),
            ("HE120", "holdgate-2"),
            ("HE121", "holdgate-2"),
            ("HE123", "holdgate-2"),
            ("HE218", "holdgate-2"),
        ],
    },
    Case {
        name: "open where it fails",
        old: "failure_policy: FAIL_RELOAD",
        new: "failure_policy: FAIL_OPEN",
        found: &[("HE119", "FAIL_OPEN")],
    },
    Case {
        name: "open where it fails, by number",
        old: "failure_policy: FAIL_RELOAD",
        new: "failurePolicy: 3",
        found: &[("HE119", "3")],
    },
    Case {
        name: "open where it fails, in the old way",
        old: "failure_policy: FAIL_RELOAD",
        new: "fail_open: true",
        found: &[("HE119", "true")],
    },
    Case {
        name: "closed for ever",
        old: "failure_policy: FAIL_RELOAD",
        new: "failure_policy: FAIL_CLOSED",
        found: &[("HE207", "FAIL_CLOSED")],
    },
    Case {
        name: "no bodies",
        old: "allow_on_headers_stop_iteration: true",
        new: "allow_on_headers_stop_iteration: false",
        found: &[("HE120", "false")],
    },
    Case {
        name: "no credential",
        old: "host_env_keys: [HOLDGATE_GATEWAY_CREDENTIAL]",
        new: "host_env_keys: [HOME]",
        found: &[("HE121", "environment_variables")],
    },
    Case {
        name: "a credential that is shown",
        old: "host_env_keys: [HOLDGATE_GATEWAY_CREDENTIAL]",
        new: "key_values: {HOLDGATE_GATEWAY_CREDENTIAL: s3cret, LEVEL: info}",
        found: &[("HE122", "HOLDGATE_GATEWAY_CREDENTIAL")],
    },
    Case {
        name: "a private key where public ones belong",
        old: "\"kid\": \"example-grants\",",
        new: "\"kid\": \"example-grants\", \"d\": \"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A\",",
        found: &[("HE122", "value")],
    },
    Case {
        name: "a credential in the plugin configuration",
        old: "\"group\": \"edge\",",
        new: "\"group\": \"edge\", \"credential\": \"s3cret\",",
        found: &[("HE122", "value")],
    },
    Case {
        name: "a member that is not there",
        old: "\"group\": \"edge\",",
        new: "\"group\": \"edge\", \"fail_open\": true,",
        found: &[("HE123", "value")],
    },
    Case {
        name: "a value that the filter refuses",
        old: "\"max_wait\": \"45s\"",
        new: "\"max_wait\": \"soon\"",
        found: &[("HE123", "value")],
    },
    Case {
        name: "the way of another host to await a body",
        old: "\"on_stale\": \"deny\"",
        new: "\"on_stale\": \"deny\", \"host\": \"ngx-wasm\"",
        found: &[("HE120", "value")],
    },
    Case {
        name: "certificates of which nobody says whether they were validated",
        old: "\"header\": \"authorization\"",
        new: "\"spiffe\": {\"trust_domains\": [\"example.org\"]}, {old}",
        found: &[("HE219", "filters"), ("HE219", "holdgate")],
    },
    Case {
        name: "an issuer's keys from a cluster that is not there",
        old: "\"jwks\": {\"keys\": [{\"kty\": \"OKP\", \"crv\": \"Ed25519\", \"kid\": \"example-agents\",
                                                     \"x\": \"aW_l9jnCfl4wVb-tvGuki1G47Xr2eTp4nY7c3DepRJg\"}]}",
        new: "\"jwks\": {\"cluster\": \"idp\", \"authority\": \"idp.example\", \"path\": \"/jwks\"}",
        found: &[("HE125", "value")],
    },
    Case {
        name: "longer holds than the proxy waits",
        old: "\"max_wait\": \"45s\"",
        new: "\"max_wait\": \"10m\"",
        found: &[("HE118", "300s")],
    },
    Case {
        name: "larger bodies than the proxy keeps",
        old: "\"max_body\": 1048576",
        new: "\"max_body\": 4194304",
        found: &[("HE117", "2097152"), ("HE117", "2097152")],
    },
    Case {
        name: "a configuration that is no text",
        old: "type.googleapis.com/google.protobuf.StringValue",
        new: "type.googleapis.com/google.protobuf.Empty",
        found: &[("HE123", "configuration")],
    },
    Case {
        name: "filters after it",
        old: ROUTER,
        new: "                  - name: script
                    typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}
                  - name: other
                    typed_config:
                      \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
                      config: {name: other, vm_config: {vm_id: holdgate}}
                  - name: unpack
                    typed_config:
                      \"@type\": type.googleapis.com/udpa.type.v1.TypedStruct
                      type_url: type.googleapis.com/envoy.extensions.filters.http.decompressor.v3.Decompressor
                  - name: limits
                    typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit}
                  - name: where
                    typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.geoip.v3.Geoip}
                  - name: answers
                    typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor}
                  - name: requests
                    typed_config:
                      \"@type\": type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor
                      request_direction_config: {}
                  - name: ours
                    typed_config: {\"@type\": type.googleapis.com/example.filters.http.ours.v3.Ours}
                  - name: elsewhere
                    config_discovery: {config_source: {ads: {}}, type_urls: [a]}
{old}",
        found: &[
            ("HE106", "script"),
            ("HE106", "other"),
            ("HE217", "holdgate"),
            ("HE106", "unpack"),
            ("HE203", "limits"),
            ("HE206", "where"),
            ("HE203", "answers"),
            ("HE106", "requests"),
            ("HE204", "ours"),
            ("HE201", "elsewhere"),
        ],
    },
    Case {
        name: "filters of the router",
        old: "\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router\n",
        new: "{old}                      upstream_http_filters:
                        - name: mutate
                          typed_config:
                            \"@type\": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
",
        found: &[("HE106", "mutate")],
    },
    Case {
        name: "filters before it",
        old: FIRST_FILTER,
        new: "                  - name: memory
                    typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.cache.v3.CacheConfig}
                  - name: tokens
                    typed_config:
                      \"@type\": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
                      providers: {idp: {issuer: a}}
                  - name: kept
                    typed_config:
                      \"@type\": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
                      providers: {idp: {issuer: a, forward: true}}
                  - name: cloud
                    typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.gcp_authn.v3.GcpAuthnFilterConfig}
                  - name: script
                    typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}
{old}",
        found: &[("HE107", "memory"), ("HE205", "tokens"), ("HE205", "cloud")],
    },
    Case {
        name: "only for some requests",
        old: FIRST_FILTER,
        new: "                  - name: sometimes
                    typed_config:
                      \"@type\": type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher
                      xds_matcher: {}
                      extension_config:
                        name: inner
                        typed_config:
                          \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
                          config: {root_id: holdgate}
                  - name: recorded
                    typed_config:
                      \"@type\": type.googleapis.com/envoy.extensions.filters.http.tap.v3.Tap
                  - name: envoy.filters.http.router
                    typed_config:
                      \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
                !ignore http_filters:
{old}",
        found: &[("HE105", "sometimes")],
    },
];
