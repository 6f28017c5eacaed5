//! All that one file has: a bootstrap, or what a running proxy dumps of itself.

use holdgate_authoring::{Quoted, Span};

use super::{clusters::Clusters, codes::Code, node::Node, report::Report};

/// The parts of a configuration, wherever the file has them.
pub(super) struct Bootstrap<'n> {
    /// The place of the whole.
    pub(super) at: Span,
    pub(super) listeners: Vec<&'n Node>,
    pub(super) clusters: Clusters<'n>,
    /// Route configurations that listeners name (RDS).
    route_configs: Vec<&'n Node>,
    /// Filters that listeners name (ECDS).
    extensions: Vec<&'n Node>,
    /// The bootstrap message itself.
    message: Option<&'n Node>,
    /// Whether the file is a dump, so that it has what came from a management server.
    is_dump: bool,
}

impl<'n> Bootstrap<'n> {
    /// Collects the parts; `None` where the file is something else, which is reported.
    pub(super) fn read(root: &'n Node, report: &mut Report<'_>) -> Option<Self> {
        if !root.list("configs").is_empty() {
            return Some(Bootstrap::of_dump(root));
        }
        if root.get("static_resources").is_none() && root.get("dynamic_resources").is_none() {
            report_other(root, report);
            return None;
        }
        let statics = root.get("static_resources");
        let list = |name| statics.map_or(&[][..], |statics| statics.list(name)).iter().collect::<Vec<_>>();
        Some(Bootstrap {
            at: root.span,
            listeners: list("listeners"),
            clusters: Clusters::new(list("clusters"), root.at(&["dynamic_resources"]).is_some_and(has_clusters)),
            route_configs: Vec::new(),
            extensions: Vec::new(),
            message: Some(root),
            is_dump: false,
        })
    }

    /// What the admin interface shows under `/config_dump`.
    fn of_dump(root: &'n Node) -> Self {
        let configs = root.list("configs");
        let dumps = |name: &'static str| {
            let is_it = move |config: &&Node| config.text_of("@type").is_some_and(|url| url.ends_with(name));
            configs.iter().filter(is_it)
        };
        let parts = |dump: &'static str, places: &[(&'static str, &[&str])]| -> Vec<&'n Node> {
            let of = |config: &'n Node| {
                let items = places.iter().map(|(list, way)| config.list(list).iter().filter_map(|item| item.at(way)));
                items.flatten().collect::<Vec<_>>()
            };
            dumps(dump).flat_map(of).collect()
        };
        let listeners = [
            ("static_listeners", &["listener"][..]),
            ("dynamic_listeners", &["active_state", "listener"]),
            ("dynamic_listeners", &["warming_state", "listener"]),
        ];
        let clusters = [
            ("static_clusters", &["cluster"][..]),
            ("dynamic_active_clusters", &["cluster"]),
            ("dynamic_warming_clusters", &["cluster"]),
        ];
        Bootstrap {
            at: root.span,
            listeners: parts("ListenersConfigDump", &listeners),
            clusters: Clusters::new(parts("ClustersConfigDump", &clusters), false),
            route_configs: parts("RoutesConfigDump", &[("dynamic_route_configs", &["route_config"])]),
            extensions: parts("EcdsConfigDump", &[("ecds_filters", &["ecds_filter"])]),
            message: dumps("BootstrapConfigDump").find_map(|dump| dump.get("bootstrap")),
            is_dump: true,
        }
    }

    /// A route configuration that comes from elsewhere, where the file has it.
    pub(super) fn route_config(&self, name: &str) -> Option<&'n Node> {
        self.route_configs.iter().find(|config| config.text_of("name") == Some(name)).copied()
    }

    /// A filter that comes from elsewhere, where the file has it.
    pub(super) fn extension(&self, name: &str) -> Option<&'n Node> {
        self.extensions.iter().find(|extension| extension.text_of("name") == Some(name)).copied()
    }

    pub(super) fn admin(&self) -> Option<&'n Node> {
        self.message?.get("admin")
    }

    /// Checks what stands beside listeners and clusters.
    pub(super) fn check(&self, report: &mut Report<'_>) {
        if let Some(address) = self.admin().and_then(|admin| admin.get("address")) {
            check_admin(address, report);
        }
        let Some(message) = self.message else { return };
        if let Some(dynamic) = message.get("dynamic_resources").filter(|_| !self.is_dump) {
            for (field, what) in [
                ("lds_config", "listeners"),
                ("cds_config", "clusters"),
                ("lds_resources_locator", "listeners"),
                ("cds_resources_locator", "clusters"),
            ] {
                if let Some(node) = dynamic.get(field) {
                    let message =
                        format!("the {what} that come by `{field}` are not in this file and were not looked at");
                    report.add(Code::NotLookedAt, node.span, message, DUMP);
                }
            }
        }
        for layer in message.at(&["layered_runtime"]).map_or(&[][..], |runtime| runtime.list("layers")) {
            check_runtime(layer, report);
        }
    }
}

