//! Listeners: which of them have Holdgate, and what the others lead to.

use std::collections::BTreeSet;

use holdgate_authoring::{Quoted, Span};

use super::{
    bootstrap::{Bootstrap, DUMP, is_loopback},
    certificates,
    clusters::{check_thresholds, http_options, spelled},
    codes::Code,
    filters,
    holdgate::Holdgate,
    manager,
    node::Node,
    report::Report,
    routes::{self, Destination},
};

/// Filters of connections that forward what they get, by the segment that names them in their type.
const FORWARDERS: [&str; 9] = [
    "dubbo_proxy",
    "generic_proxy",
    "kafka_mesh",
    "redis_proxy",
    "rocketmq_proxy",
    "sip_proxy",
    "tcp_proxy",
    "thrift_proxy",
    "udp_proxy",
];

/// What Envoy buffers of a connection where a listener does not say it.
const DEFAULT_BUFFER: u64 = 1024 * 1024;

/// A filter of connections that leads on.
struct Entry<'n> {
    listener: &'n Node,
    at: Span,
    kind: Kind<'n>,
    leads_to: Vec<Destination<'n>>,
    /// Whether it leads where the file does not say.
    is_open: bool,
}

enum Kind<'n> {
    Http {
        manager: &'n Node,
        configs: Vec<&'n Node>,
        missing: Vec<Span>,
        holdgates: Vec<Holdgate<'n>>,
    },
    /// It forwards bytes.
    Raw(&'static str),
}

/// Checks all listeners against one another.
pub(super) fn check(bootstrap: &Bootstrap<'_>, report: &mut Report<'_>) {
    let mut entries = Vec::new();
    for listener in &bootstrap.listeners {
        collect(bootstrap, listener, &mut entries, report);
    }
    if !entries.iter().any(|entry| matches!(entry.kind, Kind::Http { .. })) {
        let message =
            "no listener for HTTP in this file: there is nothing that Holdgate could guard, and nothing was checked";
        report.add(Code::NothingGuarded, bootstrap.at, message, DUMP);
    }
    let clusters = &bootstrap.clusters;
    let approvals =
        entries.iter().flat_map(Entry::holdgates).filter_map(|holdgate| holdgate.settings.cluster.as_deref());
    let approvals = approvals.flat_map(|name| clusters.reach(name)).collect();
    let guarded: BTreeSet<&str> = entries.iter().filter(|entry| entry.is_guarded()).flat_map(Entry::clusters).collect();
    let beyond = guarded.iter().flat_map(|name| clusters.reach(name)).collect();
    let guarded_reach = entries.iter().any(Entry::is_guarded).then_some(beyond);
    for entry in &entries {
        check_destinations(bootstrap, entry, &approvals, report);
        match &entry.kind {
            Kind::Http { manager, configs, missing, holdgates } => match holdgates.first() {
                Some(first) => check_guarded(bootstrap, entry, manager, (configs, missing), holdgates, first, report),
                None => check_way_past(bootstrap, entry, guarded_reach.as_ref(), report),
            },
            Kind::Raw(_) => check_way_past(bootstrap, entry, guarded_reach.as_ref(), report),
        }
    }
    for name in guarded {
        if let Some(cluster) = bootstrap.clusters.find(name) {
            check_upstream(bootstrap, cluster, report);
        }
    }
}

impl<'n> Entry<'n> {
    fn holdgates(&self) -> &[Holdgate<'n>] {
        if let Kind::Http { holdgates, .. } = &self.kind { holdgates } else { &[] }
    }

    fn is_guarded(&self) -> bool {
        !self.holdgates().is_empty()
    }

    fn clusters(&self) -> impl Iterator<Item = &'n str> {
        self.leads_to.iter().map(|destination| destination.cluster)
    }

    fn name(&self) -> &'n str {
        self.listener.text_of("name").unwrap_or("without a name")
    }
}

/// All filters of a listener that lead on.
fn collect<'n>(bootstrap: &Bootstrap<'n>, listener: &'n Node, entries: &mut Vec<Entry<'n>>, report: &mut Report<'_>) {
    if let Some(internal) = listener.get("internal_listener") {
        let message = "a listener inside the proxy: what becomes of requests behind it was not looked at";
        let help = "let the clusters of agents' routes lead to the upstream itself";
        return report.add(Code::NotLookedAt, internal.span, message, help);
    }
    if let Some(dynamic) = listener.get("fcds_config") {
        report.add(
            Code::NotLookedAt,
            dynamic.span,
            "filter chains that come by `fcds_config` were not looked at",
            DUMP,
        );
    }
    let chains = listener.list("filter_chains").iter().chain(listener.get("default_filter_chain"));
    let filters = chains.flat_map(|chain| chain.list("filters")).chain(listener.list("listener_filters"));
    for filter in filters {
        let at = filter.get("name").map_or(filter.span, |name| name.span);
        if filter.get("config_discovery").is_some() {
            report.add(Code::NotLookedAt, at, "what this filter does comes from elsewhere and was not looked at", DUMP);
        }
        if let Some((kind, config)) = filter.get("typed_config").and_then(Node::typed) {
            entries.extend(entry(bootstrap, listener, at, kind, config, report));
        }
    }
    let api = listener.at(&["api_listener", "api_listener"]);
    if let Some((kind, config)) = api.and_then(Node::typed) {
        entries.extend(entry(bootstrap, listener, config.span, kind, config, report));
    }
}

