//! The little of WASI that Rust's standard library calls in a proxy.

use wasmtime::{Caller, Linker, Result, bail};

use crate::{
    call::Call,
    state::{Log, State},
};

const MODULE: &str = "wasi_snapshot_preview1";
const SUCCESS: u32 = 0;
const BAD_DESCRIPTOR: u32 = 8;
/// The level of what goes to standard output and standard error.
const INFO: u32 = 2;

pub(super) fn add(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(MODULE, "clock_time_get", clock)?;
    linker.func_wrap(MODULE, "random_get", random)?;
    linker.func_wrap(MODULE, "environ_get", environment)?;
    linker.func_wrap(MODULE, "environ_sizes_get", environment_sizes)?;
    linker.func_wrap(MODULE, "fd_write", write)?;
    linker.func_wrap(MODULE, "proc_exit", exit)?;
    Ok(())
}

fn clock(caller: Caller<'_, State>, _clock: u32, _precision: u64, time: u32) -> Result<u32> {
    let mut call = Call::new(caller, "clock_time_get");
    let now = call.state().setup.time;
    call.put_u64(time, now)?;
    Ok(SUCCESS)
}

/// SplitMix64 from the same start for every VM: what a request costs must not depend on chance.
fn random(caller: Caller<'_, State>, at: u32, size: u32) -> Result<u32> {
    let mut call = Call::new(caller, "random_get");
    let mut bytes = Vec::new();
    while bytes.len() < size as usize {
        let state = call.state();
        state.random = state.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut next = state.random;
        next = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        next = (next ^ (next >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((next ^ (next >> 31)).to_le_bytes());
    }
    bytes.truncate(size as usize);
    call.put(at, &bytes)?;
    Ok(SUCCESS)
}

fn variables(call: &mut Call<'_>) -> Vec<Vec<u8>> {
    let variables = call.state().setup.environment.iter();
    variables.map(|(name, value)| format!("{name}={value}\0").into_bytes()).collect()
}

fn environment(caller: Caller<'_, State>, mut places: u32, mut data: u32) -> Result<u32> {
    let mut call = Call::new(caller, "environ_get");
    for variable in variables(&mut call) {
        call.put_u32(places, data)?;
        call.put(data, &variable)?;
        places = places.wrapping_add(4);
        data = data.wrapping_add(u32::try_from(variable.len())?);
    }
    Ok(SUCCESS)
}

fn environment_sizes(caller: Caller<'_, State>, count: u32, size: u32) -> Result<u32> {
    let mut call = Call::new(caller, "environ_sizes_get");
    let variables = variables(&mut call);
    call.put_u32(count, u32::try_from(variables.len())?)?;
    call.put_u32(size, u32::try_from(variables.iter().map(Vec::len).sum::<usize>())?)?;
    Ok(SUCCESS)
}

/// Standard output and standard error go to the proxy's log.
fn write(caller: Caller<'_, State>, descriptor: u32, parts: u32, count: u32, written: u32) -> Result<u32> {
    let mut call = Call::new(caller, "fd_write");
    if !(1..=2).contains(&descriptor) {
        return Ok(BAD_DESCRIPTOR);
    }
    let list = call.bytes(parts, count.saturating_mul(8))?;
    let (numbers, _) = list.as_chunks::<4>();
    let (pairs, _) = numbers.as_chunks::<2>();
    let mut text = String::new();
    for [at, size] in pairs {
        text.push_str(&call.text(u32::from_le_bytes(*at), u32::from_le_bytes(*size))?);
    }
    call.put_u32(written, u32::try_from(text.len())?)?;
    call.state().logs.push(Log { level: INFO, text });
    Ok(SUCCESS)
}

fn exit(caller: Caller<'_, State>, code: u32) -> Result<()> {
    let _call = Call::new(caller, "proc_exit");
    bail!("the filter exits with {code}")
}
