//! Clusters: which of them are the same behind different names, and what the approval service's must have.

use std::collections::{BTreeSet, HashMap};

use holdgate_authoring::{Quoted, Span};

use super::{bootstrap::is_loopback, codes::Code, node::Node, report::Report};

/// What Envoy's thresholds are where none are set.
const DEFAULT_THRESHOLD: u64 = 1024;

pub(super) struct Clusters<'n> {
    /// By name; the first of each, as Envoy takes no second one.
    all: HashMap<&'n str, &'n Node>,
    /// Whether others come from elsewhere.
    pub(super) are_open: bool,
}

impl<'n> Clusters<'n> {
    pub(super) fn new(all: Vec<&'n Node>, are_open: bool) -> Self {
        let named = all.into_iter().rev().filter_map(|cluster| Some((cluster.text_of("name")?, cluster)));
        Clusters { all: named.collect(), are_open }
    }

    pub(super) fn find(&self, name: &str) -> Option<&'n Node> {
        self.all.get(name).copied()
    }

    /// Where what is sent to a cluster can arrive: the clusters that it is made of, and their addresses. Two clusters
    /// that share any of it are the same to whoever sends.
    pub(super) fn reach(&self, name: &str) -> BTreeSet<String> {
        let parts = self.parts(name);
        let addresses = parts.iter().flat_map(|part| self.addresses(part));
        addresses.chain(parts.iter().map(|part| format!("cluster {part}"))).collect()
    }

    /// A cluster with those that it is made of.
    fn parts<'a>(&'a self, name: &'a str) -> Vec<&'a str> {
        let mut parts = vec![name];
        let mut next = 0;
        while let Some(part) = parts.get(next).copied() {
            next += 1;
            let of = self.find(part).and_then(|cluster| cluster.at(&["cluster_type", "typed_config"]));
            let of = of.and_then(Node::typed).filter(|(kind, _)| kind.contains(".clusters.")).map(|(_, config)| config);
            // `clusters` is a list of names (aggregate) or of messages with a name (composite).
            let names = of.map_or(&[][..], |config| config.list("clusters")).iter();
            for name in names.filter_map(|item| item.text().or_else(|| item.text_of("name"))) {
                if !parts.contains(&name) {
                    parts.push(name);
                }
            }
        }
        parts
    }

    fn addresses(&self, name: &str) -> impl Iterator<Item = String> + use<'n> {
        let assignment = self.find(name).and_then(|cluster| cluster.get("load_assignment"));
        let localities = assignment.map_or(&[][..], |assignment| assignment.list("endpoints")).iter();
        let endpoints = localities.flat_map(|locality| locality.list("lb_endpoints"));
        endpoints.filter_map(|endpoint| spelled(endpoint.at(&["endpoint", "address"])?))
    }

    /// How a cluster lets the client choose the host, if it does.
    pub(super) fn chosen_by_agents(&self, name: &str) -> Option<&'static str> {
        self.parts(name).into_iter().find_map(|part| {
            let cluster = self.find(part)?;
            let kind = cluster.at(&["cluster_type", "typed_config"]).and_then(Node::typed);
            if kind.is_some_and(|(kind, _)| kind.contains(".dynamic_forward_proxy.")) {
                return Some(
                    "it connects to the host that the request names, the approval service and the admin \
                             interface not excepted",
                );
            }
            let by_header = ["use_http_header", "http_header_name"];
            let settings = cluster.get("original_dst_lb_config");
            let by_header = settings.is_some_and(|settings| by_header.iter().any(|name| settings.get(name).is_some()));
            let original = cluster.get("type").is_some_and(|kind| kind.is_word("ORIGINAL_DST", 4));
            match (original, by_header) {
                (true, true) => Some("it connects to the address in a header of the request"),
                (true, false) => Some("it connects to the address that the agent connected to"),
                (false, _) => None,
            }
        })
    }

    /// What the cluster of the approval service needs. `at` is where the plugin configuration names it.
    pub(super) fn check_approval(&self, name: &str, at: Span, report: &mut Report<'_>) {
        let Some((cluster, place)) = self.check_trusted(name, at, &APPROVAL, report) else { return };
        let options = http_options(cluster);
        let http2 = |node: &Node| node.get("http2_protocol_options").is_some() || node.get("auto_config").is_some();
        let explicit = options.and_then(|options| options.get("explicit_http_config"));
        if !(http2(cluster) || options.is_some_and(http2) || explicit.is_some_and(http2)) {
            let message = "HTTP/1.1 to the approval service: every open question, the feed's among them, takes a connection of \
                           its own";
            let help = "write `explicit_http_config: {http2_protocol_options: {max_concurrent_streams: 100}}` in its \
                        `HttpProtocolOptions`, as envoy/envoy.yaml does";
            report.add(Code::NoHttp2, place, message, help);
        }
        check_thresholds(cluster, "holds are refused", report);
    }

    /// What the cluster of an issuer's keys needs: whoever answers there decides whose tokens count.
    pub(super) fn check_keys(&self, name: &str, at: Span, report: &mut Report<'_>) {
        self.check_trusted(name, at, &KEYS, report);
    }

    /// A cluster whose answers are believed, with the place of its name, if it is there.
    fn check_trusted(&self, name: &str, at: Span, who: &Trusted, report: &mut Report<'_>) -> Option<(&'n Node, Span)> {
        let Some(cluster) = self.find(name) else {
            if self.are_open {
                let message = format!("the cluster {} is not in this file and was not looked at", Quoted(name));
                report.add(Code::NotLookedAt, at, message, super::bootstrap::DUMP);
            } else {
                report.add(who.code, at, format!("there is no cluster {}: {}", Quoted(name), who.missing), who.add);
            }
            return None;
        };
        let place = cluster.get("name").map_or(cluster.span, |name| name.span);
        self.check_tls(name, cluster, place, who, report);
        Some((cluster, place))
    }

    /// What is believed crosses a network only where somebody showed who says it.
    fn check_tls(&self, name: &str, cluster: &Node, place: Span, who: &Trusted, report: &mut Report<'_>) {
        let local = |address: &String| address.starts_with("pipe:") || address.starts_with("127.0.0.1:");
        let addresses: Vec<String> = self.addresses(name).collect();
        if !addresses.is_empty() && addresses.iter().all(local) {
            return;
        }
        let Some(socket) = cluster.get("transport_socket") else {
            let help = "add a `transport_socket` with an `UpstreamTlsContext` and its `trusted_ca`";
            return report.add(Code::ClearText, place, who.clear, help);
        };
        let context = socket.get("typed_config").and_then(Node::typed).map_or(socket, |(_, context)| context);
        let validates = ["validation_context", "combined_validation_context", "validation_context_sds_secret_config"];
        let common = context.get("common_tls_context");
        if !common.is_some_and(|common| validates.iter().any(|name| common.get(name).is_some())) {
            let help = "write `validation_context: {trusted_ca: {filename: ...}, match_typed_subject_alt_names: [...]}` in its \
                        `common_tls_context`";
            report.add(Code::ClearText, socket.span, who.unchecked, help);
        }
    }
}

