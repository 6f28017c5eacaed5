//! Properties of a stream; those that the filter set itself, and no others yet.

use wasmtime::{Caller, Linker, Result};

use crate::{
    call::{Call, Status},
    state::State,
};

pub(super) fn add(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap("env", "proxy_get_property", get)?;
    linker.func_wrap("env", "proxy_set_property", set)?;
    Ok(())
}

fn get(caller: Caller<'_, State>, path: u32, path_size: u32, data: u32, size: u32) -> Result<u32> {
    let mut call = Call::new(caller, "proxy_get_property");
    let path = call.bytes(path, path_size)?;
    let value = call.state().stream().and_then(|stream| stream.properties.get(&path)).cloned();
    match value {
        Some(value) => call.give(&value, data, size),
        None => Ok(Status::NotFound.into()),
    }
}

fn set(caller: Caller<'_, State>, path: u32, path_size: u32, value: u32, size: u32) -> Result<u32> {
    let mut call = Call::new(caller, "proxy_set_property");
    let (path, value) = (call.bytes(path, path_size)?, call.bytes(value, size)?);
    let Some(stream) = call.state().stream() else { return Ok(Status::NotFound.into()) };
    stream.properties.insert(path, value);
    Ok(Status::Ok.into())
}
