//! HTTP calls of the filter to other services.

use wasmtime::{Caller, Linker, Result};

use crate::{
    call::{Call, Status},
    state::{Callout, State},
};

pub(super) fn add(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap("env", "proxy_http_call", http_call)?;
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "the ABI's signature")]
fn http_call(
    caller: Caller<'_, State>,
    cluster: u32,
    cluster_size: u32,
    headers: u32,
    headers_size: u32,
    body: u32,
    body_size: u32,
    _trailers: u32,
    _trailers_size: u32,
    timeout: u32,
    token: u32,
) -> Result<u32> {
    let mut call = Call::new(caller, "proxy_http_call");
    let cluster = call.text(cluster, cluster_size)?;
    let headers = call.pairs(headers, headers_size)?;
    let body = call.bytes(body, body_size)?;
    let has = |name: &str| headers.iter().any(|(other, _)| other == name.as_bytes());
    if ![":method", ":path", ":authority"].into_iter().all(has) {
        return Ok(Status::BadArgument.into());
    }
    let state = call.state();
    state.last_token += 1;
    let (given, context) = (state.last_token, state.effective);
    state.callouts.insert(given, Callout { token: given, context, cluster, headers, body, timeout });
    call.put_u32(token, given)?;
    Ok(Status::Ok.into())
}
