//! Headers and trailers.

use wasmtime::{Linker, Result};

use crate::{
    call::{Answered, Call, Status, host_calls, join},
    message::Pairs,
    nginx,
    profile::Profile,
    state::State,
    trace::{shown, shown_pairs},
};

const REQUEST: u32 = 0;
const REQUEST_TRAILERS: u32 = 1;
const RESPONSE: u32 = 2;
const RESPONSE_TRAILERS: u32 = 3;
const CALLOUT: u32 = 6;
const CALLOUT_TRAILERS: u32 = 7;

pub(super) fn add(linker: &mut Linker<State>) -> Result<()> {
    host_calls! { linker, "env":
        "proxy_get_header_map_pairs" => pairs, (kind: u32, data: u32, size: u32);
        "proxy_set_header_map_pairs" => set_pairs, (kind: u32, data: u32, size: u32);
        "proxy_get_header_map_value" => value, (kind: u32, name: u32, name_size: u32, data: u32, size: u32);
        "proxy_add_header_map_value" => add_value, (kind: u32, name: u32, name_size: u32, value: u32, value_size: u32);
        "proxy_replace_header_map_value" => replace, (kind: u32, name: u32, name_size: u32, value: u32, value_size: u32);
        "proxy_remove_header_map_value" => remove, (kind: u32, name: u32, name_size: u32);
        "proxy_get_header_map_size" => map_size, (kind: u32, size: u32);
    }
    Ok(())
}

/// A map as it can be read: an access log also reads what went on long ago.
fn readable(state: &mut State, kind: u32) -> Option<Pairs> {
    let nginx = state.proxy.profile == Profile::NgxWasm;
    match kind {
        CALLOUT => return state.answer.as_ref().map(|answer| answer.headers.clone()),
        CALLOUT_TRAILERS => return state.answer.as_ref().map(|answer| answer.trailers.clone()),
        _ => {}
    }
    let stream = state.stream()?;
    let (open, map) = match kind {
        REQUEST => (stream.request.headers_open, &stream.request.headers),
        REQUEST_TRAILERS => (stream.request.trailers_open, &stream.request.trailers),
        RESPONSE => (stream.response.headers_open, &stream.response.headers),
        RESPONSE_TRAILERS => (stream.response.trailers_open, &stream.response.trailers),
        _ => return None,
    };
    let read = (open || stream.logging).then(|| map.clone())?;
    Some(if nginx && kind == REQUEST { nginx::as_shown(read) } else { read })
}

/// A map that can be changed: it has not gone on yet.
fn writable(state: &mut State, kind: u32) -> Option<&mut Pairs> {
    let stream = state.stream()?;
    match kind {
        REQUEST if stream.request.headers_open => Some(&mut stream.request.headers),
        REQUEST_TRAILERS if stream.request.trailers_open => Some(&mut stream.request.trailers),
        RESPONSE if stream.response.headers_open => Some(&mut stream.response.headers),
        RESPONSE_TRAILERS if stream.response.trailers_open => Some(&mut stream.response.trailers),
        _ => None,
    }
}

fn pairs(call: &mut Call<'_>, kind: u32, data: u32, size: u32) -> Answered {
    // A map that is gone reads as one without a pair.
    let map = readable(call.state(), kind).unwrap_or_default();
    call.say(|| format!("{}: {}", name_of(kind), shown_pairs(&map)));
    call.give(&join(&map), data, size)
}

fn set_pairs(call: &mut Call<'_>, kind: u32, data: u32, size: u32) -> Answered {
    let new = call.pairs(data, size)?;
    change(call, kind, |map| *map = lower(new))
}

fn value(call: &mut Call<'_>, kind: u32, name: u32, name_size: u32, data: u32, size: u32) -> Answered {
    let name = call.bytes(name, name_size)?.to_ascii_lowercase();
    call.say(|| format!("{}, {}", name_of(kind), shown(&name)));
    let Some(map) = readable(call.state(), kind) else { return Ok(Status::BadArgument) };
    match map.into_iter().find(|(other, _)| *other == name) {
        Some((_, value)) => call.give(&value, data, size),
        None => Ok(Status::NotFound),
    }
}

fn add_value(call: &mut Call<'_>, kind: u32, name: u32, name_size: u32, value: u32, value_size: u32) -> Answered {
    let (name, value) = (call.bytes(name, name_size)?.to_ascii_lowercase(), call.bytes(value, value_size)?);
    call.say(|| format!("{}, {}: {}", name_of(kind), shown(&name), shown(&value)));
    change(call, kind, |map| map.push((name, value)))
}

fn replace(call: &mut Call<'_>, kind: u32, name: u32, name_size: u32, value: u32, value_size: u32) -> Answered {
    let (name, value) = (call.bytes(name, name_size)?.to_ascii_lowercase(), call.bytes(value, value_size)?);
    call.say(|| format!("{}, {}: {}", name_of(kind), shown(&name), shown(&value)));
    change(call, kind, |map| {
        // In the place of the first; the others go.
        match map.iter_mut().find(|(other, _)| *other == name) {
            Some((_, first)) => *first = value,
            None => return map.push((name, value)),
        }
        let mut seen = false;
        map.retain(|(other, _)| *other != name || !std::mem::replace(&mut seen, true));
    })
}

fn remove(call: &mut Call<'_>, kind: u32, name: u32, name_size: u32) -> Answered {
    let name = call.bytes(name, name_size)?.to_ascii_lowercase();
    call.say(|| format!("{}, {}", name_of(kind), shown(&name)));
    change(call, kind, |map| map.retain(|(other, _)| *other != name))
}

fn map_size(call: &mut Call<'_>, kind: u32, size: u32) -> Answered {
    let Some(map) = readable(call.state(), kind) else { return Ok(Status::BadArgument) };
    let bytes: usize = map.iter().map(|(name, value)| name.len() + value.len()).sum();
    call.put_u32(size, u32::try_from(bytes).unwrap_or(u32::MAX))?;
    Ok(Status::Ok)
}

fn change(call: &mut Call<'_>, kind: u32, change: impl FnOnce(&mut Pairs)) -> Answered {
    let state = call.state();
    let Some(map) = writable(state, kind) else {
        state.find(format!("{} are changed where they went on, or where there are none", name_of(kind)));
        return Ok(Status::BadArgument);
    };
    change(map);
    Ok(Status::Ok)
}

fn lower(pairs: Pairs) -> Pairs {
    pairs.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
}

fn name_of(kind: u32) -> &'static str {
    match kind {
        REQUEST => "request headers",
        REQUEST_TRAILERS => "request trailers",
        RESPONSE => "response headers",
        RESPONSE_TRAILERS => "response trailers",
        CALLOUT => "callout headers",
        CALLOUT_TRAILERS => "callout trailers",
        _ => "headers of another kind",
    }
}
