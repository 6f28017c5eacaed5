//! Values that the workers of a proxy share, with compare-and-swap.

use wasmtime::{Caller, Linker, Result};

use crate::{
    call::{Call, Status},
    state::State,
};

pub(super) fn add(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap("env", "proxy_get_shared_data", get)?;
    linker.func_wrap("env", "proxy_set_shared_data", set)?;
    Ok(())
}

fn get(caller: Caller<'_, State>, key: u32, key_size: u32, data: u32, size: u32, version: u32) -> Result<u32> {
    let mut call = Call::new(caller, "proxy_get_shared_data");
    let key = call.bytes(key, key_size)?;
    let Some((value, current)) = call.state().shared.get(&key).cloned() else { return Ok(Status::NotFound.into()) };
    call.put_u32(version, current)?;
    call.give(&value, data, size)
}

/// Version 0 writes whatever is there.
fn set(caller: Caller<'_, State>, key: u32, key_size: u32, value: u32, size: u32, version: u32) -> Result<u32> {
    let mut call = Call::new(caller, "proxy_set_shared_data");
    let (key, value) = (call.bytes(key, key_size)?, call.bytes(value, size)?);
    let shared = &mut call.state().shared;
    let current = shared.get(&key).map_or(0, |(_, version)| *version);
    if version != 0 && version != current {
        return Ok(Status::CasMismatch.into());
    }
    shared.insert(key, (value, current.wrapping_add(1).max(1)));
    Ok(Status::Ok.into())
}
