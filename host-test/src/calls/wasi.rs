//! The little of WASI that a filter's standard library calls in a proxy. There are no files and no arguments.

use wasmtime::{Linker, Result};

use crate::{
    call::{Call, Fail, host_calls},
    proxy::Log,
    state::State,
};

const SUCCESS: u32 = 0;
const BAD_DESCRIPTOR: u32 = 8;
/// The level of what goes to standard output and standard error.
const INFO: u32 = 2;

type Errno = std::result::Result<u32, Fail>;

pub(super) fn add(linker: &mut Linker<State>) -> Result<()> {
    host_calls! { linker, "wasi_snapshot_preview1":
        "args_get" => arguments, (_places: u32, _data: u32);
        "args_sizes_get" => argument_sizes, (count: u32, size: u32);
        "clock_time_get" => clock, (_clock: u32, _precision: u64, time: u32);
        "random_get" => random, (at: u32, size: u32);
        "environ_get" => environment, (places: u32, data: u32);
        "environ_sizes_get" => environment_sizes, (count: u32, size: u32);
        "fd_write" => write, (descriptor: u32, parts: u32, count: u32, written: u32);
        "fd_close" => no_file, (_descriptor: u32);
        "fd_fdstat_get" => no_status, (_descriptor: u32, _at: u32);
        "fd_seek" => no_seek, (_descriptor: u32, _offset: i64, _from: u32, _at: u32);
        "fd_read" => no_read, (_descriptor: u32, _parts: u32, _count: u32, _read: u32);
        "sched_yield" => go_on, ();
    }
    linker.func_wrap("wasi_snapshot_preview1", "proc_exit", |code: u32| -> Result<()> {
        Err(wasmtime::Error::msg(format!("the filter exits with {code}")))
    })?;
    Ok(())
}

fn arguments(_: &mut Call<'_>, _: u32, _: u32) -> Errno {
    Ok(SUCCESS)
}

fn argument_sizes(call: &mut Call<'_>, count: u32, size: u32) -> Errno {
    call.put_u32(count, 0)?;
    call.put_u32(size, 0)?;
    Ok(SUCCESS)
}

fn clock(call: &mut Call<'_>, _: u32, _: u64, time: u32) -> Errno {
    let now = call.state().proxy.now;
    call.put_u64(time, now)?;
    Ok(SUCCESS)
}

/// SplitMix64 from a start that the caller sets: what a request costs must not depend on chance.
fn random(call: &mut Call<'_>, at: u32, size: u32) -> Errno {
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
    let proxy = &call.state().proxy;
    let all = Some(&proxy.environment).filter(|_| proxy.profile.has_environment());
    all.into_iter().flatten().map(|(name, value)| format!("{name}={value}\0").into_bytes()).collect()
}

fn environment(call: &mut Call<'_>, mut places: u32, mut data: u32) -> Errno {
    for variable in variables(call) {
        call.put_u32(places, data)?;
        call.put(data, &variable)?;
        places = places.wrapping_add(4);
        data = data.wrapping_add(length(&variable));
    }
    Ok(SUCCESS)
}

fn environment_sizes(call: &mut Call<'_>, count: u32, size: u32) -> Errno {
    let variables = variables(call);
    call.put_u32(count, u32::try_from(variables.len()).unwrap_or(u32::MAX))?;
    call.put_u32(size, variables.iter().map(|variable| length(variable)).sum())?;
    Ok(SUCCESS)
}

/// Standard output and standard error go to the proxy's log.
fn write(call: &mut Call<'_>, descriptor: u32, parts: u32, count: u32, written: u32) -> Errno {
    if !(1..=2).contains(&descriptor) {
        return Ok(BAD_DESCRIPTOR);
    }
    let list = call.bytes(parts, count.saturating_mul(8))?;
    let (numbers, _) = list.as_chunks::<4>();
    let (pairs, _) = numbers.as_chunks::<2>();
    let (mut text, mut size) = (String::new(), 0_u32);
    for [at, part] in pairs {
        let part = u32::from_le_bytes(*part);
        text.push_str(&call.text(u32::from_le_bytes(*at), part)?);
        size = size.saturating_add(part);
    }
    call.put_u32(written, size)?;
    call.state().proxy.logs.push(Log { level: INFO, text });
    Ok(SUCCESS)
}

fn no_file(_: &mut Call<'_>, _: u32) -> Errno {
    Ok(BAD_DESCRIPTOR)
}

fn no_status(_: &mut Call<'_>, _: u32, _: u32) -> Errno {
    Ok(BAD_DESCRIPTOR)
}

fn no_seek(_: &mut Call<'_>, _: u32, _: i64, _: u32, _: u32) -> Errno {
    Ok(BAD_DESCRIPTOR)
}

fn no_read(_: &mut Call<'_>, _: u32, _: u32, _: u32, _: u32) -> Errno {
    Ok(BAD_DESCRIPTOR)
}

fn go_on(_: &mut Call<'_>) -> Errno {
    Ok(SUCCESS)
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
