//! Header maps.

use wasmtime::{Caller, Linker, Result};

use crate::{
    call::{Call, Status, join},
    state::{Pairs, State},
};

const REQUEST: u32 = 0;
const RESPONSE: u32 = 2;
const CALLOUT: u32 = 6;

pub(super) fn add(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap("env", "proxy_get_header_map_pairs", pairs)?;
    linker.func_wrap("env", "proxy_set_header_map_pairs", set_pairs)?;
    linker.func_wrap("env", "proxy_get_header_map_value", value)?;
    linker.func_wrap("env", "proxy_add_header_map_value", add_value)?;
    linker.func_wrap("env", "proxy_replace_header_map_value", replace)?;
    linker.func_wrap("env", "proxy_remove_header_map_value", remove)?;
    Ok(())
}

fn map<'a>(call: &'a mut Call<'_>, kind: u32) -> Option<&'a mut Pairs> {
    let state = call.state();
    match kind {
        REQUEST => state.stream().map(|stream| &mut stream.request),
        RESPONSE => state.stream().map(|stream| &mut stream.response),
        CALLOUT => state.answer.as_mut().map(|answer| &mut answer.headers),
        _ => None,
    }
}

fn pairs(caller: Caller<'_, State>, kind: u32, data: u32, size: u32) -> Result<u32> {
    let mut call = Call::new(caller, "proxy_get_header_map_pairs");
    let Some(joined) = map(&mut call, kind).map(|map| join(map)) else { return Ok(Status::BadArgument.into()) };
    call.give(&joined, data, size)
}

fn set_pairs(caller: Caller<'_, State>, kind: u32, data: u32, size: u32) -> Result<u32> {
    let mut call = Call::new(caller, "proxy_set_header_map_pairs");
    let new = call.pairs(data, size)?;
    change(&mut call, kind, |map| *map = new)
}

fn value(caller: Caller<'_, State>, kind: u32, name: u32, name_size: u32, data: u32, size: u32) -> Result<u32> {
    let mut call = Call::new(caller, "proxy_get_header_map_value");
    let name = call.bytes(name, name_size)?;
    let Some(map) = map(&mut call, kind) else { return Ok(Status::BadArgument.into()) };
    match map.iter().find(|(other, _)| *other == name).map(|(_, value)| value.clone()) {
        Some(value) => call.give(&value, data, size),
        None => Ok(Status::NotFound.into()),
    }
}

fn add_value(caller: Caller<'_, State>, kind: u32, name: u32, name_size: u32, value: u32, size: u32) -> Result<u32> {
    let mut call = Call::new(caller, "proxy_add_header_map_value");
    let (name, value) = (call.bytes(name, name_size)?, call.bytes(value, size)?);
    change(&mut call, kind, |map| map.push((name, value)))
}

fn replace(caller: Caller<'_, State>, kind: u32, name: u32, name_size: u32, value: u32, size: u32) -> Result<u32> {
    let mut call = Call::new(caller, "proxy_replace_header_map_value");
    let (name, value) = (call.bytes(name, name_size)?, call.bytes(value, size)?);
    change(&mut call, kind, |map| {
        map.retain(|(other, _)| *other != name);
        map.push((name, value));
    })
}

fn remove(caller: Caller<'_, State>, kind: u32, name: u32, name_size: u32) -> Result<u32> {
    let mut call = Call::new(caller, "proxy_remove_header_map_value");
    let name = call.bytes(name, name_size)?;
    change(&mut call, kind, |map| map.retain(|(other, _)| *other != name))
}

fn change(call: &mut Call<'_>, kind: u32, change: impl FnOnce(&mut Pairs)) -> Result<u32> {
    let Some(map) = map(call, kind) else { return Ok(Status::BadArgument.into()) };
    change(map);
    Ok(Status::Ok.into())
}