/// What is said of a cluster whose answers are believed.
struct Trusted {
    code: Code,
    /// Where it is not there, and the mend.
    missing: &'static str,
    add: &'static str,
    /// Where it is reached without TLS, and where its certificate is not checked.
    clear: &'static str,
    unchecked: &'static str,
}

const APPROVAL: Trusted = Trusted {
    code: Code::NoApproval,
    missing: "the filter cannot ask for holds, and refuses them",
    add: "add the cluster of the approval service under `static_resources.clusters`, or name the one that is there in \
          `approval.cluster`",
    clear: "the approval service is reached without TLS: the gateway's credential and the requests that are held cross the \
            network in clear text, and whoever answers is believed",
    unchecked: "the certificate of the approval service is not checked: whoever answers gets the gateway's credential and is \
                believed",
};

const KEYS: Trusted = Trusted {
    code: Code::NoKeys,
    missing: "the issuer's keys cannot be fetched, and its agents get 503",
    add: "add the cluster of the issuer under `static_resources.clusters`, or name the one that is there in `jwks.cluster`",
    clear: "an issuer's keys are fetched without TLS: whoever answers decides whose tokens count",
    unchecked: "the certificate of an issuer is not checked: whoever answers decides whose tokens count",
};

/// The limits of a cluster that holds, or those who wait to be forwarded, reach first.
pub(super) fn check_thresholds(cluster: &Node, then: &str, report: &mut Report<'_>) {
    let place = cluster.get("name").map_or(cluster.span, |name| name.span);
    let thresholds = cluster.at(&["circuit_breakers"]).map_or(&[][..], |breakers| breakers.list("thresholds"));
    let usual = |one: &&Node| one.get("priority").is_none_or(|priority| priority.is_word("DEFAULT", 0));
    let usual = thresholds.iter().find(usual);
    for name in ["max_requests", "max_pending_requests"] {
        let limit = usual.and_then(|usual| usual.get(name));
        let number = limit.map_or(Some(DEFAULT_THRESHOLD), Node::number);
        if let Some(number) = number.filter(|number| *number <= DEFAULT_THRESHOLD) {
            let (at, is) = limit.map_or((place, "where none is set"), |limit| (limit.span, "here"));
            let message = format!("`{name}` is {number} {is}: when more requests are held or approved at once, {then}");
            let help = format!("write `thresholds: [{{max_connections: 10000, {}}}]` under `circuit_breakers`", LIMITS);
            report.add(Code::FewStreams, at, message, help);
            return;
        }
    }
}

const LIMITS: &str = "max_pending_requests: 100000, max_requests: 100000";

/// The `HttpProtocolOptions` of a cluster.
pub(super) fn http_options(cluster: &Node) -> Option<&Node> {
    let options = cluster.get("typed_extension_protocol_options")?.members();
    let typed = options.iter().filter_map(|option| option.value.typed());
    typed.into_iter().find(|(kind, _)| kind.ends_with("HttpProtocolOptions")).map(|(_, options)| options)
}

/// An address as text; those of this machine are one.
pub(super) fn spelled(address: &Node) -> Option<String> {
    if let Some(path) = address.at(&["pipe", "path"]).and_then(Node::text) {
        return Some(format!("pipe:{path}"));
    }
    let socket = address.get("socket_address")?;
    let host = socket.text_of("address")?.to_ascii_lowercase();
    let host = if is_loopback(&host) { "127.0.0.1" } else { &host };
    let port = socket.text_of("port_value").or_else(|| socket.text_of("named_port")).unwrap_or_default();
    Some(format!("{host}:{port}"))
}
