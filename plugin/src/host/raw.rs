//! The host functions as they are. The SDK's wrappers panic on any status that they do not expect, as that of a stream which
//! has just ended, or of a host that cannot do what it is asked; one does on header names that are not UTF-8. What stays the SDK's
//! is the dispatch of callouts, of which it keeps a table of its own.

#![expect(unsafe_code, reason = "the ABI of proxy-wasm 0.2.1 is raw pointers")]

use holdgate_gate::Pairs;
use proxy_wasm::types::{BufferType, LogLevel, MapType, MetricType};

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
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_get_buffer_bytes(buffer: u32, start: usize, most: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
        version: *mut u32,
    ) -> u32;
    fn proxy_increment_metric(id: u32, by: i64) -> u32;
    fn proxy_log(level: u32, text: *const u8, size: usize) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_set_shared_data(key: *const u8, key_size: usize, value: *const u8, size: usize, version: u32) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
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

/// The root context at hand has nothing left to do, after its `on_done` said that it has.
pub(crate) fn done() {
    // SAFETY: nothing is handed over.
    let _status = unsafe { proxy_done() };
}

/// Lets a paused request go on.
pub(crate) fn continue_request() {
    // SAFETY: nothing but a number is handed over.
    let _status = unsafe { proxy_continue_stream(REQUEST) };
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

/// Nanoseconds since 1970.
pub(crate) fn current_time() -> Option<u64> {
    let mut time = 0;
    // SAFETY: the pointer is to a local that outlives the call.
    let status = unsafe { proxy_get_current_time_nanoseconds(&raw mut time) };
    (status == 0).then_some(time)
}

/// The first value of a header.
pub(crate) fn header(map: MapType, name: &str) -> Option<Vec<u8>> {
    // SAFETY: the host reads the name during the call only.
    given(|data, size| unsafe { proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), data, size) })
}

/// The beginning of a buffer, so many bytes at most; empty where there is none.
pub(crate) fn buffer(kind: BufferType, most: usize) -> Vec<u8> {
    // SAFETY: nothing but numbers is handed over.
    given(|data, size| unsafe { proxy_get_buffer_bytes(kind as u32, 0, most, data, size) }).unwrap_or_default()
}

/// A value that workers share, with its version.
pub(crate) fn shared_data(key: &str) -> (Option<Vec<u8>>, u32) {
    let mut version = 0;
    let place = &raw mut version;
    // SAFETY: the host reads the key during the call only; the version is a local that outlives it.
    let value = given(|data, size| unsafe { proxy_get_shared_data(key.as_ptr(), key.len(), data, size, place) });
    (value, version)
}

/// `false` where the version is another one by now, or the host does not do it.
pub(crate) fn set_shared_data(key: &str, value: &[u8], version: u32) -> bool {
    // SAFETY: the host reads both slices during the call only.
    unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), version) == 0 }
}

/// `false` where there is no such context, or none any more.
pub(crate) fn set_effective_context(context: u32) -> bool {
    // SAFETY: nothing but a number is handed over.
    unsafe { proxy_set_effective_context(context) == 0 }
}

pub(crate) fn tick_every(milliseconds: u32) {
    // SAFETY: nothing but a number is handed over.
    let _status = unsafe { proxy_set_tick_period_milliseconds(milliseconds) };
}

pub(crate) fn log(level: LogLevel, text: &str) {
    // SAFETY: the host reads the text during the call only.
    let _status = unsafe { proxy_log(level as u32, text.as_ptr(), text.len()) };
}

/// The number of a metric of that name.
pub(crate) fn define_metric(kind: MetricType, name: &str) -> Option<u32> {
    let mut id = 0;
    // SAFETY: the host reads the name during the call only; the number is a local that outlives it.
    let status = unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &raw mut id) };
    (status == 0).then_some(id)
}

pub(crate) fn increment_metric(id: u32, by: i64) {
    // SAFETY: nothing but numbers is handed over.
    let _status = unsafe { proxy_increment_metric(id, by) };
}

pub(crate) fn record_metric(id: u32, value: u64) {
    // SAFETY: nothing but numbers is handed over.
    let _status = unsafe { proxy_record_metric(id, value) };
}

/// Answers the stream at hand in place of the upstream.
pub(crate) fn send_local_response(status: u16, headers: &[(&str, &str)], body: &[u8]) {
    let headers = joined(headers);
    let (none, none_size) = (std::ptr::null(), 0);
    let (body, body_size) = (body.as_ptr(), body.len());
    let (head, head_size) = (headers.as_ptr(), headers.len());
    // SAFETY: the host reads the slices during the call only.
    let _status =
        unsafe { proxy_send_local_response(status.into(), none, none_size, body, body_size, head, head_size, NO_GRPC) };
}

/// There is no status of gRPC.
const NO_GRPC: i32 = -1;

/// The ABI's form of a map: a count, so many pairs of lengths, then names and values, each with a NUL.
fn joined(pairs: &[(&str, &str)]) -> Vec<u8> {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    let mut joined = number(pairs.len()).to_vec();
    for (name, value) in pairs {
        joined.extend(number(name.len()));
        joined.extend(number(value.len()));
    }
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        joined.extend(text.as_bytes());
        joined.push(0);
    }
    joined
}

/// What the host hands over; `None` where it says so.
fn given(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Option<Vec<u8>> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    if call(&raw mut data, &raw mut size) != 0 {
        return None;
    }
    if data.is_null() {
        return Some(Vec::new());
    }
    // SAFETY: the host allocated `size` bytes at `data` by the module's own allocator and hands them over.
    Some(unsafe { Vec::from_raw_parts(data, size, size) })
}
