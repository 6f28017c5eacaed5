//! Every call to the host, by [`raw`] and not by the SDK's wrappers, which panic on a status that their authors did not expect.

mod raw;

use std::time::Duration;

use holdgate_gate::{Answer, Callout, Change, Changes, Figure, Host, Pairs, Permit, Reply, StreamId, config::KeyPlace};
use holdgate_protocol::jws::{host_question, host_says_yes};
use proxy_wasm::{
    hostcalls,
    types::{BufferType, MapType, MetricType},
};

use raw::{
    call_foreign_function, continue_request, header_map, property, remove_header, set_buffer, set_header, set_property,
};
pub(crate) use raw::{done, log, tick_every};

/// How long a fetch may take.
const FETCH: Duration = Duration::from_secs(5);

/// How the approval service is called.
pub(crate) struct Service {
    pub(crate) cluster: String,
    pub(crate) authority: String,
    pub(crate) authorization: String,
}

/// The time in Unix milliseconds; `None` where the host does not tell it, and then nothing is decided.
pub(crate) fn now() -> Option<u64> {
    raw::current_time().map(|nanoseconds| nanoseconds / 1_000_000)
}

/// The proxy around this VM.
pub(crate) struct Proxy;

impl Host for Proxy {
    fn nonce(&mut self) -> Option<[u8; 16]> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).ok()?;
        Some(bytes)
    }

    fn verify_signature(&mut self, key: &[u8], signature: &[u8], text: &[u8]) -> Option<bool> {
        let question = host_question(key, signature, text);
        call_foreign_function("verify_signature", &question).map(|answer| host_says_yes(&answer))
    }

    fn peer(&mut self) -> Option<String> {
        // Set by a filter before this one that asks the proxy whether the certificate was validated (envoy/CONFIGURATION.md).
        let path = vec!["metadata", "filter_metadata", "holdgate", "peer"];
        String::from_utf8(property(&path)?).ok()
    }

    fn shared(&mut self, key: &str) -> (Option<Vec<u8>>, u32) {
        raw::shared_data(key)
    }

    fn share(&mut self, key: &str, value: &[u8], version: u32) -> bool {
        raw::set_shared_data(key, value, version)
    }
}

pub(crate) fn configuration(size: usize) -> Vec<u8> {
    buffer(BufferType::PluginConfiguration, size)
}

pub(crate) fn vm_configuration(size: usize) -> Vec<u8> {
    buffer(BufferType::VmConfiguration, size)
}

/// The body as the host has buffered it; `None` if it has not all of what it announced.
pub(crate) fn request_body(size: usize) -> Option<Vec<u8>> {
    Some(buffer(BufferType::HttpRequestBody, size)).filter(|body| body.len() == size)
}

/// The request's headers with its pseudo-headers, in the order of the host, as bytes.
pub(crate) fn request_headers() -> Pairs {
    header_map(MapType::HttpRequestHeaders)
}

/// The request's headers as ngx_wasm_module gives them, with the target as it came: the module shows a path that nginx has
/// decoded and cleaned, and what goes to the upstream is the other. Without that property there is no path, and no passage.
pub(crate) fn request_headers_of_nginx() -> Pairs {
    let target = property(&["ngx", "request_uri"]).unwrap_or_default();
    request_headers().with(b":path", &target)
}

/// `false` where the host does not do it.
#[must_use]
pub(crate) fn remove_request_header(name: &str) -> bool {
    remove_header(MapType::HttpRequestHeaders, name)
}

/// The request's trailers, as bytes.
pub(crate) fn request_trailers() -> Pairs {
    header_map(MapType::HttpRequestTrailers)
}

/// `false` where the host does not do it.
#[must_use]
pub(crate) fn remove_request_trailer(name: &str) -> bool {
    remove_header(MapType::HttpRequestTrailers, name)
}

/// `false` where the host does not do it.
#[must_use]
pub(crate) fn set_request_header(name: &str, value: &str) -> bool {
    set_header(MapType::HttpRequestHeaders, name, value)
}

/// Carries out what has to change of a request whose whole body has come. `false`: the host does not do it.
pub(crate) fn change_request(changes: &Changes, size: usize) -> bool {
    if changes.plain_answer && !remove_request_header("accept-encoding") {
        return false;
    }
    let Some(body) = &changes.body else { return true };
    // Where the length was announced, another one would cut the body or wait for more.
    let announced = raw::header(MapType::HttpRequestHeaders, "content-length");
    let length = announced.is_none() || set_request_header("content-length", &body.len().to_string());
    // What described the octets that came does not describe these.
    let described = ["content-digest", "repr-digest", "digest", "content-md5"];
    length
        && described.iter().all(|name| remove_request_header(name))
        && set_buffer(BufferType::HttpRequestBody, size, body)
}

/// Status and content-type of an answer, and whether it is encoded.
pub(crate) fn answers_list() -> (u16, Option<String>, bool) {
    let value = |name| raw::header(MapType::HttpResponseHeaders, name);
    let content_type = value("content-type").and_then(|value| String::from_utf8(value).ok());
    let status = status(MapType::HttpResponseHeaders).unwrap_or_default();
    (status, content_type, value("content-encoding").is_some())
}

/// Removes from an answer what is about the octets of a body that may change.
pub(crate) fn forget_body_headers() {
    for name in ["content-length", "etag", "content-digest", "repr-digest", "digest", "content-md5"] {
        let _removed = remove_header(MapType::HttpResponseHeaders, name);
    }
}

pub(crate) fn response_body(size: usize) -> Vec<u8> {
    buffer(BufferType::HttpResponseBody, size)
}

