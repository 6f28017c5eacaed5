//! Listeners, routes and clusters.

use super::{ACTION, CLUSTERS, Case, HOST, LISTENER, LISTENERS, MANAGER, ROUTE, ROUTES};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "bytes forwarded to the upstream, in the spelling of JSON",
        old: LISTENERS,
        new: "    - name: raw
      address: {socket_address: {address: 127.0.0.1, port_value: 8010}}
      filterChains:
        - filters:
            - name: raw-tcp
              typedConfig:
                \"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
                statPrefix: raw
                cluster: upstream
{old}",
        found: &[("HE102", "raw-tcp")],
    },
    Case {
        name: "a listener without the filter that leads elsewhere",
        old: LISTENERS,
        new: "    - name: open
      address: {socket_address: {address: 127.0.0.1, port_value: 8010}}
      filter_chains:
        - filters:
            - name: open-http
              typed_config:
                \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: open
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: [\"*\"]
                      routes: [{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: other, weight: 1}]}}}]
                http_filters:
                  - name: router
                    typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
{old}",
        found: &[("HE202", "open-http")],
    },
    Case {
        name: "an answer of the proxy's own needs no filter",
        old: LISTENERS,
        new: "    - name: health
      address: {socket_address: {address: 127.0.0.1, port_value: 8010}}
      filter_chains:
        - filters:
            - name: health-http
              typed_config:
                \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: health
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: [\"*\"]
                      routes: [{match: {prefix: /}, direct_response: {status: 200}}]
                http_filters:
                  - name: router
                    typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
{old}",
        found: &[],
    },
    Case {
        name: "agents on a network without TLS",
        old: "{address: 127.0.0.1, port_value: 8000}",
        new: "{address: 0.0.0.0, port_value: 8000}",
        found: &[("HE208", "0.0.0.0")],
    },
    Case { name: "no buffer limit", old: LISTENER, new: "", found: &[("HE117", "agents")] },
    Case {
        name: "a buffer limit of one body",
        old: LISTENER,
        new: "      per_connection_buffer_limit_bytes: 1048576\n",
        found: &[("HE117", "1048576")],
    },
    Case {
        name: "a listener inside the proxy",
        old: LISTENERS,
        new: "    - name: inside\n      internal_listener: {}\n{old}",
        found: &[("HE201", "internal_listener")],
    },
    // The connection manager.
    Case {
        name: "no normalisation",
        old: "                normalize_path: true\n                merge_slashes: true\n                path_with_escaped_slashes_action: REJECT_REQUEST\n",
        new: "",
        found: &[
            ("HE115", "envoy.filters.network.http_connection_manager"),
            ("HE115", "envoy.filters.network.http_connection_manager"),
            ("HE115", "envoy.filters.network.http_connection_manager"),
        ],
    },
    Case { name: "no is false", old: "normalize_path: true", new: "normalize_path: no", found: &[("HE115", "no")] },
    Case { name: "camel case is read", old: "merge_slashes: true", new: "mergeSlashes: On", found: &[] },
    Case {
        name: "escaped slashes kept, by number",
        old: "path_with_escaped_slashes_action: REJECT_REQUEST",
        new: "path_with_escaped_slashes_action: 1",
        found: &[("HE115", "1")],
    },
    Case {
        name: "headers with underscores",
        old: "headers_with_underscores_action: REJECT_REQUEST",
        new: "headers_with_underscores_action: ALLOW",
        found: &[("HE116", "ALLOW")],
    },
    Case {
        name: "two lengths, HTTP/1.0, methods of any name, no absolute targets",
        old: MANAGER,
        new: "{old}                http_protocol_options:
                  allow_chunked_length: true
                  accept_http_10: true
                  allow_custom_methods: true
                  allow_absolute_url: false
",
        found: &[("HE116", "true"), ("HE212", "true"), ("HE212", "true"), ("HE212", "false")],
    },
    Case {
        name: "continue from the upstream",
        old: MANAGER,
        new: "{old}                proxy_100_continue: true\n",
        found: &[("HE212", "true")],
    },
    Case {
        name: "addresses by header",
        old: "use_remote_address: true",
        new: "use_remote_address: false",
        found: &[("HE211", "false")],
    },
    Case {
        name: "everybody is internal",
        old: "internal_address_config: {unix_sockets: false}",
        new: "internal_address_config: {unix_sockets: true, cidr_ranges: [{address_prefix: 0.0.0.0, prefix_len: 0}]}",
        found: &[("HE211", "true"), ("HE211", "cidr_ranges")],
    },
    Case {
        name: "certificates that agents write",
        old: MANAGER,
        new: "{old}                forward_client_cert_details: APPEND_FORWARD\n",
        found: &[("HE211", "APPEND_FORWARD")],
    },
    Case {
        name: "small windows",
        old: "initial_stream_window_size: 2097152",
        new: "initial_stream_window_size: 65535",
        found: &[("HE117", "65535")],
    },
    Case {
        name: "tunnels by extended CONNECT",
        old: "                http2_protocol_options:\n                  # A stream's window",
        new: "                http2_protocol_options:\n                  allow_connect: true\n                  # A stream's window",
        found: &[("HE114", "true")],
    },
    Case {
        name: "a silence shorter than a hold",
        old: "stream_idle_timeout: 300s",
        new: "stream_idle_timeout: 45s",
        found: &[("HE118", "45s")],
    },
    Case {
        name: "time for the request that ends on hold",
        old: "request_timeout: 0s",
        new: "request_timeout: 30.5s",
        found: &[("HE118", "30.5s")],
    },
    Case {
        name: "a stream that ends on hold",
        old: "                  idle_timeout: 3600s\n",
        new: "{old}                  max_stream_duration: 20s\n",
        found: &[("HE118", "20s")],
    },
    Case {
        name: "one key in two blocks",
        old: MANAGER,
        new: "{old}                commonHttpProtocolOptions: {headers_with_underscores_action: ALLOW}\n",
        found: &[("HE003", "common_http_protocol_options")],
    },
    Case {
        name: "answers rewritten",
        old: MANAGER,
        new: "{old}                local_reply_config: {body_format: {text_format_source: {inline_string: sorry}}}\n",
        found: &[("HE214", "local_reply_config")],
    },
    Case {
        name: "an upgrade with filters of its own",
        old: MANAGER,
        new: "{old}                upgrade_configs:
                  - upgrade_type: websocket
                    filters:
                      - name: router
                        typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
",
        found: &[("HE213", "websocket"), ("HE104", "filters")],
    },
    Case {
        name: "upgrades that are not allowed",
        old: MANAGER,
        new: "{old}                upgrade_configs: [{upgrade_type: websocket, enabled: false}]\n",
        found: &[],
    },
    Case {
        name: "tunnels for the whole listener",
        old: MANAGER,
        new: "{old}                upgrade_configs: [{upgrade_type: CONNECT}]\n",
        found: &[("HE114", "CONNECT")],
    },
    // Routes.
    Case {
        name: "routes from elsewhere",
        old: "                route_config:\n",
        new: "                rds: {route_config_name: agents, config_source: {ads: {}}}\n                !ignore route_config:\n",
        found: &[("HE201", "rds")],
    },
    Case {
        name: "virtual hosts by header and on demand",
        old: ROUTES,
        new: "                  vhost_header: x-tenant\n                  vhds: {config_source: {ads: {}}}\n{old}",
        found: &[("HE112", "x-tenant"), ("HE201", "vhds")],
    },
    Case {
        name: "headers after the decision",
        old: ROUTES,
        new: "                  request_headers_to_add: [{header: {key: x-team, value: a}}, {header: {key: x-envoy-max-retries, value: '3'}}]\n                  request_headers_to_remove: [cookie]\n{old}",
        found: &[("HE206", "x-team"), ("HE108", "x-envoy-max-retries"), ("HE206", "cookie")],
    },
    Case {
        name: "the filter switched off for a virtual host",
        old: HOST,
        new: "{old}                      typed_per_filter_config:
                        holdgate:
                          \"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig
                          disabled: true
",
        found: &[("HE103", "holdgate")],
    },
    Case {
        name: "retries, hedges, mirrors and buffers of a virtual host",
        old: HOST,
        new: "{old}                      retry_policy: {retry_on: 5xx}
                      hedge_policy: {hedge_on_per_try_timeout: true}
                      request_mirror_policies: [{cluster: upstream}]
                      request_body_buffer_limit: '1000'
",
        found: &[
            ("HE110", "retry_policy"),
            ("HE110", "hedge_policy"),
            ("HE109", "cluster"),
            ("HE117", "'1000'"),
        ],
    },
    Case {
        name: "a mirror to the approval service",
        old: ACTION,
        new: "{old}                            request_mirror_policies: [{cluster: approval}]\n",
        found: &[("HE109", "cluster"), ("HE111", "approval")],
    },
    Case { name: "a route to the approval service", old: ACTION, new: "                            cluster: approval\n", found: &[("HE111", "approval")] },
    Case {
        name: "some requests to the approval service",
        old: ACTION,
        new: "                            weighted_clusters: {clusters: [{name: upstream, weight: 9}, {name: approval, weight: 1}]}\n",
        found: &[("HE111", "approval")],
    },
    Case {
        name: "a route in a matcher",
        old: HOST,
        new: "{old}                      matcher:
                        on_no_match:
                          action:
                            name: route
                            typed_config:
                              \"@type\": type.googleapis.com/envoy.config.route.v3.Route
                              match: {prefix: /}
                              route: {cluster: approval}
",
        found: &[("HE111", "approval")],
    },
    Case {
        name: "a cluster by header",
        old: ACTION,
        new: "                            cluster_header: x-cluster\n",
        found: &[("HE112", "x-cluster")],
    },
    Case {
        name: "paths and hosts rewritten",
        old: ACTION,
        new: "{old}                            prefix_rewrite: /v2/\n                            host_rewrite_header: x-host\n",
        found: &[("HE108", "/v2/"), ("HE108", "x-host")],
    },
    Case {
        name: "the host of the upstream",
        old: ACTION,
        new: "{old}                            auto_host_rewrite: true\n                            append_x_forwarded_host: true\n",
        found: &[("HE108", "true"), ("HE206", "true")],
    },
    Case {
        name: "hosts that stay as they are",
        old: ACTION,
        new: "{old}                            auto_host_rewrite: false\n",
        found: &[],
    },
    Case {
        name: "retries and redirects of a route",
        old: ACTION,
        new: "{old}                            retry_policy: {retry_on: connect-failure, num_retries: 1}\n                            internal_redirect_policy: {max_internal_redirects: 1}\n",
        found: &[("HE110", "retry_policy"), ("HE215", "internal_redirect_policy")],
    },
    Case {
        name: "a route's timeouts",
        old: ACTION,
        new: "{old}                            idle_timeout: 30s\n                            max_stream_duration: {max_stream_duration: 60s}\n",
        found: &[("HE118", "30s"), ("HE118", "60s")],
    },
    Case {
        name: "a route for CONNECT",
        old: ROUTE,
        new: "                        - match: {connect_matcher: {}}
                          route: {cluster: upstream, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}
{old}",
        found: &[("HE114", "connect_matcher"), ("HE114", "CONNECT")],
    },
    Case {
        name: "an anchor that hides a rewrite",
        old: ROUTE,
        new: "                        - match: {prefix: /x}
                          route: &to {cluster: upstream, prefix_rewrite: /y}
                        - match: {prefix: /z}
                          route: *to
{old}",
        found: &[("HE108", "/y")],
    },
    Case {
        name: "what Envoy ignores",
        old: MANAGER,
        new: "{old}                !ignore proxy_100_continue: true\n",
        found: &[],
    },
    Case {
        name: "merge keys",
        old: ACTION,
        new: "                            <<: {cluster: approval}\n",
        found: &[("HE003", "<<")],
    },
    // Clusters.
    Case {
        name: "the approval service by another name, and as a part",
        old: CLUSTERS,
        new: "    - name: tools
      connect_timeout: 1s
      lb_policy: CLUSTER_PROVIDED
      cluster_type:
        name: envoy.clusters.aggregate
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig
          clusters: [upstream, upstream-2]
    - name: upstream-2
      load_assignment:
        cluster_name: upstream-2
        endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 8002}}}}]}]
{old}",
        // No route leads there.
        found: &[],
    },
    Case {
        name: "no limits at the upstream",
        old: "      circuit_breakers:\n        # Many held",
        new: "      !ignore circuit_breakers:\n        # Many held",
        found: &[("HE210", "upstream")],
    },
    Case {
        name: "mirrors, retries and filters of a cluster",
        old: CLUSTERS,
        new: "      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {http_protocol_options: {}}
          request_mirror_policies: [{cluster: upstream}]
          retry_policy: {retry_on: 5xx}
          http_filters:
            - name: mutate
              typed_config:
                \"@type\": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
            - name: codec
              typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec}
{old}",
        found: &[("HE109", "cluster"), ("HE110", "retry_policy"), ("HE106", "mutate")],
    },
    Case {
        name: "no cluster of the approval service",
        old: "    - name: approval\n",
        new: "    - name: approvals\n",
        found: &[("HE124", "value")],
    },
    Case {
        name: "the approval service without TLS",
        old: "{address: 127.0.0.1, port_value: 8002}",
        new: "{address: approval.internal, port_value: 8002}",
        found: &[("HE208", "approval")],
    },
    Case {
        name: "a certificate that nobody checks",
        old: "{address: 127.0.0.1, port_value: 8002}     # SET\n",
        new: "{address: 10.0.0.7, port_value: 8002}
      transport_socket:
        name: tls
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
          sni: approval.internal
",
        found: &[("HE208", "transport_socket")],
    },
    Case {
        name: "HTTP/1.1 to the approval service",
        old: "          explicit_http_config:\n            http2",
        new: "          explicit_http_config: {http_protocol_options: {}}\n          !ignore explicit:\n            http2",
        found: &[("HE209", "approval")],
    },
    // What stands beside them.
    Case {
        name: "the admin interface for everybody",
        old: "{address: 127.0.0.1, port_value: 8004}",
        new: "{address: 0.0.0.0, port_value: 8004}",
        found: &[("HE113", "0.0.0.0")],
    },
    Case {
        name: "a route to the admin interface",
        old: "{address: 127.0.0.1, port_value: 8003}",
        new: "{address: '::1', port_value: 8004}",
        found: &[("HE113", "upstream")],
    },
    Case {
        name: "safeguards switched off, and layers from elsewhere",
        old: "static_resources:\n",
        new: "layered_runtime:
  layers:
    - {name: base, static_layer: {envoy.reloadable_features.reject_path_with_fragment: false, health_check.min_interval: 5}}
    - {name: disk, disk_layer: {symlink_root: /srv/runtime}}
{old}",
        found: &[("HE216", "envoy.reloadable_features.reject_path_with_fragment"), ("HE201", "disk_layer")],
    },
    Case {
        name: "more listeners and clusters from elsewhere",
        old: "static_resources:\n",
        new: "dynamic_resources: {lds_config: {ads: {}}, cds_config: {path_config_source: {path: cds.yaml}}}\n{old}",
        found: &[("HE201", "lds_config"), ("HE201", "cds_config")],
    },
];
