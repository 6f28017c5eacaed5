//! The gateways that are measured: the same Envoy, route and answer; only the filter in front of the answer differs.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{policy, tokens::Algorithm};
use crate::{
    http,
    identity::{AUDIENCE, merge},
    stack::{ISSUER, Ports, Process, Stack},
    until,
};

/// How long a gateway may take until it answers.
const STARTUP: Duration = Duration::from_secs(60);

/// A serial above that of the policy that the stack published, so that the bundle in the configuration stays in force.
const SERIAL: &str = "1000000";

/// What stands in front of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Filter {
    None,
    Noop,
    /// jwt_authn with its cache, and RBAC.
    Native,
    Lua,
    /// An HTTP call to nginx.
    ExtAuthz,
    /// Holdgate with so many rules, for tokens of one algorithm.
    Holdgate(usize, Algorithm),
    /// Holdgate with a rule about a tool.
    Mcp,
}

/// A gateway that runs, with what is counted as its cost.
pub(super) struct Lane {
    pub(super) address: SocketAddr,
    pub(super) processes: Vec<u32>,
    _envoy: Process,
    _helper: Option<Process>,
}

/// The files that the lanes need beside the stack's.
pub(super) struct Files {
    pub(super) noop: PathBuf,
    pub(super) nginx: PathBuf,
}

impl Lane {
    /// Starts a gateway; `Err` in the inner result says why this filter is not there.
    pub(super) async fn start(stack: &Stack, files: &Files, filter: Filter) -> Result<Result<Lane, String>> {
        let name = name(filter);
        let nginx = if filter == Filter::ExtAuthz { Some(start_nginx(stack, files).await?) } else { None };
        let plugin = match filter {
            Filter::Holdgate(rules, algorithm) => holdgate(stack, &policy::text(rules), algorithm)?,
            Filter::Mcp => {
                let mut plugin = holdgate(stack, &policy::with_tool(), Algorithm::EdDsa)?;
                merge(&mut plugin, json!({"mcp": {"paths": [policy::MCP]}}));
                plugin
            }
            _ => json!({}),
        };
        let authz = nginx.as_ref().map(|(_, address)| *address);
        let (mut envoy, ports) =
            stack.another_envoy(name, plugin, |config| edit(config, stack, files, filter, authz))?;
        envoy.start()?;
        let admin = ports.admin();
        let up = until(name, STARTUP, async || {
            // A wrong configuration either ends Envoy or leaves it with a filter that answers nothing but 503.
            let refused = envoy.log().lines().find(|line| line.contains("configuration is refused")).map(str::to_owned);
            let ended = envoy.check().err().map(|error| error.to_string());
            let ready = http::get(admin, "/ready").await.is_ok_and(|answer| answer.status == 200);
            refused.or(ended).map(Err).or(ready.then_some(Ok(())))
        });
        if let Err(why) = up.await? {
            return Ok(Err(why.split_once("refused: ").map_or(why.clone(), |(_, why)| why.to_owned())));
        }
        let mut processes = vec![envoy.id().context("Envoy has ended")?];
        if let Some((nginx, _)) = &nginx {
            processes.push(nginx.id().context("nginx has ended")?);
        }
        let helper = nginx.map(|(process, _)| process);
        Ok(Ok(Lane { address: ports.gateway(), processes, _envoy: envoy, _helper: helper }))
    }
}

/// The name of the process and of its log.
fn name(filter: Filter) -> &'static str {
    match filter {
        Filter::None => "no-filter",
        Filter::Noop => "no-op",
        Filter::Native => "native",
        Filter::Lua => "lua",
        Filter::ExtAuthz => "ext-authz",
        Filter::Holdgate(10, Algorithm::EdDsa) => "holdgate-10",
        Filter::Holdgate(10, Algorithm::Es256) => "holdgate-es256",
        Filter::Holdgate(10, Algorithm::Rs256) => "holdgate-rs256",
        Filter::Holdgate(1_000, _) => "holdgate-1000",
        Filter::Holdgate(..) => "holdgate-10000",
        Filter::Mcp => "holdgate-mcp",
    }
}

/// The plugin configuration: the stack's, with the policy inline and one issuer's keys.
fn holdgate(stack: &Stack, text: &str, algorithm: Algorithm) -> Result<Value> {
    let bundle = stack.bundle(text, SERIAL)?;
    let jwks = match algorithm {
        Algorithm::EdDsa => stack.issuer.jwks(),
        other => other.jwks()?,
    };
    let issuers = json!([{
        "iss": ISSUER, "aud": AUDIENCE, "algs": [algorithm.name()], "jwks": jwks, "owner_claim": "owner",
    }]);
    Ok(json!({"policy": policy::ID, "bundle": bundle, "identity": {"issuers": issuers}}))
}