/// Puts another body in place of the one of so many bytes that came.
pub(crate) fn set_response_body(body: &[u8], size: usize) {
    let _set = set_buffer(BufferType::HttpResponseBody, size, body);
}

/// The status that the upstream answered with; `None` where the proxy answered in its place.
pub(crate) fn upstream_status() -> Option<u16> {
    let upstream = property(&["upstream", "address"]);
    upstream.filter(|address| !address.is_empty()).and_then(|_| status(MapType::HttpResponseHeaders))
}

/// What an earlier VM of this proxy kept under a name.
pub(crate) fn kept(name: &str) -> Option<Vec<u8>> {
    raw::shared_data(name).0
}

/// Keeps something for the next VM. The last one to write wins, and whoever reads it verifies it.
pub(crate) fn keep(name: &str, value: &[u8]) {
    // ngx_wasm_module replaces nothing without its version.
    let (_, version) = raw::shared_data(name);
    let _kept = raw::set_shared_data(name, value, version);
}

/// The answer to the callout that is being told of. A reset comes without headers, and what is longer than any answer of
/// the service is none: there is no answer then.
pub(crate) fn answer(headers: usize, body: usize, limit: usize) -> Option<Answer> {
    if headers == 0 || body > limit {
        return None;
    }
    let status = status(MapType::HttpCallResponseHeaders)?;
    Some(Answer { status, body: buffer(BufferType::HttpCallResponseBody, body) })
}

/// Calls the approval service from the context that is active; `None` where the host refuses at once.
pub(crate) fn call(service: &Service, callout: &Callout) -> Option<u32> {
    let mut headers = vec![
        (":method", callout.method),
        (":path", callout.path.as_str()),
        (":authority", service.authority.as_str()),
        (":scheme", "http"),
        ("authorization", service.authorization.as_str()),
        ("content-type", "application/json"),
    ];
    headers.extend(callout.trace.iter().map(|(name, value)| (*name, value.as_str())));
    let body = Some(callout.body.as_slice()).filter(|body| !body.is_empty());
    // Less than a millisecond would mean that there is no time-out.
    let timeout = Duration::from_millis(callout.timeout.max(1));
    hostcalls::dispatch_http_call(&service.cluster, headers, body, vec![], timeout).ok()
}

/// Fetches something of a cluster from the context that is active, without the credential, which is none of its business.
/// `None` where the host refuses at once.
pub(crate) fn fetch(place: &KeyPlace) -> Option<u32> {
    let headers = vec![
        (":method", "GET"),
        (":path", place.path.as_str()),
        (":authority", place.authority.as_str()),
        (":scheme", "https"),
        ("accept", "application/json"),
    ];
    hostcalls::dispatch_http_call(&place.cluster, headers, None, vec![], FETCH).ok()
}

/// Does something to a stream from the root context, and returns to it. A stream that has ended is left alone.
pub(crate) fn in_stream(stream: StreamId, root: u32, action: impl FnOnce()) {
    if raw::set_effective_context(stream) {
        action();
    }
    let _back = raw::set_effective_context(root);
}

/// Lets a parked request go on.
pub(crate) fn resume(permit: Permit) {
    if mark(permit) {
        continue_request();
    } else {
        // It does not wait for ever for what the host would not do.
        reply_unable();
    }
}

/// Uses a permit up on the request at hand: nothing else lets it go on. An approval is for one try, so the proxy's
/// own retries are switched off for it; `false` where the host does not do that.
#[must_use]
pub(crate) fn mark(permit: Permit) -> bool {
    decision(permit.decision());
    !permit.is_single_use() || set_request_header("x-envoy-max-retries", "0")
}

/// Answers the stream at hand in place of the upstream.
pub(crate) fn reply(reply: &Reply) {
    decision(reply.decision);
    if let Some(rule) = &reply.rule {
        set_property("holdgate.rule", rule.as_bytes());
    }
    let headers: Vec<_> = reply.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    raw::send_local_response(reply.status, &headers, &reply.body);
}

/// Metrics of this VM by their names, as they come up; the gate bounds how many there are.
#[derive(Default)]
pub(crate) struct Metrics(Vec<(String, u32)>);

impl Metrics {
    pub(crate) fn tell(&mut self, figure: Figure) {
        let Figure { name, change } = figure;
        let kind = if matches!(change, Change::Add(_)) { MetricType::Counter } else { MetricType::Gauge };
        let id = match self.0.iter().find(|(known, _)| *known == name) {
            Some((_, id)) => *id,
            None => {
                let Some(id) = raw::define_metric(kind, &name) else { return };
                self.0.push((name, id));
                id
            }
        };
        match change {
            Change::Add(by) => raw::increment_metric(id, by.cast_signed()),
            Change::Shift(by) => raw::increment_metric(id, by),
            Change::Set(value) => raw::record_metric(id, value),
        }
    }
}

/// Answers where the filter has no configuration, or where the host does not do what it must.
pub(crate) fn reply_unable() {
    raw::send_local_response(503, &[("cache-control", "no-store")], &[]);
}

/// Leaves the decision for access logs: `%FILTER_STATE(wasm.holdgate.decision:PLAIN)%` on Envoy.
fn decision(word: &str) {
    // One segment: further ones would be joined with NUL.
    set_property("holdgate.decision", word.as_bytes());
}

fn status(map: MapType) -> Option<u16> {
    let value = raw::header(map, ":status")?;
    std::str::from_utf8(&value).ok()?.parse().ok()
}

fn buffer(kind: BufferType, size: usize) -> Vec<u8> {
    raw::buffer(kind, size)
}
