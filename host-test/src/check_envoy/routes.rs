//! Routes: where requests go when Holdgate let them, and what becomes of them on the way.

use holdgate_authoring::{Quoted, Span};

use super::{
    bootstrap::DUMP,
    codes::Code,
    holdgate::Holdgate,
    manager::{check_size, check_time},
    node::Node,
    report::Report,
};

/// Where a route, or a filter that forwards connections, leads.
pub(super) struct Destination<'n> {
    pub(super) cluster: &'n str,
    pub(super) at: Span,
}

/// Fields of a route's action that rewrite what rules matched.
const REWRITES: [(&str, &str); 9] = [
    ("prefix_rewrite", "the path"),
    ("regex_rewrite", "the path"),
    ("path_rewrite_policy", "the path"),
    ("path_rewrite", "the path"),
    ("host_rewrite_literal", "the host"),
    ("auto_host_rewrite", "the host"),
    ("host_rewrite_header", "the host"),
    ("host_rewrite_path_regex", "the host"),
    ("host_rewrite", "the host"),
];

/// Headers that say how a request is read, or that only the proxy and the filter may set.
const CRITICAL: [&str; 11] = [
    ":",
    "host",
    "content-",
    "transfer-encoding",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "holdgate-",
    "x-envoy-",
    "x-forwarded-host",
];

/// Everything that a route configuration leads to.
pub(super) fn destinations<'n>(config: &'n Node) -> Vec<Destination<'n>> {
    let mut found = Vec::new();
    for route in virtual_hosts(config).iter().flat_map(|host| routes(host)) {
        for action in route.get("route").into_iter() {
            found.extend(clusters_of(action));
            found.extend(action.list("request_mirror_policies").iter().filter_map(destination("cluster")));
        }
    }
    found
}

/// The clusters that an action, or a filter of connections, forwards to.
pub(super) fn clusters_of<'n>(action: &'n Node) -> Vec<Destination<'n>> {
    let weighted = action.get("weighted_clusters").map_or(&[][..], |weighted| weighted.list("clusters"));
    let weighted = weighted.iter().filter_map(destination("name"));
    destination("cluster")(action).into_iter().chain(weighted).collect()
}

fn destination<'n>(field: &'static str) -> impl Fn(&'n Node) -> Option<Destination<'n>> {
    move |node| {
        let name = node.get(field)?;
        Some(Destination { cluster: name.text()?, at: name.span })
    }
}

/// Whether a route leads where the file does not say.
pub(super) fn is_open(config: &Node) -> bool {
    let chosen = ["cluster_header", "cluster_specifier_plugin", "inline_cluster_specifier_plugin"];
    config.get("vhds").is_some() || config.any(&mut |node| chosen.iter().any(|field| node.get(field).is_some()))
}

fn virtual_hosts(config: &Node) -> &[Node] {
    config.list("virtual_hosts")
}

/// The routes of a virtual host, those in its matcher included.
fn routes(host: &Node) -> Vec<&Node> {
    fn collect<'n>(node: &'n Node, found: &mut Vec<&'n Node>) {
        match node.typed() {
            Some((kind, route)) if kind.ends_with("route.v3.Route") => found.push(route),
            Some((kind, list)) if kind.ends_with("route.v3.RouteList") => found.extend(list.list("routes")),
            _ => {
                node.items().iter().for_each(|item| collect(item, found));
                node.members().iter().for_each(|member| collect(&member.value, found));
            }
        }
    }
    let mut found: Vec<&Node> = host.list("routes").iter().collect();
    if let Some(matcher) = host.get("matcher") {
        collect(matcher, &mut found);
    }
    found
}

