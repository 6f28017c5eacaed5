//! MCP messages: what of one belongs to a try and not to the call, so that a client's retry is the same request.

use crate::Json;

/// What a `requestState` of Holdgate begins with (`hg1.` and the hold). Upstreams must not begin theirs so.
pub const STATE_PREFIX: &str = "hg1.";

/// Members of `params._meta` that differ from try to try: progress, and trace context (MCP 2026-07-28, "General fields").
const OF_A_TRY: [&str; 4] = ["progressToken", "traceparent", "tracestate", "baggage"];

/// Takes Holdgate's own `requestState` out of a message; one of the upstream's stays where it is.
///
/// It says nothing that counts: a retry finds its hold by its digest.
pub fn take_request_state(message: &mut Json) -> Option<Json> {
    let place = ["params", "requestState"];
    let own = message.member(&place).and_then(Json::as_str).is_some_and(|state| state.starts_with(STATE_PREFIX));
    if own { message.remove(&place) } else { None }
}

/// The octets of a message that a digest covers: its canonical form without what belongs to a try. A `_meta` in which
/// nothing is left is left out.
pub fn content(mut message: Json) -> Vec<u8> {
    take_request_state(&mut message);
    message.remove(&["id"]);
    for name in OF_A_TRY {
        message.remove(&["params", "_meta", name]);
    }
    let meta = ["params", "_meta"];
    if message.member(&meta).and_then(Json::as_object).is_some_and(|meta| meta.iter().next().is_none()) {
        message.remove(&meta);
    }
    message.to_jcs()
}
