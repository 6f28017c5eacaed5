//! What the filter does with a stream: continue, close, answer in the upstream's place; and which stream is meant.

use wasmtime::{Caller, Linker, Result};

use crate::{
    call::{Call, Status},
    state::{LocalReply, State},
    vm::ROOT,
};

const REQUEST: u32 = 0;

pub(super) fn add(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap("env", "proxy_continue_stream", resume)?;
    linker.func_wrap("env", "proxy_send_local_response", reply)?;
    linker.func_wrap("env", "proxy_set_effective_context", set_effective)?;
    linker.func_wrap("env", "proxy_done", done)?;
    Ok(())
}

fn resume(caller: Caller<'_, State>, kind: u32) -> Result<u32> {
    let mut call = Call::new(caller, "proxy_continue_stream");
    let Some(stream) = call.state().stream() else { return Ok(Status::BadArgument.into()) };
    stream.resumed |= kind == REQUEST;
    Ok(Status::Ok.into())
}

#[expect(clippy::too_many_arguments, reason = "the ABI's signature")]
fn reply(
    caller: Caller<'_, State>,
    status: u32,
    _details: u32,
    _details_size: u32,
    body: u32,
    body_size: u32,
    headers: u32,
    headers_size: u32,
    _grpc_status: i32,
) -> Result<u32> {
    let mut call = Call::new(caller, "proxy_send_local_response");
    let (body, headers) = (call.bytes(body, body_size)?, call.pairs(headers, headers_size)?);
    let Some(stream) = call.state().stream() else { return Ok(Status::BadArgument.into()) };
    stream.reply.get_or_insert(LocalReply { status, headers, body });
    Ok(Status::Ok.into())
}

fn set_effective(caller: Caller<'_, State>, context: u32) -> Result<u32> {
    let mut call = Call::new(caller, "proxy_set_effective_context");
    let state = call.state();
    if context != ROOT && !state.streams.contains_key(&context) {
        return Ok(Status::BadArgument.into());
    }
    state.effective = context;
    Ok(Status::Ok.into())
}

fn done(caller: Caller<'_, State>) -> Result<u32> {
    let _call = Call::new(caller, "proxy_done");
    Ok(Status::Ok.into())
}
