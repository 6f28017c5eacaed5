//! The host calls of proxy-wasm's ABI 0.2.1, one file for each group of them.

mod bodies;
mod callouts;
mod foreign;
mod headers;
mod logs;
mod metrics;
mod properties;
mod shared;
mod streams;
mod time;
mod wasi;

use wasmtime::{Engine, Error, ExternType, Linker, Module, Result, Store};

use crate::{profile::Profile, proxy::Proxy, state::State};

/// All calls that the filter may make. One that this host does not know is an error when it is made, not before: an SDK
/// imports more than a filter uses.
pub(crate) fn linker(engine: &Engine, module: &Module) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    bodies::add(&mut linker)?;
    callouts::add(&mut linker)?;
    foreign::add(&mut linker)?;
    headers::add(&mut linker)?;
    logs::add(&mut linker)?;
    metrics::add(&mut linker)?;
    properties::add(&mut linker)?;
    shared::add(&mut linker)?;
    streams::add(&mut linker)?;
    time::add(&mut linker)?;
    wasi::add(&mut linker)?;
    let mut store = Store::new(engine, State::new(Box::new(Proxy::new(Profile::default())), 0, 0));
    let mut unknown = Vec::new();
    for import in module.imports() {
        if let (ExternType::Func(kind), Err(_)) = (import.ty(), linker.get(&mut store, import.module(), import.name()))
        {
            unknown.push((import.module().to_owned(), import.name().to_owned(), kind));
        }
    }
    for (from, name, kind) in unknown {
        let message = format!("the filter calls `{name}`, which this host does not know");
        linker.func_new(&from, &name, kind, move |_, _, _| Err(Error::msg(message.clone())))?;
    }
    Ok(linker)
}
