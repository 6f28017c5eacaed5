//! Every call to the host. The SDK's wrappers panic on a status that its authors did not expect; they are called here only
//! where hosts give no other, and the others are replaced below.

use std::time::{Duration, UNIX_EPOCH};

use holdgate_gate::{Answer, Callout, Change, Changes, Figure, Host, Pairs, Permit, Reply, StreamId, config::KeyPlace};
use holdgate_protocol::jws::{host_question, host_says_yes};
use proxy_wasm::{
    hostcalls,
    types::{BufferType, LogLevel, MapType, MetricType},
};

/// How long a fetch may take.
const FETCH: Duration = Duration::from_secs(5);

/// How the approval service is called.
pub(crate) struct Service {
    pub(crate) cluster: String,
    pub(crate) authority: String,
    pub(crate) authorization: String,
}

/// The time in Unix milliseconds.
pub(crate) fn now() -> u64 {
    let now = hostcalls::get_current_time().unwrap_or(UNIX_EPOCH);
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
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
        let (value, version) = hostcalls::get_shared_data(key).unwrap_or_default();
        (value, version.unwrap_or_default())
    }

    fn share(&mut self, key: &str, value: &[u8], version: u32) -> bool {
        let version = Some(version).filter(|version| *version > 0);
        hostcalls::set_shared_data(key, Some(value), version).is_ok()
    }
}

pub(crate) fn tick_every(milliseconds: u64) {
    let _set = hostcalls::set_tick_period(Duration::from_millis(milliseconds));
}

pub(crate) fn log(level: LogLevel, text: &str) {
    let _logged = hostcalls::log(level, text);
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
    let announced = hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, "content-length");
    let length = !matches!(announced, Ok(Some(_))) || set_request_header("content-length", &body.len().to_string());
    // What described the octets that came does not describe these.
    let described = ["content-digest", "repr-digest", "digest", "content-md5"];
    length
        && described.iter().all(|name| remove_request_header(name))
        && set_buffer(BufferType::HttpRequestBody, size, body)
}

/// Status and content-type of an answer, and whether it is encoded.
pub(crate) fn answers_list() -> (u16, Option<String>, bool) {
    let value = |name| hostcalls::get_map_value_bytes(MapType::HttpResponseHeaders, name).ok().flatten();
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
    hostcalls::get_shared_data(name).ok().and_then(|(value, _)| value)
}

/// Keeps something for the next VM. The last one to write wins, and whoever reads it verifies it.
pub(crate) fn keep(name: &str, value: &[u8]) {
    // ngx_wasm_module replaces nothing without its version.
    let version = hostcalls::get_shared_data(name).ok().and_then(|(_, version)| version);
    let _kept = hostcalls::set_shared_data(name, Some(value), version);
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
    if hostcalls::set_effective_context(stream).is_ok() {
        action();
    }
    let _back = hostcalls::set_effective_context(root);
}

/// Lets a parked request go on.
pub(crate) fn resume(permit: Permit) {
    // A stream that cannot be marked has ended.
    if mark(permit) {
        continue_request();
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
    let headers = reply.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let _sent = hostcalls::send_http_response(reply.status.into(), headers, Some(&reply.body));
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
                let Ok(id) = hostcalls::define_metric(kind, &name) else { return };
                self.0.push((name, id));
                id
            }
        };
        let _told = match change {
            Change::Add(by) => hostcalls::increment_metric(id, by.cast_signed()),
            Change::Shift(by) => hostcalls::increment_metric(id, by),
            Change::Set(value) => hostcalls::record_metric(id, value),
        };
    }
}

/// Answers where the filter has no configuration, or where the host does not do what it must.
pub(crate) fn reply_unable() {
    let _sent = hostcalls::send_http_response(503, vec![("cache-control", "no-store")], None);
}

/// Leaves the decision for access logs: `%FILTER_STATE(wasm.holdgate.decision:PLAIN)%` on Envoy.
fn decision(word: &str) {
    // One segment: further ones would be joined with NUL.
    set_property("holdgate.decision", word.as_bytes());
}

fn status(map: MapType) -> Option<u16> {
    let value = hostcalls::get_map_value_bytes(map, ":status").ok()??;
    std::str::from_utf8(&value).ok()?.parse().ok()
}

fn buffer(kind: BufferType, size: usize) -> Vec<u8> {
    hostcalls::get_buffer(kind, 0, size).ok().flatten().unwrap_or_default()
}

pub(crate) use raw::{
    call_foreign_function, continue_request, done, header_map, property, remove_header, set_buffer, set_header,
    set_property,
};

/// Host functions whose wrappers panic where input or circumstances can bring it about: one on header names that are not
/// UTF-8, the others on any status that they do not expect, as that of a stream which has just ended.
#[expect(unsafe_code, reason = "the ABI of proxy-wasm 0.2.1 is raw pointers")]
mod raw {
    use holdgate_gate::Pairs;
    use proxy_wasm::types::{BufferType, MapType};

