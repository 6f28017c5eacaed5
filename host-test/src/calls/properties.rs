//! Properties of a stream: those that the host makes up, those that came with the request, and those that the filter set.

use wasmtime::{Linker, Result};

use crate::{
    call::{Answered, Call, Status, host_calls},
    message::value,
    profile::Profile,
    state::State,
    trace::shown,
};

pub(super) fn add(linker: &mut Linker<State>) -> Result<()> {
    host_calls! { linker, "env":
        "proxy_get_property" => get, (path: u32, path_size: u32, data: u32, size: u32);
        "proxy_set_property" => set, (path: u32, path_size: u32, value: u32, value_size: u32);
    }
    Ok(())
}

fn get(call: &mut Call<'_>, path: u32, path_size: u32, data: u32, size: u32) -> Answered {
    let path = call.bytes(path, path_size)?;
    call.say(|| shown(&path));
    match property(call.state(), &path) {
        Some(value) => call.give(&value, data, size),
        None => Ok(Status::NotFound),
    }
}

fn set(call: &mut Call<'_>, path: u32, path_size: u32, value: u32, value_size: u32) -> Answered {
    let (path, value) = (call.bytes(path, path_size)?, call.bytes(value, value_size)?);
    call.say(|| format!("{}, {}", shown(&path), shown(&value)));
    let state = call.state();
    let Some(stream) = state.streams.get_mut(&state.effective) else { return Ok(Status::NotFound) };
    state.proxy.touched.push(stream.id);
    let properties = &mut stream.exchange.properties;
    match properties.iter_mut().find(|(other, _)| *other == path) {
        Some((_, old)) => *old = value,
        None => properties.push((path, value)),
    }
    Ok(Status::Ok)
}

fn property(state: &mut State, path: &[u8]) -> Option<Vec<u8>> {
    let nginx = state.proxy.profile == Profile::NgxWasm;
    let stream = state.stream()?;
    let given = stream.properties.iter().chain(&stream.exchange.properties);
    if let Some((_, value)) = given.into_iter().find(|(other, _)| other == path) {
        return Some(value.clone());
    }
    let request = |name: &str| value(&stream.request.headers, name).map(<[u8]>::to_vec);
    match path {
        b"ngx\0request_uri" if nginx => request(":path"),
        _ if nginx => None,
        b"request\0path" => request(":path"),
        b"request\0url_path" => {
            request(":path").map(|path| path.split(|byte| *byte == b'?').next().unwrap_or_default().to_vec())
        }
        b"request\0method" => request(":method"),
        b"request\0host" => request(":authority"),
        b"request\0scheme" => request(":scheme"),
        b"request\0id" => request("x-request-id"),
        b"request\0useragent" => request("user-agent"),
        b"response\0code" => {
            let status = stream.exchange.client.status()?;
            Some(i64::from(status).to_le_bytes().to_vec())
        }
        b"source\0address" => Some(b"127.0.0.1:50000".to_vec()),
        b"destination\0address" => Some(b"127.0.0.1:10000".to_vec()),
        // Envoy names an upstream once one was chosen.
        b"upstream\0address" if stream.upstream_asked => Some(b"127.0.0.1:8080".to_vec()),
        _ => None,
    }
}
