//! The proxy's log.

use wasmtime::{Linker, Result};

use crate::{
    call::{Answered, Call, Status, host_calls},
    proxy::Log,
    state::State,
};

const INFO: u32 = 2;
const CRITICAL: u32 = 5;

pub(super) fn add(linker: &mut Linker<State>) -> Result<()> {
    host_calls! { linker, "env":
        "proxy_log" => log, (level: u32, text: u32, size: u32);
        "proxy_get_log_level" => level, (at: u32);
    }
    Ok(())
}

fn log(call: &mut Call<'_>, level: u32, text: u32, size: u32) -> Answered {
    let text = call.text(text, size)?;
    call.say(|| format!("{level}, {text}"));
    if level > CRITICAL {
        call.state().find(format!("there is no log level {level}"));
        return Ok(Status::BadArgument);
    }
    let proxy = &mut call.state().proxy;
    proxy.progress += 1;
    proxy.logs.push(Log { level, text });
    Ok(Status::Ok)
}

fn level(call: &mut Call<'_>, at: u32) -> Answered {
    call.put_u32(at, INFO)?;
    Ok(Status::Ok)
}
