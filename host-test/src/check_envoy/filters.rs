//! The filters around Holdgate.

use holdgate_authoring::Quoted;

use super::{
    bootstrap::{Bootstrap, DUMP},
    codes::Code,
    holdgate::{self, Holdgate},
    node::Node,
    report::Report,
};

/// What a filter can do to a request that was decided.
#[derive(Clone, Copy)]
enum Effect {
    /// It changes what rules look at.
    Changes,
    /// It adds or removes headers.
    Headers,
    /// It can answer, or delay, or only look.
    Looks,
}

use Effect::{Changes, Headers, Looks};

/// Envoy's filters by the segment that names them in their type.
const EFFECTS: [(&str, Effect, &str); 57] = [
    ("adaptive_concurrency", Looks, "it can refuse a request"),
    ("admission_control", Looks, "it can refuse a request"),
    ("alternate_protocols_cache", Looks, "it reads answers"),
    ("api_key_auth", Headers, "it can remove the key, and add the client's name"),
    ("aws_lambda", Changes, "it makes a call of a function out of the request"),
    ("aws_request_signing", Headers, "it sets `authorization`, and can rewrite the host"),
    ("bandwidth_limit", Looks, "it delays bodies"),
    ("basic_auth", Headers, "it can add the user's name"),
    ("buffer", Looks, "it waits for the body once more, and can refuse it"),
    ("cache", Looks, "it can answer"),
    ("cache_v2", Looks, "it can answer"),
    ("cdn_loop", Headers, "it adds `cdn-loop`"),
    ("composite", Changes, "it runs filters that are chosen while the request passes"),
    ("compressor", Changes, "it compresses the body"),
    ("connect_grpc_bridge", Changes, "it rewrites the body and its type"),
    ("cors", Looks, "it can answer"),
    ("credential_injector", Headers, "it sets a credential"),
    ("csrf", Looks, "it can refuse a request"),
    ("custom_response", Looks, "it replaces answers, and can send the request elsewhere"),
    ("decompressor", Changes, "it unpacks the body"),
    ("dynamic_forward_proxy", Changes, "it can rewrite the host, and resolves it"),
    ("dynamic_modules", Changes, "its code can do anything"),
    ("ext_authz", Changes, "the service that it asks can set and remove headers and query parameters"),
    ("ext_proc", Changes, "the service that it asks can replace headers and body"),
    ("fault", Looks, "it can refuse and delay a request"),
    ("file_system_buffer", Looks, "it waits for the body once more, and can refuse it"),
    ("filter_chain", Changes, "it runs filters that routes choose"),
    ("gcp_authn", Headers, "it sets a token"),
    ("geoip", Headers, "it adds where the agent is"),
    ("golang", Changes, "its code can do anything"),
    ("grpc_field_extraction", Looks, "it reads the body"),
    ("grpc_http1_bridge", Changes, "it rewrites the body and its type"),
    ("grpc_http1_reverse_bridge", Changes, "it rewrites the body and its type"),
    ("grpc_json_reverse_transcoder", Changes, "it rewrites method, path and body"),
    ("grpc_json_transcoder", Changes, "it rewrites method, path and body"),
    ("grpc_stats", Looks, "it counts messages"),
    ("grpc_web", Changes, "it rewrites the body and its type"),
    ("header_mutation", Changes, "it sets and removes headers and query parameters"),
    ("header_to_metadata", Headers, "it can remove the headers that it reads"),
    ("health_check", Looks, "it can answer"),
    ("ip_tagging", Headers, "it adds tags"),
    ("json_to_metadata", Looks, "it reads the body"),
    ("jwt_authn", Headers, "it can refuse a request, remove its token and add claims"),
    ("kill_request", Looks, "it lets a request end the proxy"),
    ("local_ratelimit", Looks, "it can refuse a request"),
    ("lua", Changes, "its script can do anything"),
    ("mcp_router", Changes, "it rewrites MCP messages and chooses who gets them"),
    ("oauth2", Headers, "it can answer, and sets tokens"),
    ("on_demand", Looks, "it waits for routes"),
    ("rate_limit_quota", Looks, "it can refuse a request"),
    ("ratelimit", Looks, "it can refuse a request, and add headers"),
    ("rbac", Looks, "it can refuse a request"),
    ("set_filter_state", Looks, "it sets properties"),
    ("set_metadata", Looks, "it sets properties"),
    ("tap", Looks, "it records requests"),
    ("transform", Changes, "it rewrites headers and body"),
    ("wasm", Changes, "its code can do anything"),
];

