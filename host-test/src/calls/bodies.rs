//! Bodies and the other buffers.

use wasmtime::{Caller, Linker, Result};

use crate::{
    call::{Call, Status},
    state::State,
};

const REQUEST_BODY: u32 = 0;
const CALLOUT_BODY: u32 = 4;
const VM_CONFIGURATION: u32 = 6;
const PLUGIN_CONFIGURATION: u32 = 7;

pub(super) fn add(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap("env", "proxy_get_buffer_bytes", get)?;
    linker.func_wrap("env", "proxy_set_buffer_bytes", set)?;
    Ok(())
}

fn get(caller: Caller<'_, State>, kind: u32, start: u32, most: u32, data: u32, size: u32) -> Result<u32> {
    let mut call = Call::new(caller, "proxy_get_buffer_bytes");
    let state = call.state();
    let whole = match kind {
        REQUEST_BODY => state.stream().map(|stream| stream.request_body.as_slice()),
        CALLOUT_BODY => state.answer.as_ref().map(|answer| answer.body.as_slice()),
        PLUGIN_CONFIGURATION => Some(state.setup.configuration.as_slice()),
        VM_CONFIGURATION => Some([].as_slice()),
        _ => return Ok(Status::BadArgument.into()),
    };
    let Some(whole) = whole else { return Ok(Status::NotFound.into()) };
    let part: Vec<u8> = whole.iter().skip(start as usize).take(most as usize).copied().collect();
    call.give(&part, data, size)
}

fn set(caller: Caller<'_, State>, kind: u32, start: u32, length: u32, data: u32, size: u32) -> Result<u32> {
    let mut call = Call::new(caller, "proxy_set_buffer_bytes");
    let new = call.bytes(data, size)?;
    let stream = call.state().stream();
    let Some(stream) = stream.filter(|_| kind == REQUEST_BODY) else { return Ok(Status::BadArgument.into()) };
    let body = &mut stream.request_body;
    let from = (start as usize).min(body.len());
    let to = from.saturating_add(length as usize).min(body.len());
    body.splice(from..to, new);
    Ok(Status::Ok.into())
}