/// Checks the routes of a connection manager that has Holdgate.
pub(super) fn check(config: &Node, holdgate: &Holdgate<'_>, report: &mut Report<'_>) {
    let levels = Levels { holdgate };
    if let Some(node) = config.get("vhost_header") {
        let message = "the agent chooses the virtual host by a header, whatever host its request names";
        report.add(Code::AgentChooses, node.span, message, "remove `vhost_header`");
    }
    if let Some(node) = config.get("vhds") {
        let message = "virtual hosts that come on demand (`vhds`) were not looked at";
        report.add(Code::NotLookedAt, node.span, message, DUMP);
    }
    levels.check_common(config, report);
    for host in virtual_hosts(config) {
        levels.check_common(host, report);
        levels.check_retries(host, report);
        levels.check_buffers(host, report);
        for route in routes(host) {
            levels.check_route(route, report);
        }
    }
}

struct Levels<'a, 'n> {
    holdgate: &'a Holdgate<'n>,
}

impl Levels<'_, '_> {
    fn check_route(&self, route: &Node, report: &mut Report<'_>) {
        self.check_common(route, report);
        self.check_buffers(route, report);
        if let Some(node) = route.at(&["match", "connect_matcher"]) {
            let message = "a route for CONNECT: what goes through the tunnel is not seen by any rule";
            report.add(Code::Tunnel, node.span, message, "remove the route");
        }
        if let Some(node) = route.get("filter_action") {
            let message = "what a filter does with this route was not looked at";
            report.add(Code::NotLookedAt, node.span, message, "write a `route` with a `cluster`");
        }
        let Some(action) = route.get("route") else { return };
        self.check_common(action, report);
        self.check_retries(action, report);
        self.check_rewrites(action, report);
        self.check_choice(action, report);
        check_upgrades(action.list("upgrade_configs"), report);
        self.check_times(action, report);
        let follows = action.get("internal_redirect_policy");
        let follows = follows.or_else(|| {
            action.get("internal_redirect_action").filter(|node| node.is_word("HANDLE_INTERNAL_REDIRECT", 1))
        });
        if let Some(node) = follows {
            let message = "the proxy follows redirects of the upstream: an approved request is followed by one that the upstream \
                           chose, in the agent's name";
            report.add(Code::FollowsRedirects, node.span, message, "remove it: redirects belong to the agent");
        }
        for cluster in action.get("weighted_clusters").map_or(&[][..], |weighted| weighted.list("clusters")) {
            self.check_common(cluster, report);
            self.check_rewrites(cluster, report);
            self.check_choice(cluster, report);
        }
    }

    /// What can stand at several levels: headers, mirrors, overrides of the filter.
    fn check_common(&self, level: &Node, report: &mut Report<'_>) {
        for header in level.list("request_headers_to_add") {
            if let Some(name) = header.at(&["header", "key"]) {
                check_header(name, "set", report);
            }
        }
        for name in level.list("request_headers_to_remove") {
            check_header(name, "removed", report);
        }
        for mirror in level.list("request_mirror_policies") {
            check_mirror(mirror, report);
        }
        let overrides = level.get("typed_per_filter_config").map_or(&[][..], Node::members);
        for one in overrides.iter().filter(|one| one.key == self.holdgate.name) {
            let message =
                format!("the configuration of {} is overridden here: requests can pass it unseen", Quoted(&one.key));
            let help = "remove it: rules say what passes, and a listener of its own serves what is not for agents";
            report.add(Code::SwitchedOff, one.at, message, help);
        }
    }

    fn check_retries(&self, level: &Node, report: &mut Report<'_>) {
        for (field, what) in [
            ("retry_policy", "requests that failed are sent again"),
            ("retry_policy_typed_config", "requests that failed are sent again"),
            ("hedge_policy", "requests that are slow are sent again"),
        ] {
            if let Some(node) = level.get(field) {
                check_retry(node, field, what, report);
            }
        }
    }

    fn check_buffers(&self, level: &Node, report: &mut Report<'_>) {
        let max_body = self.holdgate.settings.max_body;
        for field in ["per_request_buffer_limit_bytes", "request_body_buffer_limit"] {
            check_size(level.get(field), field, max_body.saturating_mul(2), max_body, report);
        }
    }

