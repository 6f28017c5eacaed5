//! Bodies and the other buffers.

use wasmtime::{Linker, Result};

use crate::{
    call::{Answered, Call, Status, host_calls},
    state::State,
    stream::Way,
};

const REQUEST_BODY: u32 = 0;
const RESPONSE_BODY: u32 = 1;
const CALLOUT_BODY: u32 = 4;
const VM_CONFIGURATION: u32 = 6;
const PLUGIN_CONFIGURATION: u32 = 7;
const LAST: u32 = 8;

pub(super) fn add(linker: &mut Linker<State>) -> Result<()> {
    host_calls! { linker, "env":
        "proxy_get_buffer_bytes" => get, (kind: u32, start: u32, most: u32, data: u32, size: u32);
        "proxy_set_buffer_bytes" => set, (kind: u32, start: u32, length: u32, data: u32, size: u32);
        "proxy_get_buffer_status" => status, (kind: u32, size: u32, flags: u32);
    }
    Ok(())
}

/// The bytes of a buffer, where there is one now.
fn buffer(state: &mut State, kind: u32) -> Option<&[u8]> {
    let open = |way: &Way| way.body_open && way.hidden.is_none();
    match kind {
        REQUEST_BODY => {
            state.stream().filter(|stream| open(&stream.request)).map(|stream| stream.request.body.as_slice())
        }
        RESPONSE_BODY => {
            state.stream().filter(|stream| open(&stream.response)).map(|stream| stream.response.body.as_slice())
        }
        CALLOUT_BODY => state.answer.as_ref().map(|answer| answer.body.as_slice()),
        VM_CONFIGURATION => Some(state.proxy.vm_configuration.as_slice()),
        PLUGIN_CONFIGURATION if state.configuring => Some(state.proxy.configuration.as_slice()),
        _ => None,
    }
}

fn get(call: &mut Call<'_>, kind: u32, start: u32, most: u32, data: u32, size: u32) -> Answered {
    call.say(|| format!("{}, {start}, {most}", name(kind)));
    let Some(whole) = buffer(call.state(), kind) else {
        if kind > LAST {
            call.state().find(format!("there is no kind of buffer {kind}"));
            return Ok(Status::BadArgument);
        }
        return Ok(Status::NotFound);
    };
    let start = start as usize;
    if start > whole.len() {
        return Ok(Status::BadArgument);
    }
    let end = start.saturating_add(most as usize).min(whole.len());
    let part = whole.get(start..end).unwrap_or_default().to_vec();
    call.give(&part, data, size)
}

/// Puts other bytes at the beginning, at the end, or in place of all.
fn set(call: &mut Call<'_>, kind: u32, start: u32, length: u32, data: u32, size: u32) -> Answered {
    let new = call.bytes(data, size)?;
    call.say(|| format!("{}, {start}, {length}, {size} bytes", name(kind)));
    let state = call.state();
    let way = match kind {
        REQUEST_BODY => state.stream().map(|stream| &mut stream.request),
        RESPONSE_BODY => state.stream().map(|stream| &mut stream.response),
        _ => None,
    };
    let Some(body) = way.filter(|way| way.body_open).map(|way| &mut way.body) else {
        state.find(format!("{} is changed where there is none to change", name(kind)));
        return Ok(Status::BadArgument);
    };
    let (start, length) = (start as usize, length as usize);
    match start {
        0 if length == 0 => drop(body.splice(..0, new)),
        0 if length >= body.len() => *body = new,
        start if start >= body.len() => body.extend(new),
        _ => {
            state.find("a piece in the middle of a body is replaced, which hosts do not do".into());
            return Ok(Status::BadArgument);
        }
    }
    Ok(Status::Ok)
}

fn status(call: &mut Call<'_>, kind: u32, size: u32, flags: u32) -> Answered {
    let Some(length) = buffer(call.state(), kind).map(<[u8]>::len) else { return Ok(Status::NotFound) };
    call.put_u32(size, u32::try_from(length).unwrap_or(u32::MAX))?;
    call.put_u32(flags, 0)?;
    Ok(Status::Ok)
}

fn name(kind: u32) -> String {
    let names = [
        "request body",
        "response body",
        "downstream data",
        "upstream data",
        "callout body",
        "grpc message",
        "vm configuration",
        "plugin configuration",
        "call data",
    ];
    names.get(kind as usize).map_or_else(|| format!("buffer {kind}"), |name| (*name).to_owned())
}
