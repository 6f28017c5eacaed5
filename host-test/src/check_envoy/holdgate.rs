//! The filter itself: how it is recognised, and what its plugin configuration must have.

use std::collections::BTreeSet;

use holdgate_authoring::{Quoted, Span};
use holdgate_gate::{Config, config::KeySource};
use serde_json::Value;

use super::{codes::Code, node::Node, report::Report};

const CREDENTIAL: &str = "HOLDGATE_GATEWAY_CREDENTIAL";

/// Names of members that hold secrets, or parts of such names.
const SECRETS: [&str; 6] = ["credential", "password", "secret", "bearer", "private", "token"];

/// Holdgate in a list of filters.
pub(super) struct Holdgate<'n> {
    /// The name by which routes can override its configuration.
    pub(super) name: &'n str,
    /// Its place.
    pub(super) at: Span,
    /// Its entry in the list.
    pub(super) filter: &'n Node,
    pub(super) plugin: &'n Node,
    pub(super) settings: Settings,
}

/// What the rest of the configuration must go with.
pub(super) struct Settings {
    /// The cluster of the approval service.
    pub(super) cluster: Option<String>,
    /// Where it is named, and all else of the configuration.
    pub(super) cluster_at: Span,
    /// The clusters from which issuers' keys are fetched, each once.
    pub(super) key_clusters: Vec<String>,
    /// Whether certificates name agents.
    pub(super) by_certificate: bool,
    /// The header of the agents' token.
    pub(super) header: String,
    /// In bytes.
    pub(super) max_body: u64,
    /// In milliseconds.
    pub(super) max_wait: u64,
    /// In milliseconds.
    pub(super) body_within: u64,
}

impl<'n> Holdgate<'n> {
    /// Recognises the filter by its names, its file or its configuration.
    pub(super) fn recognise(filter: &'n Node) -> Option<Self> {
        Holdgate::of(filter, filter)
    }

    /// As [`Holdgate::recognise`], where a list has an entry for what stands elsewhere.
    pub(super) fn of(filter: &'n Node, found: &'n Node) -> Option<Self> {
        let plugin = plugin(found)?;
        let name = filter.text_of("name").unwrap_or_default();
        let file = plugin.at(&["vm_config", "code", "local", "filename"]).and_then(Node::text);
        let names = [Some(name), plugin.text_of("name"), plugin.text_of("root_id"), file];
        let is_named = names.into_iter().flatten().any(|name| name.to_ascii_lowercase().contains("holdgate"));
        if !is_named && !text_of(plugin).is_some_and(|(text, _)| text.contains("\"grant_keys\"")) {
            return None;
        }
        let at = filter.get("name").map_or(filter.span, |name| name.span);
        Some(Holdgate { name, at, filter, plugin, settings: Settings::read(plugin, at) })
    }

    /// Checks everything that stands in the filter's own entry.
    pub(super) fn check(&self, report: &mut Report<'_>) {
        for (field, message, help) in [
            ("disabled", "Holdgate is switched off: requests pass it unseen", "remove `disabled`"),
            (
                "is_optional",
                "a proxy without support for wasm leaves Holdgate out and says nothing: requests pass unseen",
                "remove `is_optional`, so that such a proxy does not start",
            ),
        ] {
            if let Some(node) = self.filter.get(field).filter(|_| self.filter.says_yes(field)) {
                report.add(Code::SwitchedOff, node.span, message, help);
            }
        }
        self.check_policy(report);
        if !self.plugin.says_yes("allow_on_headers_stop_iteration") {
            let at = self.plugin.get("allow_on_headers_stop_iteration").map_or(self.at, |node| node.span);
            let message = "the filter sees a body only when the headers have gone to the upstream: no rule on bodies works, and \
                           nothing with a body can be held";
            report.add(
                Code::NoBody,
                at,
                message,
                "write `allow_on_headers_stop_iteration: true` in the filter's `config`",
            );
        }
        self.check_credential(report);
        self.check_configuration(report);
    }

    fn check_policy(&self, report: &mut Report<'_>) {
        let open = "when the filter fails, requests pass it unseen; an agent that makes it fail is free";
        let reload = "write `failure_policy: FAIL_RELOAD` in the filter's `config`, and no `fail_open`";
        if let Some(node) = self.plugin.get("fail_open").filter(|_| self.plugin.says_yes("fail_open")) {
            report.add(Code::FailsOpen, node.span, open, reload);
            return;
        }
        match self.plugin.get("failure_policy") {
            Some(policy) if policy.is_word("FAIL_OPEN", 3) => report.add(Code::FailsOpen, policy.span, open, reload),
            Some(policy) if policy.is_word("FAIL_RELOAD", 1) => {}
            policy => {
                let message = "after a crash the filter answers 503 until the proxy is started again (`FAIL_CLOSED`, which is \
                               the default)";
                report.add(Code::StaysDown, policy.map_or(self.at, |policy| policy.span), message, reload);
            }
        }
    }