/// The shipped configuration with a direct answer, no access log, and the lane's filter.
fn edit(config: &mut Value, stack: &Stack, files: &Files, filter: Filter, authz: Option<SocketAddr>) -> Result<()> {
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    let manager = config.pointer_mut(manager).context("Envoy's template has no connection manager")?;
    manager.as_object_mut().context("no connection manager")?.remove("access_log");
    *manager.pointer_mut("/route_config/virtual_hosts/0/routes").context("no routes")? =
        json!([{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok\n"}}}]);
    let filters = manager.pointer_mut("/http_filters").and_then(Value::as_array_mut).context("no filters")?;
    let (shipped, router) = match filters.as_slice() {
        [shipped, router] => (shipped.clone(), router.clone()),
        _ => bail!("Envoy's template has other filters than Holdgate and the router"),
    };
    *filters = match filter {
        Filter::None => vec![],
        Filter::Noop => vec![noop(shipped, files)?],
        Filter::Native => native(stack),
        Filter::Lua => vec![lua()],
        Filter::ExtAuthz => vec![ext_authz()],
        Filter::Holdgate(..) | Filter::Mcp => vec![shipped],
    };
    // So that a body is read in every lane: a direct answer alone would not wait for it.
    filters.push(json!({"name": "buffer", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer", "max_request_bytes": 1_048_576,
    }}));
    filters.push(router);
    if let Some(address) = authz {
        let clusters = config.pointer_mut("/static_resources/clusters").and_then(Value::as_array_mut);
        let endpoint = json!({"endpoint": {"address": {"socket_address":
            {"address": address.ip().to_string(), "port_value": address.port()}}}});
        clusters.context("no clusters")?.push(json!({
            "name": "authz", "type": "STATIC", "connect_timeout": "2s",
            "load_assignment": {"cluster_name": "authz", "endpoints": [{"lb_endpoints": [endpoint]}]},
        }));
    }
    Ok(())
}

fn noop(mut filter: Value, files: &Files) -> Result<Value> {
    let config = filter.pointer_mut("/typed_config/config").context("the template's filter has no configuration")?;
    merge(
        config,
        json!({"name": "noop", "root_id": "noop", "configuration": null,
            "vm_config": {"vm_id": "noop", "code": {"local": {"filename": files.noop}}}}),
    );
    Ok(filter)
}

fn native(stack: &Stack) -> Vec<Value> {
    let jwt = json!({"name": "jwt", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        "providers": {"agents": {
            "issuer": ISSUER, "audiences": [AUDIENCE], "forward": true, "payload_in_metadata": "claims",
            "local_jwks": {"inline_string": stack.issuer.jwks().to_string()}, "jwt_cache_config": {},
        }},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "agents"}}],
    }});
    let policy = |index: usize| {
        let rule = json!({
            "permissions": [{"and_rules": {"rules": [
                {"header": {"name": ":method", "string_match": {"exact": "GET"}}},
                {"url_path": {"path": {"prefix": format!("/service-{index}/items/")}}},
            ]}}],
            "principals": [{"metadata": {
                "filter": "envoy.filters.http.jwt_authn", "path": [{"key": "claims"}, {"key": "team"}],
                "value": {"string_match": {"exact": "iam"}},
            }}],
        });
        (format!("rule-{index}"), rule)
    };
    let policies: serde_json::Map<String, Value> = (0..10).map(policy).collect();
    let rbac = json!({"name": "rbac", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
        "rules": {"action": "ALLOW", "policies": policies},
    }});
    vec![jwt, rbac]
}

fn lua() -> Value {
    let code = "function envoy_on_request(handle)\n  local headers = handle:headers()\n  \
                local token, method, path = headers:get('authorization'), headers:get(':method'), headers:get(':path')\n  \
                if not token or method == 'DELETE' or not path then\n    handle:respond({[':status'] = '403'}, '')\n  \
                end\nend\n";
    json!({"name": "lua", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
        "default_source_code": {"inline_string": code},
    }})
}

fn ext_authz() -> Value {
    json!({"name": "ext_authz", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "http_service": {"server_uri": {"uri": "http://authz.internal", "cluster": "authz", "timeout": "5s"}},
    }})
}

/// nginx as one process, which ends with the bench; it says 200 to everything.
async fn start_nginx(stack: &Stack, files: &Files) -> Result<(Process, SocketAddr)> {
    let (folder, address) = (stack.folder().join("nginx"), Ports::choose(None)?.proxy());
    std::fs::create_dir_all(&folder)?;
    let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {kind};"));
    let config = format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr warn;\nevents {{ worker_connections 1024; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; {}\n\
         server {{ listen {address}; location / {{ return 200; }} }} }}\n",
        places.join(" ")
    );
    std::fs::write(folder.join("nginx.conf"), config)?;
    let folder = folder.to_string_lossy().into_owned();
    let arguments = ["-p", &folder, "-c", "nginx.conf", "-e", "stderr"].map(str::to_owned).to_vec();
    let mut nginx = Process::new("nginx", files.nginx.clone(), arguments, stack.folder());
    nginx.start()?;
    until("nginx", STARTUP, async || http::get(address, "/").await.ok()).await?;
    Ok((nginx, address))
}
