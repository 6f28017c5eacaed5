//! Envoy's configuration, from the shipped template, and its process.

use std::{net::SocketAddr, path::Path};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{Places, Ports, Process, text};
use crate::identity::merge;

/// The template with addresses, filter and plugin configuration set; everything else is as it is shipped.
pub(super) fn configuration(
    places: &Places,
    ports: &Ports,
    upstream: SocketAddr,
    service: SocketAddr,
    plugin: Value,
    upstream_http2: bool,
) -> Result<Value> {
    let mut config: Value =
        serde_saphyr::from_str(&places.envoy_template()?).context("`envoy/envoy.yaml` is no YAML")?;
    set_address(&mut config, "/admin/address", ports.admin())?;
    let listener = at(&mut config, "/static_resources/listeners/0")?;
    set_address(listener, "/address", ports.gateway())?;
    let filters = at(listener, "/filter_chains/0/filters/0/typed_config/http_filters")?;
    let filter = at(named(filters, "holdgate")?, "/typed_config/config")?;
    *at(filter, "/vm_config/code/local/filename")? = json!(text(&places.filter));
    let configuration = at(filter, "/configuration/value")?;
    let shipped = configuration.as_str().context("the plugin configuration is no text")?;
    let mut all: Value = serde_json::from_str(shipped).context("the shipped plugin configuration is no JSON")?;
    merge(&mut all, plugin);
    *configuration = json!(all.to_string());
    let clusters = at(&mut config, "/static_resources/clusters")?;
    let endpoint = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address";
    set_address(named(clusters, "upstream")?, endpoint, upstream)?;
    set_address(named(clusters, "approval")?, endpoint, service)?;
    if upstream_http2 {
        let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        let kind = format!("type.googleapis.com/{options}");
        let http2 = json!({"@type": kind, "explicit_http_config": {"http2_protocol_options": {}}});
        merge(named(clusters, "upstream")?, json!({"typed_extension_protocol_options": {options: http2}}));
    }
    Ok(config)
}

/// Envoy as a process of its own beside others of its kind; it gets the credential by its environment.
pub(super) fn process(
    name: &'static str,
    places: &Places,
    config: &Path,
    concurrency: u32,
    credential: String,
    logs: &Path,
) -> Process {
    let concurrency = concurrency.to_string();
    let arguments = [
        "--config-path",
        &text(config),
        "--use-dynamic-base-id",
        "--concurrency",
        &concurrency,
        "--log-level",
        "warning",
        "--component-log-level",
        "wasm:info",
        // Access logs are read by tests: not after ten seconds, as by default.
        "--file-flush-interval-msec",
        "100",
        "--drain-time-s",
        "1",
        "--parent-shutdown-time-s",
        "2",
    ];
    let arguments = arguments.map(str::to_owned).to_vec();
    let process = Process::new(name, places.envoy.clone(), arguments, logs);
    process.environment("HOLDGATE_GATEWAY_CREDENTIAL", credential)
}

fn set_address(value: &mut Value, place: &str, address: SocketAddr) -> Result<()> {
    *at(value, &format!("{place}/socket_address"))? =
        json!({"address": address.ip().to_string(), "port_value": address.port()});
    Ok(())
}

fn at<'a>(value: &'a mut Value, pointer: &str) -> Result<&'a mut Value> {
    value.pointer_mut(pointer).with_context(|| format!("Envoy's template has no `{pointer}`"))
}

fn named<'a>(list: &'a mut Value, name: &str) -> Result<&'a mut Value> {
    let items = list.as_array_mut().context("not a list in Envoy's template")?;
    let mut named = items.iter_mut().filter(|item| item.get("name").and_then(Value::as_str) == Some(name));
    named.next().with_context(|| format!("Envoy's template has nothing named `{name}`"))
}
