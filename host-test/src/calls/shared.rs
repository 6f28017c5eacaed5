//! Values that the workers of a proxy share, with compare-and-swap, and queues between them.

use wasmtime::{Linker, Result};

use crate::{
    call::{Answered, Call, Status, host_calls},
    proxy::{Event, Queue},
    state::State,
    trace::shown,
};

pub(super) fn add(linker: &mut Linker<State>) -> Result<()> {
    host_calls! { linker, "env":
        "proxy_get_shared_data" => get, (key: u32, key_size: u32, data: u32, size: u32, version: u32);
        "proxy_set_shared_data" => set, (key: u32, key_size: u32, value: u32, value_size: u32, version: u32);
        "proxy_register_shared_queue" => register, (name: u32, name_size: u32, id: u32);
        "proxy_resolve_shared_queue" => resolve, (vm: u32, vm_size: u32, name: u32, name_size: u32, id: u32);
        "proxy_enqueue_shared_queue" => enqueue, (id: u32, data: u32, size: u32);
        "proxy_dequeue_shared_queue" => dequeue, (id: u32, data: u32, size: u32);
    }
    Ok(())
}

fn get(call: &mut Call<'_>, key: u32, key_size: u32, data: u32, size: u32, version: u32) -> Answered {
    let key = call.bytes(key, key_size)?;
    call.say(|| shown(&key));
    let Some((value, current)) = call.state().proxy.shared.get(&key).cloned() else { return Ok(Status::NotFound) };
    call.put_u32(version, current)?;
    call.give(&value, data, size)
}

/// Version 0 writes whatever is there, and any version writes where there is nothing yet (as Envoy does).
fn set(call: &mut Call<'_>, key: u32, key_size: u32, value: u32, value_size: u32, version: u32) -> Answered {
    let (key, value) = (call.bytes(key, key_size)?, call.bytes(value, value_size)?);
    call.say(|| format!("{}, {value_size} bytes, version {version}", shown(&key)));
    let shared = &mut call.state().proxy.shared;
    let current = shared.get(&key).map(|(_, version)| *version);
    if version != 0 && current.is_some_and(|current| version != current) {
        return Ok(Status::CasMismatch);
    }
    shared.insert(key, (value, current.unwrap_or(0).wrapping_add(1).max(1)));
    Ok(Status::Ok)
}

/// Whoever registers a name last owns the queue.
fn register(call: &mut Call<'_>, name: u32, name_size: u32, id: u32) -> Answered {
    let name = call.bytes(name, name_size)?;
    call.say(|| shown(&name));
    let state = call.state();
    let owner = (state.worker, state.vm, state.root());
    let queues = &mut state.proxy.queues;
    let found = queues.iter().position(|queue| queue.name == name);
    let at = found.unwrap_or_else(|| {
        queues.push(Queue { name, ..Queue::default() });
        queues.len() - 1
    });
    let before = queues.get_mut(at).and_then(|queue| queue.owner.replace(owner));
    if before.is_some_and(|before| before != owner) {
        state.find("a queue that has an owner is registered anew: the first owner hears of nothing any more".into());
    }
    call.put_u32(id, u32::try_from(at).unwrap_or(u32::MAX))?;
    Ok(Status::Ok)
}

fn resolve(call: &mut Call<'_>, _vm: u32, _vm_size: u32, name: u32, name_size: u32, id: u32) -> Answered {
    let name = call.bytes(name, name_size)?;
    call.say(|| shown(&name));
    let Some(at) = call.state().proxy.queues.iter().position(|queue| queue.name == name) else {
        return Ok(Status::NotFound);
    };
    call.put_u32(id, u32::try_from(at).unwrap_or(u32::MAX))?;
    Ok(Status::Ok)
}

fn enqueue(call: &mut Call<'_>, id: u32, data: u32, size: u32) -> Answered {
    let message = call.bytes(data, size)?;
    call.say(|| format!("{id}, {}", shown(&message)));
    let proxy = &mut call.state().proxy;
    let Some(queue) = proxy.queues.get_mut(id as usize) else { return Ok(Status::NotFound) };
    queue.messages.push_back(message);
    if let Some((worker, vm, root)) = queue.owner {
        proxy.plan(0, Event::Queue { worker, vm, root, queue: id });
    }
    Ok(Status::Ok)
}

fn dequeue(call: &mut Call<'_>, id: u32, data: u32, size: u32) -> Answered {
    let Some(queue) = call.state().proxy.queues.get_mut(id as usize) else { return Ok(Status::NotFound) };
    match queue.messages.pop_front() {
        Some(message) => call.give(&message, data, size),
        None => Ok(Status::Empty),
    }
}
