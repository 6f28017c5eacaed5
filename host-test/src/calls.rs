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

use wasmtime::{Error, ExternType, Linker, Result};

use crate::{filter::Filter, state::State};

/// All calls that the filter may make. One that this host does not know is an error when it is made, not before: an SDK
/// imports more than a filter uses.
pub(crate) fn linker(filter: &Filter) -> Result<Linker<State>> {
    let mut linker = Linker::new(&filter.engine);
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
    let unknown = Unknown::all(filter, &linker);
    for Unknown { module, name, kind } in unknown {
        let message = format!("the filter calls `{name}`, which this host does not know");
        linker.func_new(&module, &name, kind, move |_, _, _| Err(Error::msg(message.clone())))?;
    }
    Ok(linker)
}

struct Unknown {
    module: String,
    name: String,
    kind: wasmtime::FuncType,
}

impl Unknown {
    fn all(filter: &Filter, linker: &Linker<State>) -> Vec<Self> {
        let mut store = wasmtime::Store::new(&filter.engine, State::new(crate::Setup::default()));
        let imports = filter.module.imports();
        let unknown = imports.filter(|import| linker.get(&mut store, import.module(), import.name()).is_err());
        let functions = unknown.filter_map(|import| match import.ty() {
            ExternType::Func(kind) => {
                Some(Unknown { module: import.module().to_owned(), name: import.name().to_owned(), kind })
            }
            _ => None,
        });
        functions.collect()
    }
}
