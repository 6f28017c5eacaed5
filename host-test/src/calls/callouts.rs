//! HTTP calls of the filter to other services. Calls over gRPC are not made: the filter is told so.

use std::time::Duration;

use wasmtime::{Linker, Result};

use crate::{
    call::{Answered, Call, Fail, Status, host_calls},
    callout::{Answer, Callout, Reply},
    proxy::Event,
    state::State,
    trace::shown,
};

pub(super) fn add(linker: &mut Linker<State>) -> Result<()> {
    host_calls! { linker, "env":
        "proxy_http_call" => http_call, (cluster: u32, cluster_size: u32, headers: u32, headers_size: u32, body: u32,
            body_size: u32, trailers: u32, trailers_size: u32, timeout: u32, token: u32);
        "proxy_get_status" => status, (code: u32, data: u32, size: u32);
        "proxy_grpc_call" => grpc_call, (_a: u32, _b: u32, _c: u32, _d: u32, _e: u32, _f: u32, _g: u32, _h: u32, _i: u32,
            _j: u32, _k: u32, _l: u32);
        "proxy_grpc_stream" => grpc_stream, (_a: u32, _b: u32, _c: u32, _d: u32, _e: u32, _f: u32, _g: u32, _h: u32, _i: u32);
        "proxy_grpc_send" => grpc_send, (_a: u32, _b: u32, _c: u32, _d: u32);
        "proxy_grpc_cancel" => grpc_end, (_a: u32);
        "proxy_grpc_close" => grpc_end, (_a: u32);
    }
    Ok(())
}

/// What the host answers at once to a call.
enum Dispatched {
    Made,
    Refused(u32),
}

#[expect(clippy::too_many_arguments, reason = "the ABI's signature")]
fn http_call(
    call: &mut Call<'_>,
    cluster: u32,
    cluster_size: u32,
    headers: u32,
    headers_size: u32,
    body: u32,
    body_size: u32,
    trailers: u32,
    trailers_size: u32,
    timeout: u32,
    token: u32,
) -> std::result::Result<u32, Fail> {
    let cluster = call.text(cluster, cluster_size)?;
    let headers = call.pairs(headers, headers_size)?;
    let body = call.bytes(body, body_size)?;
    let trailers = call.pairs(trailers, trailers_size)?;
    let state = call.state();
    let (worker, context, at) = (state.worker, state.effective, state.proxy.now);
    // It is given a number only when it is made.
    let number = state.last_token + 1;
    let callout = Callout { worker, token: number, context, cluster, headers, body, trailers, timeout, at };
    call.say(|| {
        let Callout { cluster, body, .. } = &callout;
        format!("{cluster}, {} {}, {}", callout.method(), callout.path(), shown(body))
    });
    for name in [":method", ":path", ":authority"] {
        if callout.header(name).is_empty() {
            call.state().find(format!("a callout without `{name}`"));
            return Ok(Status::BadArgument as u32);
        }
    }
    if timeout.cast_signed() < 0 {
        call.state().find("a callout with a limit of more than 24 days".into());
        return Ok(Status::BadArgument as u32);
    }
    match dispatch(call.state(), callout) {
        Dispatched::Refused(status) => Ok(status),
        Dispatched::Made => {
            call.put_u32(token, number)?;
            Ok(Status::Ok as u32)
        }
    }
}

fn dispatch(state: &mut State, callout: Callout) -> Dispatched {
    let proxy = &mut state.proxy;
    let reply = proxy.service.as_mut().map_or(Reply::Open, |service| service(&callout, proxy.now));
    let (worker, vm, token) = (state.worker, state.vm, callout.token);
    let limit = Some(Duration::from_millis(callout.timeout.into())).filter(|limit| !limit.is_zero());
    let mut plan = |after: Duration, answer: Answer, last: bool| {
        let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        proxy.plan(after, Event::Answer { worker, vm, token, answer, last });
    };
    match reply {
        Reply::Refuse(status) => return Dispatched::Refused(status),
        Reply::Answer { answer, after, times } if limit.is_none_or(|limit| after < limit) => {
            for told in 1..=times.max(1) {
                plan(after, answer.clone(), told == times.max(1));
            }
        }
        Reply::Answer { .. } | Reply::Silence | Reply::Open => {
            limit.into_iter().for_each(|limit| plan(limit, Answer::timeout(), true));
        }
    }
    state.last_token = token;
    state.proxy.progress += 1;
    state.callouts.insert(token, callout);
    Dispatched::Made
}

/// The status of a call over gRPC that has ended: there is none.
fn status(call: &mut Call<'_>, code: u32, data: u32, size: u32) -> Answered {
    call.put_u32(code, 0)?;
    call.give(&[], data, size)
}

fn no_grpc(call: &mut Call<'_>) -> Answered {
    call.state().find("a call over gRPC, which this host does not make".into());
    Ok(Status::Unimplemented)
}

#[expect(clippy::too_many_arguments, reason = "the ABI's signature")]
fn grpc_call(
    call: &mut Call<'_>,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
) -> Answered {
    no_grpc(call)
}

#[expect(clippy::too_many_arguments, reason = "the ABI's signature")]
fn grpc_stream(
    call: &mut Call<'_>,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
) -> Answered {
    no_grpc(call)
}

fn grpc_send(call: &mut Call<'_>, _: u32, _: u32, _: u32, _: u32) -> Answered {
    no_grpc(call)
}

fn grpc_end(call: &mut Call<'_>, _: u32) -> Answered {
    no_grpc(call)
}
