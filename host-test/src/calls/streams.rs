//! What the filter does with a stream: continue, close, answer in the upstream's place; and which stream is meant.

use wasmtime::{Error, Linker, Result};

use crate::{
    call::{Answered, Call, Fail, Status, host_calls},
    state::State,
    stream::{Deferred, LocalReply, Side},
    trace::{shown, shown_pairs},
};

const REQUEST: u32 = 0;
const RESPONSE: u32 = 1;
const UPSTREAM: u32 = 3;

pub(super) fn add(linker: &mut Linker<State>) -> Result<()> {
    host_calls! { linker, "env":
        "proxy_continue_stream" => resume, (kind: u32);
        "proxy_close_stream" => close, (kind: u32);
        "proxy_send_local_response" => reply, (status: u32, details: u32, details_size: u32, body: u32, body_size: u32,
            headers: u32, headers_size: u32, _grpc: i32);
        "proxy_set_effective_context" => set_effective, (context: u32);
        "proxy_done" => done, ();
    }
    Ok(())
}

/// Hosts that cannot wake a stream from outside of its own callbacks end with the attempt.
fn reachable(call: &mut Call<'_>) -> std::result::Result<(), Fail> {
    let state = call.state();
    let own = state.effective == state.active || !state.streams.contains_key(&state.effective);
    if own || state.proxy.profile.wakes_from_root() {
        return Ok(());
    }
    Err(Fail::Trap(Error::msg(
        "a stream is woken or answered from another context: a worker of this host ends with that",
    )))
}

/// It happens once the filter has returned.
fn resume(call: &mut Call<'_>, kind: u32) -> Answered {
    call.say(|| side_name(kind).to_owned());
    reachable(call)?;
    let side = match kind {
        REQUEST => Side::Request,
        RESPONSE => Side::Response,
        _ => return Ok(Status::BadArgument),
    };
    let state = call.state();
    let (context, profile) = (state.effective, state.proxy.profile);
    let Some(stream) = state.stream() else { return Ok(Status::BadArgument) };
    stream.close_request(profile);
    if side == Side::Response && profile.closes_maps() {
        stream.response.headers_open = false;
    }
    state.deferred.push_back(Deferred::Continue(context, side));
    Ok(Status::Ok)
}

fn close(call: &mut Call<'_>, kind: u32) -> Answered {
    call.say(|| side_name(kind).to_owned());
    if kind > UPSTREAM {
        return Ok(Status::BadArgument);
    }
    let state = call.state();
    let context = state.effective;
    if state.stream().is_none() {
        return Ok(Status::BadArgument);
    }
    state.deferred.push_back(Deferred::Reset(context));
    Ok(Status::Ok)
}

#[expect(clippy::too_many_arguments, reason = "the ABI's signature")]
fn reply(
    call: &mut Call<'_>,
    status: u32,
    _details: u32,
    _details_size: u32,
    body: u32,
    body_size: u32,
    headers: u32,
    headers_size: u32,
    _grpc: i32,
) -> Answered {
    let (body, headers) = (call.bytes(body, body_size)?, call.pairs(headers, headers_size)?);
    call.say(|| format!("{status}, {}, {}", shown_pairs(&headers), shown(&body)));
    reachable(call)?;
    let state = call.state();
    let context = state.effective;
    if state.stream().is_none() {
        return Ok(Status::BadArgument);
    }
    if !(200..600).contains(&status) {
        state.find(format!("{status} is no status of an answer"));
        return Ok(Status::BadArgument);
    }
    state.deferred.push_back(Deferred::Reply(context, LocalReply { status, headers, body }));
    Ok(Status::Ok)
}

fn set_effective(call: &mut Call<'_>, context: u32) -> Answered {
    call.say(|| context.to_string());
    let state = call.state();
    if !state.roots.contains_key(&context) && !state.streams.contains_key(&context) {
        return Ok(Status::BadArgument);
    }
    state.effective = context;
    Ok(Status::Ok)
}

fn done(call: &mut Call<'_>) -> Answered {
    let state = call.state();
    let context = state.effective;
    state.deferred.push_back(Deferred::Done(context));
    Ok(Status::Ok)
}

fn side_name(kind: u32) -> &'static str {
    ["request", "response", "downstream", "upstream"].get(kind as usize).copied().unwrap_or("?")
}