fn entry<'n>(
    bootstrap: &Bootstrap<'n>,
    listener: &'n Node,
    at: Span,
    kind: &str,
    config: &'n Node,
    report: &mut Report<'_>,
) -> Option<Entry<'n>> {
    if kind.ends_with(".HttpConnectionManager") {
        let (configs, missing) = manager::route_configs(bootstrap, config);
        let leads_to = configs.iter().flat_map(|config| routes::destinations(config)).collect();
        let is_open = !missing.is_empty() || configs.iter().any(|config| routes::is_open(config));
        let holdgates = filters_of(bootstrap, config, report);
        let kind = Kind::Http { manager: config, configs, missing, holdgates };
        return Some(Entry { listener, at, kind, leads_to, is_open });
    }
    let forwards = FORWARDERS.into_iter().find(|name| kind.split('.').any(|segment| segment == *name))?;
    let mut leads_to = routes::clusters_of(config);
    clusters_below(config, &mut leads_to);
    Some(Entry { listener, at, kind: Kind::Raw(forwards), leads_to, is_open: false })
}

/// The filters of ours; one that comes from elsewhere is looked up.
fn filters_of<'n>(bootstrap: &Bootstrap<'n>, manager: &'n Node, report: &mut Report<'_>) -> Vec<Holdgate<'n>> {
    let mut found = Vec::new();
    for filter in manager.list("http_filters") {
        found.extend(Holdgate::recognise(filter));
        found.extend(filters::discovered(bootstrap, filter).and_then(|extension| Holdgate::of(filter, extension)));
    }
    if found.is_empty() {
        manager.list("http_filters").iter().for_each(|filter| filters::check_discovery(bootstrap, filter, report));
    }
    found
}

/// Clusters that filters of connections name deeper down, as in routes of their own.
fn clusters_below<'n>(node: &'n Node, found: &mut Vec<Destination<'n>>) {
    for inner in node.items().iter().chain(node.members().iter().map(|member| &member.value)) {
        found.extend(routes::clusters_of(inner));
        clusters_below(inner, found);
    }
}

/// What no agent is to reach, with or without Holdgate.
fn check_destinations(
    bootstrap: &Bootstrap<'_>,
    entry: &Entry<'_>,
    approvals: &BTreeSet<String>,
    report: &mut Report<'_>,
) {
    let clusters = &bootstrap.clusters;
    let admin = bootstrap.admin().and_then(|admin| spelled(admin.get("address")?));
    for Destination { cluster, at } in &entry.leads_to {
        let name = Quoted(cluster);
        let reach = clusters.reach(cluster);
        if !reach.is_disjoint(approvals) {
            let message = format!("{name} leads to the approval service: agents can send it what only the filter may");
            let help = "remove the route; agents ask for their tasks at `/.well-known/holdgate/tasks/`, which the filter answers";
            report.add(Code::ApprovalReachable, *at, message, help);
        }
        if admin.as_ref().is_some_and(|admin| reach.contains(admin)) {
            let message =
                format!("{name} leads to the admin interface: agents can stop the proxy and change its runtime");
            report.add(Code::AdminReachable, *at, message, "remove the route");
        }
        if let Some(why) = clusters.chosen_by_agents(cluster) {
            let message = format!("the agent chooses where {name} leads: {why}");
            report.add(Code::AgentChooses, *at, message, "name a cluster with addresses of its own");
        }
    }
}

/// A listener without Holdgate. `guarded` is what the others lead to that have it; `None` where none has.
fn check_way_past(
    bootstrap: &Bootstrap<'_>,
    entry: &Entry<'_>,
    guarded: Option<&BTreeSet<String>>,
    report: &mut Report<'_>,
) {
    // Found already, with better words.
    if let Kind::Http { manager, .. } = entry.kind
        && filters::check_conditions(manager.list("http_filters"), report)
    {
        return;
    }
    let listener = Quoted(entry.name());
    let how = match entry.kind {
        Kind::Http { .. } => "has no Holdgate in its `http_filters`".to_owned(),
        Kind::Raw(name) => format!("forwards connections by `{name}`, without HTTP filters"),
    };
    let leads_there = |to: &&str| guarded.is_some_and(|guarded| !bootstrap.clusters.reach(to).is_disjoint(guarded));
    let past = entry.clusters().collect::<BTreeSet<_>>().into_iter().find(leads_there);
    if let Some(cluster) = past {
        let message = format!(
            "the listener {listener} {how}, and leads to {}, which Holdgate guards elsewhere: whoever connects here is not checked",
            Quoted(cluster)
        );
        let help = "remove the listener or that route, or put Holdgate before its router";
        report.add(Code::WayPast, entry.at, message, help);
    } else if guarded.is_none() && (entry.is_open || !entry.leads_to.is_empty()) {
        let message = format!("the listener {listener} {how}: no request is checked");
        let help =
            "put the filter before the router, as envoy/envoy.yaml does; check that it is enabled and named `holdgate`";
        report.add(Code::WayPast, entry.at, message, help);
    } else if entry.is_open || !entry.leads_to.is_empty() {
        let message = format!("the listener {listener} {how}: what it leads to is not checked");
        let help = "put Holdgate before its router, or let no agent reach this listener";
        report.add(Code::Unguarded, entry.at, message, help);
    }
}