/// How to have all of it looked at.
pub(super) const DUMP: &str =
    "check what the proxy runs, too: `curl -s localhost:ADMIN_PORT/config_dump > dump.json`, then this command on it";

fn has_clusters(dynamic: &Node) -> bool {
    dynamic.get("cds_config").is_some() || dynamic.get("cds_resources_locator").is_some()
}

/// Says what a file is that is no bootstrap.
fn report_other(root: &Node, report: &mut Report<'_>) {
    let kind = root.text_of("kind").filter(|_| root.get("apiVersion").is_some());
    let (at, message, help) = if let Some(kind) = kind {
        let at = root.get("kind").map_or(root.span, |kind| kind.span);
        let message = format!(
            "a Kubernetes resource ({}): what proxies make of it depends on everything else in the cluster, so nothing in \
             it was checked",
            Quoted(kind)
        );
        let help = "check what a proxy runs: `kubectl exec POD -c istio-proxy -- pilot-agent request GET config_dump > \
                    dump.json` (Istio), or its admin interface's `/config_dump` (Envoy Gateway), then this command on it";
        (at, message, help)
    } else if root.get("resources").is_some() {
        let message =
            "a list of resources for a proxy, without the bootstrap that they belong to: nothing in it was checked";
        (root.span, message.to_owned(), DUMP)
    } else {
        let message = "not a bootstrap of Envoy: it has neither `static_resources` nor `dynamic_resources`";
        let help = "name a file that `envoy -c` takes, such as envoy/envoy.yaml, or a `/config_dump`";
        (root.span, message.to_owned(), help)
    };
    report.add(Code::NotABootstrap, at, message, help);
}

fn check_admin(address: &Node, report: &mut Report<'_>) {
    let socket = address.get("socket_address");
    let Some(host) = socket.and_then(|socket| socket.get("address")) else { return };
    if !host.text().is_some_and(is_loopback) {
        let message = format!(
            "the admin interface listens on {}: whoever reaches it can stop the proxy, change its runtime and read its \
             configuration",
            Quoted(host.text().unwrap_or_default())
        );
        report.add(
            Code::AdminReachable,
            host.span,
            message,
            "write `address: 127.0.0.1`, or a `pipe` for its owner only",
        );
    }
}

/// Layers that may take back what newer versions of Envoy refuse or normalise.
fn check_runtime(layer: &Node, report: &mut Report<'_>) {
    for (field, from) in [("rtds_layer", "a management server"), ("disk_layer", "files")] {
        if let Some(node) = layer.get(field) {
            let message =
                format!("runtime values come from {from} and were not looked at: they can switch safeguards off");
            let help = "leave the layer out, or let nobody but the proxy's owner write there";
            report.add(Code::NotLookedAt, node.span, message, help);
        }
    }
    let values = layer.get("static_layer").map_or(&[][..], Node::members);
    for value in values {
        let guard = ["envoy.", "http_connection_manager.", "overload.", "re2."];
        let nested = ["envoy", "http_connection_manager"];
        if guard.iter().any(|prefix| value.key.starts_with(prefix)) || nested.contains(&value.key.as_str()) {
            let message = format!("the runtime value {} changes what Envoy refuses or normalises", Quoted(&value.key));
            let help = "leave it out: the filter is tested with Envoy's own values";
            report.add(Code::RuntimeOverride, value.at, message, help);
        }
    }
}

/// Whether connections to an address, or from it, stay on the machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let ip = host.parse::<std::net::IpAddr>();
    ip.map_or(host == "localhost", |ip| ip.to_canonical().is_loopback())
}
