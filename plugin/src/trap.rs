//! A request that brings the VM down as a panic would: what a filter does that is built for the test of that, and no other.

use proxy_wasm::{hostcalls::get_map_value_bytes, types::MapType};

/// The path of such a request. The test looks for it in the filter that is shipped.
const PATH: &[u8] = b"/holdgate-crashes-here";

pub(crate) fn spring() {
    let path = get_map_value_bytes(MapType::HttpRequestHeaders, ":path");
    if path.is_ok_and(|path| path.as_deref() == Some(PATH)) {
        core::arch::wasm32::unreachable();
    }
}