    fn check_credential(&self, report: &mut Report<'_>) {
        let environment = self.plugin.at(&["vm_config", "environment_variables"]);
        let host_keys = environment.map_or(&[][..], |environment| environment.list("host_env_keys"));
        let values = environment.and_then(|environment| environment.get("key_values")).map_or(&[][..], Node::members);
        let help = "write `environment_variables: {host_env_keys: [HOLDGATE_GATEWAY_CREDENTIAL]}` in its `vm_config`, and set \
                    it in the proxy's environment";
        for value in values.iter().filter(|value| value.key == CREDENTIAL || is_secret(&value.key)) {
            let message = format!("the admin interface shows the value of {} in its config_dump", Quoted(&value.key));
            report.add(Code::ShownCredential, value.at, message, help);
        }
        let given = host_keys.iter().any(|key| key.text() == Some(CREDENTIAL));
        if !given && !values.iter().any(|value| value.key == CREDENTIAL) {
            let at = environment.map_or(self.at, |environment| environment.span);
            let message =
                format!("the filter does not get `{CREDENTIAL}` from the proxy's environment, and refuses to start");
            report.add(Code::NoCredential, at, message, help);
        }
    }

    fn check_configuration(&self, report: &mut Report<'_>) {
        let Some((text, value)) = text_of(self.plugin) else {
            let at = self.plugin.get("configuration").map_or(self.at, |node| node.span);
            let message = "the filter has no configuration that it can read, and refuses to start";
            let help = "write `configuration: {\"@type\": type.googleapis.com/google.protobuf.StringValue, value: ...}`; \
                        envoy/README.md has its members";
            return report.add(Code::Refused, at, message, help);
        };
        let json: Value = serde_json::from_str(&text).unwrap_or_default();
        if let Some(secret) = secret_in(&json) {
            let message = format!("the admin interface shows {} of the plugin configuration", Quoted(&secret));
            let help = "remove it: the credential comes from the proxy's environment, and JWKS have public keys only; take what \
                        stood here for known";
            return report.add(Code::ShownCredential, value.span, message, help);
        }
        match Config::parse(text.as_bytes()) {
            Ok(_) if json.pointer("/host").is_some_and(|host| host != "envoy") => {
                let message = "`host` says that this is not Envoy: the filter lets the headers go before it has the body, and Envoy \
                               sends them to the upstream";
                report.add(Code::NoBody, value.span, message, "write `\"host\": \"envoy\"`, or leave `host` out");
            }
            Ok(_) => {}
            Err(error) => {
                let message = format!("the filter refuses this configuration: {error}");
                report.add(Code::Refused, value.span, message, "envoy/README.md has the members and what they may be");
            }
        }
    }
}

impl Settings {
    /// As the filter reads them, or as near as a configuration comes that it refuses.
    fn read(plugin: &Node, at: Span) -> Self {
        let value = text_of(plugin);
        let cluster_at = value.as_ref().map_or(at, |(_, node)| node.span);
        let text = value.map(|(text, _)| text).unwrap_or_default();
        if let Ok(config) = Config::parse(text.as_bytes()) {
            let fetched = config.identity.issuers.iter().filter_map(|issuer| match &issuer.keys {
                KeySource::Fetched(place) => Some(place.cluster.clone()),
                KeySource::Pinned(_) => None,
            });
            return Settings {
                key_clusters: fetched.collect::<BTreeSet<_>>().into_iter().collect(),
                by_certificate: config.identity.spiffe.is_some(),
                cluster: Some(config.approval.cluster),
                cluster_at,
                header: config.identity.header,
                max_body: config.max_body as u64,
                max_wait: config.max_wait,
                body_within: config.body_within,
            };
        }
        let json: Value = serde_json::from_str(&text).unwrap_or_default();
        let text = |pointer: &str| json.pointer(pointer).and_then(Value::as_str);
        let time = |pointer: &str, default: u64| {
            text(pointer).and_then(holdgate_protocol::duration::seconds).map_or(default, |seconds| seconds * 1000)
        };
        Settings {
            key_clusters: Vec::new(),
            by_certificate: json.pointer("/identity/spiffe").is_some(),
            cluster: text("/approval/cluster").map(str::to_owned),
            cluster_at,
            header: text("/identity/header").unwrap_or("authorization").to_owned(),
            max_body: json.pointer("/max_body").and_then(Value::as_u64).unwrap_or(1024 * 1024),
            max_wait: time("/max_wait", 45_000),
            body_within: time("/body_within", 60_000),
        }
    }
}

/// The `PluginConfig` of a wasm filter.
pub(super) fn plugin(filter: &Node) -> Option<&Node> {
    let (kind, message) = filter.get("typed_config")?.typed()?;
    kind.ends_with("filters.http.wasm.v3.Wasm").then(|| message.get("config")).flatten()
}

/// The text that the filter is configured with, and where it stands.
fn text_of(plugin: &Node) -> Option<(String, &Node)> {
    let (kind, message) = plugin.get("configuration")?.typed()?;
    let value = message.get("value")?;
    match kind {
        "google.protobuf.StringValue" => Some((value.text()?.to_owned(), value)),
        "google.protobuf.Struct" => Some((value.to_json().to_string(), value)),
        _ => None,
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRETS.iter().any(|secret| name.contains(secret))
}

/// The first member that is a secret: by its name, or the private part of a key (RFC 7518, section 6).
fn secret_in(json: &Value) -> Option<String> {
    match json {
        Value::Array(items) => items.iter().find_map(secret_in),
        Value::Object(members) => members.iter().find_map(|(name, value)| {
            let is_private = members.contains_key("kty") && ["d", "k", "p", "q"].contains(&name.as_str());
            let is_it = is_private || (is_secret(name) && value.is_string());
            if is_it { Some(name.clone()) } else { secret_in(value) }
        }),
        _ => None,
    }
}