    fn check_rewrites(&self, action: &Node, report: &mut Report<'_>) {
        for (field, what) in REWRITES {
            let Some(node) = action.get(field) else { continue };
            if field == "auto_host_rewrite" && !node.is_yes() {
                continue;
            }
            let message = format!("`{field}` changes {what} after rules matched it and reviewers saw it");
            let help = "remove it: agents are to name what the upstream gets, or a proxy before Holdgate rewrites it";
            report.add(Code::ChangedByRoute, node.span, message, help);
        }
        if let Some(node) = action.get("append_x_forwarded_host").filter(|node| node.is_yes()) {
            let message = "`append_x_forwarded_host` adds a header after the decision";
            report.add(Code::HeadersAfter, node.span, message, "remove it");
        }
    }

    fn check_choice(&self, action: &Node, report: &mut Report<'_>) {
        if let Some(node) = action.get("cluster_header") {
            let message = format!(
                "the agent chooses the cluster by the header {}, that of the approval service not excepted",
                Quoted(node.text().unwrap_or_default())
            );
            report.add(
                Code::AgentChooses,
                node.span,
                message,
                "write `cluster: ...` with the name of the upstream's cluster",
            );
        }
        for field in ["cluster_specifier_plugin", "inline_cluster_specifier_plugin"] {
            if let Some(node) = action.get(field) {
                let message = "a plugin chooses the cluster, and was not looked at";
                report.add(
                    Code::NotLookedAt,
                    node.span,
                    message,
                    "write `cluster: ...` with the name of the upstream's cluster",
                );
            }
        }
    }

    fn check_times(&self, action: &Node, report: &mut Report<'_>) {
        let settings = &self.holdgate.settings;
        check_time(action.get("idle_timeout"), "idle_timeout", settings.max_wait, report);
        let duration = action.at(&["max_stream_duration", "max_stream_duration"]);
        check_time(duration, "max_stream_duration", settings.max_wait + settings.body_within, report);
    }
}

pub(super) fn check_retry(node: &Node, field: &str, what: &str, report: &mut Report<'_>) {
    let message = format!("{what}: only a header that Holdgate sets keeps an approval from being used twice");
    let help = format!("remove `{field}`: agents send again what they want, and Holdgate decides again");
    report.add(Code::SentAgain, node.span, message, help);
}

pub(super) fn check_mirror(mirror: &Node, report: &mut Report<'_>) {
    let message = "a copy of each request goes to another cluster: what one approval covers happens twice";
    report.add(Code::Mirrored, mirror.span, message, "remove `request_mirror_policies`");
}

/// Headers that are changed when rules have matched.
fn check_header(name: &Node, done: &str, report: &mut Report<'_>) {
    let text = name.text().unwrap_or_default();
    let lower = text.to_ascii_lowercase();
    let name_of = Quoted(text);
    if CRITICAL.iter().any(|critical| lower.starts_with(critical)) {
        let message = format!(
            "{name_of} is {done} after the decision: it says how the request is read, or what the proxy may do"
        );
        report.add(Code::ChangedByRoute, name.span, message, "remove it");
    } else {
        let message = format!("{name_of} is {done} after the decision: rules and reviewers did not see that");
        report.add(Code::HeadersAfter, name.span, message, "remove it, unless it is for the upstream alone");
    }
}

/// Upgrades that a connection manager or a route allows.
pub(super) fn check_upgrades(upgrades: &[Node], report: &mut Report<'_>) {
    for upgrade in upgrades {
        let Some(kind) = upgrade.get("upgrade_type") else { continue };
        if upgrade.get("enabled").is_some() && !upgrade.says_yes("enabled") {
            continue;
        }
        let name = kind.text().unwrap_or_default();
        if upgrade.get("connect_config").is_some() || name.to_ascii_lowercase().starts_with("connect") {
            let message = "agents can open tunnels: what goes through them is not seen by any rule";
            report.add(Code::Tunnel, kind.span, message, "remove it from `upgrade_configs`");
        } else {
            let message = format!(
                "once a connection is upgraded to {}, what agents send on it is not seen by any rule",
                Quoted(name)
            );
            let help = "remove it from `upgrade_configs`, or deny such paths to agents that need approvals";
            report.add(Code::Upgrade, kind.span, message, help);
        }
    }
}
