//! Envoy's configuration: the shipped one, with what differs for a case.

use std::{fs, net::SocketAddr, path::Path};

use serde_json::{Value, json};

use crate::cases::{driver::Trouble, merge::merge};

/// What is shipped.
const TEMPLATE: &str = include_str!("../../../../envoy/envoy.yaml");

/// The service's authority, as [`crate::cases::configuration::usual`] has it.
pub(super) const AUTHORITY: &str = "approval.internal";

/// By this header the upstream learns whose request it has. The route sets it, behind the filter.
pub(super) const CLIENT: &str = "x-holdgate-case-client";

/// The configuration of a proxy that listens on ports of the system's choice, and the filter's own part of it.
pub(super) struct Configuration {
    pub(super) proxy: Value,
    filter: Value,
}

/// Where the parts around the proxy are.
pub(super) struct Surroundings<'s> {
    pub(super) upstream: SocketAddr,
    pub(super) approval: SocketAddr,
    pub(super) wasm: &'s Path,
    /// The file from which the filter's configuration comes, and which Envoy watches (extension config discovery).
    pub(super) filter: &'s Path,
}

impl Configuration {
    pub(super) fn new(around: &Surroundings<'_>) -> Result<Self, Trouble> {
        let mut proxy: Value = serde_saphyr::from_str(TEMPLATE).map_err(|error| odd(&error.to_string()))?;
        merge(&mut proxy, json!({"node": {"id": "edge-1", "cluster": "edge"}}));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        set_address(&mut proxy, "/admin/address", nowhere)?;
        let listener = at(&mut proxy, "/static_resources/listeners/0")?;
        set_address(listener, "/address", nowhere)?;
        let manager = at(listener, "/filter_chains/0/filters/0/typed_config")?;
        // Without it Envoy itself drops trailers of HTTP/1.
        merge(manager, json!({"http_protocol_options": {"enable_trailers": true}}));
        let log = at(manager, "/access_log/0/typed_config/log_format/json_format")?;
        merge(log, json!({"client": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%"}));
        let route = at(manager, "/route_config/virtual_hosts/0/routes/0")?;
        let header = json!({"key": CLIENT, "value": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%"});
        let header = json!({"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"});
        merge(route, json!({"request_headers_to_add": [header]}));
        let ours = named(at(manager, "/http_filters")?, "holdgate")?;
        let filter = at(ours, "/typed_config")?.take();
        let kind = filter.get("@type").cloned().unwrap_or_default();
        let source = json!({"path_config_source": {"path": around.filter}, "resource_api_version": "V3"});
        let discovery = json!({"config_source": source, "type_urls": [kind]});
        *ours = json!({"name": "holdgate", "config_discovery": discovery});
        let clusters = at(&mut proxy, "/static_resources/clusters")?;
        let endpoint = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address";
        set_address(named(clusters, "approval")?, endpoint, around.approval)?;
        let upstream = named(clusters, "upstream")?;
        set_address(upstream, endpoint, around.upstream)?;
        // Over HTTP/2 trailers come to the upstream.
        let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        let kind = format!("type.googleapis.com/{options}");
        let http2 = json!({"@type": kind, "explicit_http_config": {"http2_protocol_options": {}}});
        merge(upstream, json!({"typed_extension_protocol_options": {options: http2}}));

        let mut filter = filter;
        *at(&mut filter, "/config/vm_config/code/local/filename")? = json!(around.wasm);
        Ok(Configuration { proxy, filter })
    }

    /// Writes the file of the filter's configuration anew, with this one for the plugin, in a VM of this name.
    pub(super) fn write_filter(&mut self, file: &Path, vm: &str, plugin: &Value) -> Result<(), Trouble> {
        *at(&mut self.filter, "/config/vm_config/vm_id")? = json!(vm);
        *at(&mut self.filter, "/config/configuration/value")? = json!(plugin.to_string());
        let kind = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
        let resource = json!({"@type": kind, "name": "holdgate", "typed_config": self.filter});
        let resources = json!({"resources": [resource]}).to_string();
        // Envoy watches for files that are moved into place.
        let new = file.with_extension("new");
        let written = fs::write(&new, resources).and_then(|()| fs::rename(&new, file));
        written.map_err(|error| Trouble::Failed(format!("cannot write `{}`: {error}", file.display())))
    }
}

fn odd(what: &str) -> Trouble {
    Trouble::Failed(format!("the shipped configuration of Envoy is not as it is known: {what}"))
}

fn set_address(value: &mut Value, place: &str, address: SocketAddr) -> Result<(), Trouble> {
    let socket = at(value, &format!("{place}/socket_address"))?;
    *socket = json!({"address": address.ip().to_string(), "port_value": address.port()});
    Ok(())
}

fn at<'v>(value: &'v mut Value, pointer: &str) -> Result<&'v mut Value, Trouble> {
    value.pointer_mut(pointer).ok_or_else(|| odd(&format!("there is no `{pointer}`")))
}

fn named<'v>(list: &'v mut Value, name: &str) -> Result<&'v mut Value, Trouble> {
    let items = list.as_array_mut().into_iter().flatten();
    let mut named = items.filter(|item| item.get("name").and_then(Value::as_str) == Some(name));
    named.next().ok_or_else(|| odd(&format!("there is nothing named `{name}`")))
}
