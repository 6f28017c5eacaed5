//! Functions that a host has beyond the ABI.

use wasmtime::{Linker, Result};

use crate::{
    call::{Answered, Call, Status, host_calls},
    state::State,
};

pub(super) fn add(linker: &mut Linker<State>) -> Result<()> {
    host_calls! { linker, "env":
        "proxy_call_foreign_function" => call_foreign, (name: u32, name_size: u32, argument: u32, argument_size: u32,
            data: u32, size: u32);
    }
    Ok(())
}

fn call_foreign(
    call: &mut Call<'_>,
    name: u32,
    name_size: u32,
    argument: u32,
    argument_size: u32,
    data: u32,
    size: u32,
) -> Answered {
    let name = call.text(name, name_size)?;
    let argument = call.bytes(argument, argument_size)?;
    call.say(|| format!("{name}, {argument_size} bytes"));
    let proxy = &mut call.state().proxy;
    let function = proxy.foreign.get_mut(&name).filter(|_| proxy.profile.has_foreign_functions());
    let Some(function) = function else { return Ok(Status::NotFound) };
    match function(&argument) {
        Some(answer) => call.give(&answer, data, size),
        None => Ok(Status::BadArgument),
    }
}
