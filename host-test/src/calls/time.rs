//! The clock, and the timer.

use wasmtime::{Caller, Linker, Result};

use crate::{
    call::{Call, Status},
    state::State,
};

pub(super) fn add(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap("env", "proxy_get_current_time_nanoseconds", now)?;
    linker.func_wrap("env", "proxy_set_tick_period_milliseconds", tick)?;
    Ok(())
}

fn now(caller: Caller<'_, State>, time: u32) -> Result<u32> {
    let mut call = Call::new(caller, "proxy_get_current_time_nanoseconds");
    let now = call.state().setup.time;
    call.put_u64(time, now)?;
    Ok(Status::Ok.into())
}

fn tick(caller: Caller<'_, State>, period: u32) -> Result<u32> {
    let mut call = Call::new(caller, "proxy_set_tick_period_milliseconds");
    call.state().tick_period = period;
    Ok(Status::Ok.into())
}
