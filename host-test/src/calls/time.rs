//! The clock, and the timer.

use wasmtime::{Linker, Result};

use crate::{
    call::{Answered, Call, Status, host_calls},
    proxy::Event,
    state::State,
};

const NANOSECONDS: u64 = 1_000_000;

pub(super) fn add(linker: &mut Linker<State>) -> Result<()> {
    host_calls! { linker, "env":
        "proxy_get_current_time_nanoseconds" => now, (time: u32);
        "proxy_set_tick_period_milliseconds" => tick, (period: u32);
    }
    Ok(())
}

fn now(call: &mut Call<'_>, time: u32) -> Answered {
    let now = call.state().proxy.now;
    call.put_u64(time, now)?;
    Ok(Status::Ok)
}

fn tick(call: &mut Call<'_>, period: u32) -> Answered {
    call.say(|| format!("{period} ms"));
    let state = call.state();
    let (worker, vm, root) = (state.worker, state.vm, state.root());
    let Some(context) = state.roots.get_mut(&root) else { return Ok(Status::BadArgument) };
    context.tick_period = period;
    if period > 0 && !context.ticking {
        context.ticking = true;
        state.proxy.plan(u64::from(period) * NANOSECONDS, Event::Tick { worker, vm, root, period });
    }
    Ok(Status::Ok)
}
