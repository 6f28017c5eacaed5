//! A compiled filter.

use std::path::{Path, PathBuf};

use wasmtime::{Config, Engine, Module};

/// Why a filter could not be run to the end of a callback.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    #[error("`{}` cannot be read: {cause}", .path.display())]
    File { path: PathBuf, cause: std::io::Error },
    #[error("this is no WebAssembly module that can be run: {0}")]
    Module(wasmtime::Error),
    #[error("the filter exports no `{0}` of the proxy-wasm ABI 0.2.1")]
    Export(&'static str),
    #[error("`{callback}` ended in a trap: {cause:?}")]
    Trap { callback: &'static str, cause: wasmtime::Error },
    #[error("the filter refused its configuration; it logged: {0}")]
    Refused(String),
    #[error("the filter has no callout `{0}` under way")]
    NoCallout(u32),
    #[error("there is no stream `{0}`")]
    NoStream(u32),
}

/// A filter's module, compiled to machine code once; each [`crate::Vm`] is an instance of it.
pub struct Filter {
    pub(crate) engine: Engine,
    pub(crate) module: Module,
}

impl Filter {
    /// Reads and compiles a `.wasm` file.
    pub fn load(path: &Path) -> Result<Self, HostError> {
        let bytes = std::fs::read(path).map_err(|cause| HostError::File { path: path.to_owned(), cause })?;
        Self::compile(&bytes)
    }

    /// Compiles a module.
    pub fn compile(bytes: &[u8]) -> Result<Self, HostError> {
        let mut config = Config::new();
        config.consume_fuel(true);
        let engine = Engine::new(&config).map_err(HostError::Module)?;
        let module = Module::from_binary(&engine, bytes).map_err(HostError::Module)?;
        Ok(Filter { engine, module })
    }
}