fn check_guarded(
    bootstrap: &Bootstrap<'_>,
    entry: &Entry<'_>,
    manager: &Node,
    (configs, missing): (&[&Node], &[Span]),
    holdgates: &[Holdgate<'_>],
    first: &Holdgate<'_>,
    report: &mut Report<'_>,
) {
    for holdgate in holdgates {
        holdgate.check(report);
        if let Some(cluster) = &holdgate.settings.cluster {
            bootstrap.clusters.check_approval(cluster, holdgate.settings.cluster_at, report);
        }
        for cluster in &holdgate.settings.key_clusters {
            bootstrap.clusters.check_keys(cluster, holdgate.settings.cluster_at, report);
        }
    }
    filters::check(bootstrap, manager.list("http_filters"), holdgates, report);
    certificates::check(manager.list("http_filters"), entry.listener, first, report);
    manager::check(manager, entry.at, &first.settings, report);
    check_upgrade_chains(manager, report);
    for at in missing {
        report.add(
            Code::NotLookedAt,
            *at,
            "the routes of this listener are not in this file and were not looked at",
            DUMP,
        );
    }
    for config in configs {
        routes::check(config, first, report);
    }
    check_listener(entry.listener, first, report);
}

/// An upgrade may have filters of its own, in place of those of the manager.
fn check_upgrade_chains(manager: &Node, report: &mut Report<'_>) {
    let upgrades = manager.list("upgrade_configs");
    routes::check_upgrades(upgrades, report);
    for upgrade in upgrades {
        let filters = upgrade.list("filters");
        if !filters.is_empty() && !filters.iter().any(|filter| Holdgate::recognise(filter).is_some()) {
            let at = upgrade.get("filters").map_or(upgrade.span, |filters| filters.span);
            let message = "upgrades go through these filters in place of `http_filters`, and Holdgate is not among them: any \
                           request that asks for the upgrade passes unseen";
            report.add(Code::UpgradeChain, at, message, "remove `filters` here, so that those of the listener serve");
        }
    }
}

fn check_listener(listener: &Node, holdgate: &Holdgate<'_>, report: &mut Report<'_>) {
    let name = "per_connection_buffer_limit_bytes";
    let max_body = holdgate.settings.max_body;
    let least = max_body.saturating_mul(2);
    match listener.get(name) {
        Some(node) => manager::check_size(Some(node), name, least, max_body, report),
        None if least > DEFAULT_BUFFER => {
            let at = listener.get("name").map_or(listener.span, |name| name.span);
            let is = format!("`{name}` is {DEFAULT_BUFFER} where none is set");
            manager::too_small(at, &is, name, least, max_body, report);
        }
        None => {}
    }
    let Some(host) = listener.at(&["address", "socket_address", "address"]) else { return };
    let chains = listener.list("filter_chains").iter().chain(listener.get("default_filter_chain"));
    let encrypts = |chain: &Node| chain.get("transport_socket").is_some();
    if !host.text().is_some_and(is_loopback) && !chains.into_iter().all(encrypts) {
        let message = "agents connect without TLS: whoever listens on the way gets their tokens";
        let help =
            "add a `transport_socket` with a `DownstreamTlsContext`, or listen on 127.0.0.1 behind what ends TLS";
        report.add(Code::ClearText, host.span, message, help);
    }
}

/// What a cluster does to requests that Holdgate let go.
fn check_upstream(bootstrap: &Bootstrap<'_>, cluster: &Node, report: &mut Report<'_>) {
    check_thresholds(cluster, "they are refused with their approvals used up", report);
    let Some(options) = http_options(cluster) else { return };
    for filter in options.list("http_filters") {
        filters::check_after(bootstrap, filter, report);
    }
    for mirror in options.list("request_mirror_policies") {
        routes::check_mirror(mirror, report);
    }
    if let Some(node) = options.get("retry_policy") {
        routes::check_retry(node, "retry_policy", "requests that failed are sent again", report);
    }
}
