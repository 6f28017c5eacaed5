//! A compiled filter.

use std::path::Path;

use wasmtime::{Cache, CacheConfig, Config, Engine, ExternType, InstancePre, Module};

use crate::{calls, finding::HostError, state::State};

/// A filter's module, compiled to machine code; each worker of each [`crate::Gateway`] is an instance of it. Cheap to clone.
#[derive(Clone)]
pub struct Filter {
    pub(crate) ready: InstancePre<State>,
    size: usize,
}

impl Filter {
    /// Reads and compiles a `.wasm` file.
    pub fn load(path: &Path) -> Result<Self, HostError> {
        Self::read(path, Config::new())
    }

    /// The same, but what was compiled once is kept in the user's cache folder and taken from there the next time.
    pub fn load_cached(path: &Path) -> Result<Self, HostError> {
        let mut config = Config::new();
        // Without a place for a cache it is compiled each time.
        config.cache(Cache::new(CacheConfig::new()).ok());
        Self::read(path, config)
    }

    /// Compiles a module.
    pub fn compile(bytes: &[u8]) -> Result<Self, HostError> {
        Self::build(bytes, Config::new())
    }

    fn read(path: &Path, config: Config) -> Result<Self, HostError> {
        let bytes = std::fs::read(path).map_err(|cause| HostError::File { path: path.to_owned(), cause })?;
        Self::build(&bytes, config)
    }

    fn build(bytes: &[u8], mut config: Config) -> Result<Self, HostError> {
        config.consume_fuel(true);
        let engine = Engine::new(&config).map_err(HostError::Module)?;
        let module = Module::from_binary(&engine, bytes).map_err(HostError::Module)?;
        let linker = calls::linker(&engine, &module).map_err(HostError::Module)?;
        let ready = linker.instantiate_pre(&module).map_err(HostError::Module)?;
        Ok(Filter { ready, size: bytes.len() })
    }

    /// Bytes of the module.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The functions that the module takes from its host, as `module.name`, sorted.
    pub fn imports(&self) -> Vec<String> {
        let functions = self.ready.module().imports().filter(|import| matches!(import.ty(), ExternType::Func(_)));
        let mut names: Vec<String> = functions.map(|import| format!("{}.{}", import.module(), import.name())).collect();
        names.sort();
        names
    }
}