/// Checks the filters of a connection manager that has Holdgate, in the order in which requests meet them.
pub(super) fn check(bootstrap: &Bootstrap<'_>, filters: &[Node], holdgates: &[Holdgate<'_>], report: &mut Report<'_>) {
    let mut seen: Option<&Holdgate<'_>> = None;
    for filter in filters {
        if let Some(holdgate) = holdgates.iter().find(|holdgate| std::ptr::eq(holdgate.filter, filter)) {
            if let Some(first) = seen {
                let message = format!("Holdgate stands here after {}: a request is decided twice", Quoted(first.name));
                report.add(Code::Twice, holdgate.at, message, "keep one of them");
            }
            seen = Some(holdgate);
        } else if seen.is_some() {
            check_after(bootstrap, filter, report);
        } else if let Some(first) = holdgates.first() {
            check_discovery(bootstrap, filter, report);
            check_before(filter, first, report);
        }
        check_vm(filter, holdgates, report);
    }
}

/// Filters that run when Holdgate has decided; the router is the last of them.
pub(super) fn check_after(bootstrap: &Bootstrap<'_>, filter: &Node, report: &mut Report<'_>) {
    let at = filter.get("name").map_or(filter.span, |name| name.span);
    let name = Quoted(filter.text_of("name").unwrap_or_default());
    let before = "move it before Holdgate, so that what is decided is what the upstream gets";
    let filter = match discovered(bootstrap, filter) {
        Some(found) => found,
        None if filter.get("config_discovery").is_some() => return check_discovery(bootstrap, filter, report),
        None => filter,
    };
    let Some(kind) = kind(filter) else {
        let message = format!("nothing tells what the filter {name} after Holdgate is");
        return report.add(Code::UnknownFilter, at, message, before);
    };
    match kind.as_str() {
        "router" => {
            let message = filter.get("typed_config").and_then(Node::typed).map(|(_, message)| message);
            for filter in message.map_or(&[][..], |router| router.list("upstream_http_filters")) {
                check_after(bootstrap, filter, report);
            }
            return;
        }
        "upstream_codec" => return,
        _ => {}
    }
    let mut row = EFFECTS.iter().find(|(name, ..)| *name == kind).copied();
    if kind == "compressor" && !compresses_requests(filter) {
        row = Some(("compressor", Looks, "it compresses answers"));
    }
    match row {
        Some((_, Changes, does)) => {
            let message = format!("{name} comes after Holdgate, and {does}: the upstream gets what nobody approved");
            report.add(Code::ChangedAfter, at, message, before);
        }
        Some((_, Headers, does)) => {
            let message = format!("{name} comes after Holdgate, and {does}: rules and reviewers did not see that");
            report.add(Code::HeadersAfter, at, message, "move it before Holdgate, unless it is for the upstream alone");
        }
        Some((_, Looks, does)) => {
            let message = format!("{name} comes after Holdgate, and {does}: an approval can be used up without effect");
            report.add(Code::Between, at, message, "move it before Holdgate, which belongs directly before the router");
        }
        None => {
            let message =
                format!("{name} (`{kind}`) comes after Holdgate, and it is not known what it does to requests");
            report.add(Code::UnknownFilter, at, message, before);
        }
    }
}

/// What an entry stands for that names a filter from elsewhere (ECDS), where the file has it.
pub(super) fn discovered<'n>(bootstrap: &Bootstrap<'n>, filter: &Node) -> Option<&'n Node> {
    filter.get("config_discovery")?;
    bootstrap.extension(filter.text_of("name")?)
}

pub(super) fn check_discovery(bootstrap: &Bootstrap<'_>, filter: &Node, report: &mut Report<'_>) {
    if filter.get("config_discovery").is_some() && discovered(bootstrap, filter).is_none() {
        let at = filter.get("name").map_or(filter.span, |name| name.span);
        let name = Quoted(filter.text_of("name").unwrap_or_default());
        let message = format!("what the filter {name} does comes from elsewhere and was not looked at");
        report.add(Code::NotLookedAt, at, message, DUMP);
    }
}