    unsafe extern "C" {
        fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
        fn proxy_call_foreign_function(
            name: *const u8,
            name_size: usize,
            argument: *const u8,
            argument_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        fn proxy_continue_stream(stream: u32) -> u32;
        fn proxy_done() -> u32;
        fn proxy_get_property(path: *const u8, path_size: usize, data: *mut *mut u8, size: *mut usize) -> u32;
        fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
        fn proxy_replace_header_map_value(
            map: u32,
            name: *const u8,
            name_size: usize,
            value: *const u8,
            value_size: usize,
        ) -> u32;
        fn proxy_set_buffer_bytes(buffer: u32, start: usize, size: usize, data: *const u8, data_size: usize) -> u32;
        fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, value_size: usize) -> u32;
    }

    /// All pairs of a header map; empty where there is no such map now.
    pub(crate) fn header_map(map: MapType) -> Pairs {
        let mut data = std::ptr::null_mut();
        let mut size = 0;
        // SAFETY: both pointers are to locals that outlive the call.
        let status = unsafe { proxy_get_header_map_pairs(map as u32, &raw mut data, &raw mut size) };
        if status != 0 || data.is_null() {
            return Pairs::default();
        }
        // SAFETY: the host allocated `size` bytes at `data` by the module's own allocator and hands them over.
        let bytes = unsafe { Vec::from_raw_parts(data, size, size) };
        Pairs::read(bytes).unwrap_or_default()
    }

    /// What a function of the host's own answers; `None` where it has none of that name, or the call fails.
    pub(crate) fn call_foreign_function(name: &str, argument: &[u8]) -> Option<Vec<u8>> {
        let mut data = std::ptr::null_mut();
        let mut size = 0;
        let (argument, argument_size) = (argument.as_ptr(), argument.len());
        // SAFETY: the host reads both slices during the call only, and both pointers are to locals that outlive it.
        let status = unsafe {
            let (data, size) = (&raw mut data, &raw mut size);
            proxy_call_foreign_function(name.as_ptr(), name.len(), argument, argument_size, data, size)
        };
        if status != 0 || data.is_null() {
            return if status == 0 { Some(Vec::new()) } else { None };
        }
        // SAFETY: the host allocated `size` bytes at `data` by the module's own allocator and hands them over.
        Some(unsafe { Vec::from_raw_parts(data, size, size) })
    }

    /// A property of the stream at hand, by the segments of its path; `None` where there is none.
    pub(crate) fn property(path: &[&str]) -> Option<Vec<u8>> {
        let path = path.join("\0");
        let mut data = std::ptr::null_mut();
        let mut size = 0;
        // SAFETY: the host reads the path during the call only; both pointers are to locals that outlive it.
        let status = unsafe { proxy_get_property(path.as_ptr(), path.len(), &raw mut data, &raw mut size) };
        if status != 0 || data.is_null() {
            return None;
        }
        // SAFETY: the host allocated `size` bytes at `data` by the module's own allocator and hands them over.
        Some(unsafe { Vec::from_raw_parts(data, size, size) })
    }

    /// The number of the request among the streams of a context.
    const REQUEST: u32 = 0;

    /// Lets a paused request go on.
    pub(crate) fn continue_request() {
        // SAFETY: nothing but a number is handed over.
        let _status = unsafe { proxy_continue_stream(REQUEST) };
    }

    /// The root context at hand has nothing left to do, after its `on_done` said that it has. Envoy answers a bare yes or no here
    /// where the wrapper expects a status.
    pub(crate) fn done() {
        // SAFETY: nothing is handed over.
        let _status = unsafe { proxy_done() };
    }

    /// `false` where the host does not do it.
    pub(crate) fn remove_header(map: MapType, name: &str) -> bool {
        // SAFETY: the host reads the slice during the call only.
        unsafe { proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) == 0 }
    }

    /// Sets a header, in place of all of its name; `false` where the host does not do it.
    pub(crate) fn set_header(map: MapType, name: &str, value: &str) -> bool {
        let (value, value_size) = (value.as_ptr(), value.len());
        // SAFETY: the host reads both slices during the call only.
        unsafe { proxy_replace_header_map_value(map as u32, name.as_ptr(), name.len(), value, value_size) == 0 }
    }

    /// Puts other bytes in place of so many; `false` where the host does not.
    pub(crate) fn set_buffer(buffer: BufferType, size: usize, bytes: &[u8]) -> bool {
        // SAFETY: the host reads the slice during the call only.
        unsafe { proxy_set_buffer_bytes(buffer as u32, 0, size, bytes.as_ptr(), bytes.len()) == 0 }
    }

    pub(crate) fn set_property(path: &str, value: &[u8]) {
        // SAFETY: the host reads both slices during the call only.
        let _status = unsafe { proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) };
    }
}
