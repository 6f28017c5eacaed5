//! The HTTP connection manager around Holdgate: how it reads requests, and how long it waits.

use holdgate_authoring::{Quoted, Span};

use super::{bootstrap::Bootstrap, codes::Code, holdgate::Settings, node::Node, report::Report};

/// A setting that must be, or must not be, what it is.
struct Setting {
    way: &'static [&'static str],
    wrong: fn(Option<&Node>) -> bool,
    code: Code,
    message: &'static str,
    help: &'static str,
}

const SETTINGS: [Setting; 15] = [
    Setting {
        way: &["normalize_path"],
        wrong: is_not_true,
        code: Code::PathReadings,
        message: "`/a/../b` reaches routes and filters as it is: they read another path than the upstream may",
        help: "write `normalize_path: true`",
    },
    Setting {
        way: &["merge_slashes"],
        wrong: is_not_true,
        code: Code::PathReadings,
        message: "`//a` reaches routes and filters as it is: they read another path than the upstream may",
        help: "write `merge_slashes: true`",
    },
    Setting {
        way: &["path_with_escaped_slashes_action"],
        wrong: |node| {
            node.is_none_or(|node| node.is_word("KEEP_UNCHANGED", 1) || node.number() == Some(0) || is_default(node))
        },
        code: Code::PathReadings,
        message: "`/a%2Fb` reaches routes and filters as it is: they read another path than the upstream may",
        help: "write `path_with_escaped_slashes_action: REJECT_REQUEST`",
    },
    Setting {
        way: &["path_normalization_options"],
        wrong: |node| node.is_some(),
        code: Code::PathReadings,
        message: "filters can get another path than the upstream",
        help: "remove it, and write `normalize_path: true` and `merge_slashes: true`",
    },
    Setting {
        way: &["common_http_protocol_options", "headers_with_underscores_action"],
        wrong: |node| node.is_none_or(|node| !node.is_word("REJECT_REQUEST", 1) && !node.is_word("DROP_HEADER", 2)),
        code: Code::HeaderReadings,
        message: "headers with `_` arrive: upstreams that take `_` for `-` read a header that no rule looked at",
        help: "write `common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}`",
    },
    Setting {
        way: &["http_protocol_options", "allow_chunked_length"],
        wrong: is_true,
        code: Code::HeaderReadings,
        message: "requests may have two lengths (`content-length` and `transfer-encoding`): another server on the way may \
                  read a second request in the body of the first",
        help: "remove `allow_chunked_length`",
    },
    Setting {
        way: &["http_protocol_options", "accept_http_10"],
        wrong: is_true,
        code: Code::ProtocolOption,
        message: "HTTP/1.0 requests may lack a host: rules about hosts see the default one",
        help: "remove `accept_http_10`",
    },
    Setting {
        way: &["http_protocol_options", "allow_absolute_url"],
        wrong: |node| node.is_some() && !is_true(node),
        code: Code::ProtocolOption,
        message: "a target with scheme and host stays as it is: the filter refuses such requests",
        help: "remove `allow_absolute_url`, so that Envoy takes the host out of the target",
    },
    Setting {
        way: &["http_protocol_options", "allow_custom_methods"],
        wrong: is_true,
        code: Code::ProtocolOption,
        message: "methods may have any name: rules that list methods do not match them",
        help: "remove `allow_custom_methods`",
    },
    Setting {
        way: &["proxy_100_continue"],
        wrong: is_true,
        code: Code::ProtocolOption,
        message: "the upstream is to answer `Expect: 100-continue`, and the filter waits for the body before it lets the request \
                  go there: such requests stall",
        help: "remove `proxy_100_continue`, so that Envoy answers",
    },
    Setting {
        way: &["typed_header_validation_config"],
        wrong: |node| node.is_some(),
        code: Code::NotLookedAt,
        message: "an extension reads paths and headers in place of Envoy's own settings, and was not looked at",
        help: "remove it, or see to it that it normalises paths and refuses `_` in the names of headers",
    },
    Setting {
        way: &["use_remote_address"],
        wrong: is_not_true,
        code: Code::TrustsAgents,
        message: "the address of an agent is what it says in `x-forwarded-for`, and its `x-envoy-*` headers count as the proxy's",
        help: "write `use_remote_address: true`, and `xff_num_trusted_hops` where proxies of your own stand before this one",
    },
    Setting {
        way: &["internal_address_config", "unix_sockets"],
        wrong: is_true,
        code: Code::TrustsAgents,
        message: "whoever connects by a Unix socket counts as internal: `x-envoy-*` headers are believed",
        help: "write `internal_address_config: {unix_sockets: false}`",
    },
    Setting {
        way: &["internal_address_config", "cidr_ranges"],
        wrong: |node| node.is_some_and(|node| !node.items().is_empty()),
        code: Code::TrustsAgents,
        message: "agents with these addresses count as internal: their `x-envoy-*` headers are believed",
        help: "write `internal_address_config: {unix_sockets: false}`, so that nobody is internal",
    },
    Setting {
        way: &["forward_client_cert_details"],
        wrong: |node| {
            let believes = [("FORWARD_ONLY", 1), ("APPEND_FORWARD", 2), ("ALWAYS_FORWARD_ONLY", 4)];
            node.is_some_and(|node| believes.iter().any(|(word, number)| node.is_word(word, *number)))
        },
        code: Code::TrustsAgents,
        message: "what an agent writes into `x-forwarded-client-cert` is sent on: upstreams take it for somebody else",
        help: "write `forward_client_cert_details: SANITIZE_SET`, or leave it out",
    },
];