/// Filters that run before Holdgate: what they change is what Holdgate sees, but some make it see nothing.
fn check_before(filter: &Node, holdgate: &Holdgate<'_>, report: &mut Report<'_>) {
    let at = filter.get("name").map_or(filter.span, |name| name.span);
    let name = Quoted(filter.text_of("name").unwrap_or_default());
    let header = holdgate.settings.header.as_str();
    let kind = kind(filter).unwrap_or_default();
    match kind.as_str() {
        "cache" | "cache_v2" => {
            let message = format!(
                "{name} comes before Holdgate: what one agent was allowed to read is given to others from memory, unseen"
            );
            report.add(Code::AnsweredBefore, at, message, "remove it, or move it behind Holdgate");
        }
        "jwt_authn" if removes_token(filter, header) => {
            let message = format!("{name} comes before Holdgate and removes the token: agents are unknown to Holdgate");
            report.add(Code::TakesIdentity, at, message, "write `forward: true` in each of its `providers`");
        }
        "credential_injector" | "gcp_authn" | "aws_request_signing" if header == "authorization" => {
            let message =
                format!("{name} comes before Holdgate and sets `authorization`: every agent looks the same to it");
            report.add(Code::TakesIdentity, at, message, "move it behind Holdgate");
        }
        _ => {}
    }
}

/// Other code whose VM has the same name shares the memory in which the filter keeps its policy.
fn check_vm(filter: &Node, holdgates: &[Holdgate<'_>], report: &mut Report<'_>) {
    let Some(id) = holdgate::plugin(filter).and_then(|plugin| plugin.at(&["vm_config", "vm_id"])) else { return };
    let same = |other: &Holdgate<'_>| other.plugin.at(&["vm_config", "vm_id"]).and_then(Node::text) == id.text();
    if !holdgates.iter().any(|holdgate| std::ptr::eq(holdgate.filter, filter)) && holdgates.iter().any(same) {
        let message =
            "other code with the `vm_id` of Holdgate can write the shared data in which Holdgate keeps its policy";
        report.add(Code::SharedVm, id.span, message, "write a `vm_id` of its own");
    }
}

/// Filters that contain Holdgate and run it where a matcher says so.
pub(super) fn check_conditions(filters: &[Node], report: &mut Report<'_>) -> bool {
    let mut found = false;
    for filter in filters {
        let mut inner = |node: &Node| node.get("typed_config").is_some() && Holdgate::recognise(node).is_some();
        if Holdgate::recognise(filter).is_none() && filter.any(&mut inner) {
            found = true;
            let at = filter.get("name").map_or(filter.span, |name| name.span);
            let message = "Holdgate runs only for requests that a matcher chooses; all others pass unseen";
            let help = "put Holdgate itself into `http_filters`, and let its rules choose";
            report.add(Code::Conditional, at, message, help);
        }
    }
    found
}

/// The segment that names a filter in its type, or in its name where the type does not tell.
pub(super) fn kind(filter: &Node) -> Option<String> {
    let (kind, _) = filter.get("typed_config").and_then(Node::typed)?;
    if kind.ends_with("ExtensionWithMatcher") || kind.ends_with("ExtensionWithMatcherPerRoute") {
        return Some("composite".to_owned());
    }
    let name = filter.text_of("name").unwrap_or_default();
    let segment = |text: &str| {
        let (_, rest) = text.split_once("filters.http.")?;
        Some(rest.split('.').next().unwrap_or_default().to_owned())
    };
    segment(kind).or_else(|| segment(name))
}

fn compresses_requests(filter: &Node) -> bool {
    let message = filter.get("typed_config").and_then(Node::typed).map(|(_, message)| message);
    message.is_some_and(|message| message.get("request_direction_config").is_some())
}

/// Whether some provider takes the token out of the header that Holdgate reads.
fn removes_token(filter: &Node, header: &str) -> bool {
    let message = filter.get("typed_config").and_then(Node::typed).map(|(_, message)| message);
    let providers = message.and_then(|message| message.get("providers")).map_or(&[][..], Node::members);
    providers.iter().map(|provider| &provider.value).any(|provider| {
        let headers = provider.list("from_headers");
        let reads = |one: &Node| one.text_of("name").is_some_and(|name| name.eq_ignore_ascii_case(header));
        let default = headers.is_empty() && header == "authorization";
        !provider.says_yes("forward") && (default || headers.iter().any(reads))
    })
}
