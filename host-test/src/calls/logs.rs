//! The proxy's log.

use wasmtime::{Caller, Linker, Result};

use crate::{
    call::{Call, Status},
    state::{Log, State},
};

const INFO: u32 = 2;

pub(super) fn add(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap("env", "proxy_log", log)?;
    linker.func_wrap("env", "proxy_get_log_level", level)?;
    Ok(())
}

fn log(caller: Caller<'_, State>, level: u32, text: u32, size: u32) -> Result<u32> {
    let mut call = Call::new(caller, "proxy_log");
    let text = call.text(text, size)?;
    call.state().logs.push(Log { level, text });
    Ok(Status::Ok.into())
}

fn level(caller: Caller<'_, State>, level: u32) -> Result<u32> {
    let mut call = Call::new(caller, "proxy_get_log_level");
    call.put_u32(level, INFO)?;
    Ok(Status::Ok.into())
}