/// Checks the settings of a connection manager against the first filter of ours in it.
pub(super) fn check(manager: &Node, at: Span, settings: &Settings, report: &mut Report<'_>) {
    for Setting { way, wrong, code, message, help } in &SETTINGS {
        let node = manager.at(way);
        if wrong(node) {
            report.add(*code, node.map_or(at, |node| node.span), message, help);
        }
    }
    check_times(manager, settings, report);
    for (options, field) in [
        ("http2_protocol_options", "initial_stream_window_size"),
        ("http2_protocol_options", "initial_connection_window_size"),
    ] {
        let node = manager.at(&[options, field]);
        check_size(node, field, settings.max_body, settings.max_body, report);
    }
    for (options, field) in
        [("http2_protocol_options", "allow_connect"), ("http3_protocol_options", "allow_extended_connect")]
    {
        if let Some(node) = manager.get(options).filter(|node| node.says_yes(field)).and_then(|node| node.get(field)) {
            let message = "agents can open tunnels (RFC 8441): what goes through them is not seen by any rule";
            report.add(Code::Tunnel, node.span, message, format!("remove `{field}`"));
        }
    }
    if let Some(reply) = manager.get("local_reply_config").filter(|reply| !reply.members().is_empty()) {
        let message = "the filter's own answers are local replies: what tells agents that a request is held, and where to ask, is \
                       rewritten";
        let help = "remove it, or give each mapper a filter that leaves answers with `application/problem+json` alone";
        report.add(Code::RewritesAnswers, reply.span, message, help);
    }
}

/// Timeouts that go on counting while a request is held.
fn check_times(manager: &Node, settings: &Settings, report: &mut Report<'_>) {
    check_time(manager.get("stream_idle_timeout"), "stream_idle_timeout", settings.max_wait, report);
    // Counts until a filter lets the whole request go on: the time for the body, and the time on hold.
    let whole = settings.max_wait + settings.body_within;
    check_time(manager.get("request_timeout"), "request_timeout", whole, report);
    let duration = manager.at(&["common_http_protocol_options", "max_stream_duration"]);
    check_time(duration, "max_stream_duration", whole, report);
    if manager.get("stream_idle_timeout").is_none() && settings.max_wait >= 300_000 {
        let message =
            "`max_wait` is longer than the default of `stream_idle_timeout` (300s): held requests are cut off";
        let help = format!("write `stream_idle_timeout: {}s`", settings.max_wait / 1000 + 60);
        report.add(Code::CutOff, settings.cluster_at, message, help);
    }
}

/// A timeout that must be longer than this many milliseconds, or off.
pub(super) fn check_time(node: Option<&Node>, name: &str, hold: u64, report: &mut Report<'_>) {
    let Some((node, time)) = node.and_then(|node| Some((node, node.milliseconds()?))) else { return };
    if time > 0 && time <= hold {
        let message = format!(
            "`{name}` counts while a request is held, and {} is not longer than the {}s that this may take: held requests are \
             cut off",
            Quoted(node.text().unwrap_or_default()),
            hold / 1000
        );
        report.add(Code::CutOff, node.span, message, format!("write `{name}: {}s`, or `0s`", hold / 1000 + 60));
    }
}

/// A size in bytes that must be at least this; `null` and nothing are left to Envoy, whose default is large enough.
pub(super) fn check_size(node: Option<&Node>, name: &str, least: u64, max_body: u64, report: &mut Report<'_>) {
    let Some((node, size)) = node.and_then(|node| Some((node, node.number()?))) else { return };
    if size < least {
        too_small(node.span, &format!("`{name}` is {size}"), name, least, max_body, report);
    }
}

/// Envoy answers 413, or stalls, while the filter still waits for the body.
pub(super) fn too_small(at: Span, is: &str, name: &str, least: u64, max_body: u64, report: &mut Report<'_>) {
    let message =
        format!("{is}: bodies of up to `max_body` ({max_body} bytes) do not fit while the filter waits for them");
    report.add(Code::SmallBuffer, at, message, format!("write `{name}: {least}` or more, or lower `max_body`"));
}

/// The route configurations of a manager, and the place of those that the file does not have.
pub(super) fn route_configs<'n>(bootstrap: &Bootstrap<'n>, manager: &'n Node) -> (Vec<&'n Node>, Vec<Span>) {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    found.extend(manager.get("route_config"));
    let mut wanted: Vec<(Option<&Node>, Span)> = Vec::new();
    wanted.extend(manager.get("rds").map(|rds| (rds.get("route_config_name"), rds.span)));
    if let Some(scoped) = manager.get("scoped_routes") {
        let scopes = scoped.get("scoped_route_configurations_list");
        for scope in scopes.map_or(&[][..], |scopes| scopes.list("scoped_route_configurations")) {
            match scope.get("route_configuration") {
                Some(config) => found.push(config),
                None => wanted.push((scope.get("route_configuration_name"), scope.span)),
            }
        }
        missing.extend(scoped.get("scoped_rds").map(|dynamic| dynamic.span));
    }
    for (name, at) in wanted {
        match name.and_then(|name| bootstrap.route_config(name.text()?)) {
            Some(config) => found.push(config),
            None => missing.push(at),
        }
    }
    (found, missing)
}

fn is_true(node: Option<&Node>) -> bool {
    node.is_some_and(|node| node.is_yes())
}

fn is_not_true(node: Option<&Node>) -> bool {
    !is_true(node)
}

fn is_default(node: &Node) -> bool {
    node.text() == Some("IMPLEMENTATION_SPECIFIC_DEFAULT")
}
