//! Questions to Envoy's admin port.

use std::{collections::BTreeMap, net::SocketAddr};

use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// How the names of a filter's metrics begin.
const METRICS: &str = "wasmcustom.";

/// An answer of 200; `None` if there is another one, or none.
async fn get(admin: SocketAddr, target: &str) -> Option<Vec<u8>> {
    let stream = TcpStream::connect(admin).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let exchange = async {
        let request = Request::get(target).header("host", "admin").body(Empty::<Bytes>::new()).ok()?;
        let response = sender.send_request(request).await.ok()?;
        let good = response.status() == 200;
        let body = response.into_body().collect().await.ok()?.to_bytes();
        good.then(|| body.to_vec())
    };
    tokio::select! {
        answer = exchange => answer,
        Err(_) = connection => None,
    }
}

/// Whether it takes requests.
pub(super) async fn ready(admin: SocketAddr) -> bool {
    get(admin, "/ready").await.is_some()
}

/// Where its one listener listens.
pub(super) async fn listener(admin: SocketAddr) -> Option<SocketAddr> {
    let answer: Value = serde_json::from_slice(&get(admin, "/listeners?format=json").await?).ok()?;
    let socket = answer.pointer("/listener_statuses/0/local_address/socket_address")?;
    let port = u16::try_from(socket.get("port_value")?.as_u64()?).ok()?;
    Some(SocketAddr::from(([127, 0, 0, 1], port)))
}

/// Whether a metric is what it was set to last: a gauge that each worker sets. All others add up.
pub(super) fn is_set(name: &str) -> bool {
    ["holdgate.policy_serial", "holdgate.feed_age_ms", "holdgate.clock_skew_s"].contains(&name)
}

/// How many VMs there are.
pub(super) async fn vms(admin: SocketAddr) -> Option<i64> {
    statistics(admin, "^wasm%5C..*v8.active$").await?.values().next().copied()
}

/// The metrics of filters by their names.
pub(super) async fn metrics(admin: SocketAddr) -> Option<BTreeMap<String, i64>> {
    let all = statistics(admin, "^wasmcustom%5C.").await?;
    let named = all.into_iter().filter_map(|(name, value)| Some((name.strip_prefix(METRICS)?.to_owned(), value)));
    Some(named.collect())
}

/// How many connections each worker has got so far.
pub(super) async fn connections(admin: SocketAddr) -> Option<BTreeMap<usize, i64>> {
    let all = statistics(admin, "^listener%5C..*worker_%5Cd%2B%5C.downstream_cx_total$").await?;
    let of_workers = all.into_iter().filter_map(|(name, value)| {
        let (_, worker) = name.rsplit_once(".worker_")?;
        // The admin port's own listener is no worker's.
        let own = name.starts_with("listener.admin.");
        Some((worker.split('.').next()?.parse().ok().filter(|_| !own)?, value))
    });
    Some(of_workers.collect())
}

/// How often another configuration of the filter has been taken, and refused.
pub(super) async fn configured(admin: SocketAddr) -> Option<(i64, i64)> {
    let all = statistics(admin, "extension_config_discovery.*%5C.config_(reload%7Cfail)$").await?;
    let of = |end: &str| all.iter().filter(|(name, _)| name.ends_with(end)).map(|(_, value)| value).sum();
    Some((of("reload"), of("fail")))
}

async fn statistics(admin: SocketAddr, filter: &str) -> Option<BTreeMap<String, i64>> {
    let answer = get(admin, &format!("/stats?filter={filter}")).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let line = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    Some(answer.lines().filter_map(line).collect())
}
