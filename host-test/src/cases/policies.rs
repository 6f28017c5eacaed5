//! The policies of a file of cases: found, compiled, and given a serial.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use holdgate_authoring::{Compilation, Diagnostic, cases::PolicySource, compile};
use holdgate_engine::Policy;

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("the rule file `{file}` is neither beside `{}` nor in a folder above it", .cases.display())]
    NotFound { file: String, cases: PathBuf },
    #[error("cannot read `{}`: {cause}", .path.display())]
    Read { path: PathBuf, cause: std::io::Error },
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Rules(Vec<Diagnostic>),
}

/// Policies of one file of cases, each compiled once.
pub struct Policies {
    /// The file of cases.
    file: PathBuf,
    compiled: Mutex<HashMap<String, Arc<Compilation>>>,
    /// Bundles by source and serial.
    built: Mutex<Bundles>,
}

type Bundles = HashMap<(String, u64), Arc<[u8]>>;

impl Policies {
    /// For the cases of a file.
    pub fn beside(file: &Path) -> Self {
        Policies { file: file.to_owned(), compiled: Mutex::default(), built: Mutex::default() }
    }

    /// The canonical bytes of a policy's bundle.
    pub fn bundle(&self, source: &PolicySource, serial: u64) -> Result<Arc<[u8]>, PolicyError> {
        let (PolicySource::File(text) | PolicySource::Inline(text)) = source;
        let key = (text.clone(), serial);
        let known = self.built.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let bytes: Arc<[u8]> = self.load(source, serial)?.0.into();
        self.built.lock().unwrap_or_else(PoisonError::into_inner).insert(key, bytes.clone());
        Ok(bytes)
    }

    /// The canonical bytes of a policy's bundle, and the policy.
    pub fn load(&self, source: &PolicySource, serial: u64) -> Result<(Vec<u8>, Policy), PolicyError> {
        let compilation = self.compile(source)?;
        let id = compilation.policies().collect::<Vec<_>>().join("+");
        compilation.load(&id, serial).map_err(|problem| PolicyError::Rules(vec![problem]))
    }

    fn compile(&self, source: &PolicySource) -> Result<Arc<Compilation>, PolicyError> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let (PolicySource::File(key) | PolicySource::Inline(key)) = source;
        if let Some(known) = compiled.get(key) {
            return Ok(known.clone());
        }
        let (name, text) = match source {
            PolicySource::Inline(text) => ("the rules of the case".to_owned(), text.clone()),
            PolicySource::File(file) => {
                let path = self.find(file)?;
                let text =
                    fs::read_to_string(&path).map_err(|cause| PolicyError::Read { path: path.clone(), cause })?;
                (path.display().to_string(), text)
            }
        };
        let fresh = Arc::new(compile(&[(&name, &text)]).map_err(PolicyError::Rules)?);
        compiled.insert(key.clone(), fresh.clone());
        Ok(fresh)
    }

    /// Looks for a rule file beside the file of cases, and then in each folder above it.
    pub fn find(&self, file: &str) -> Result<PathBuf, PolicyError> {
        let absolute = self.file.canonicalize().unwrap_or_else(|_| self.file.clone());
        let found = absolute.ancestors().skip(1).map(|folder| folder.join(file)).find(|path| path.is_file());
        found.ok_or_else(|| PolicyError::NotFound { file: file.to_owned(), cases: self.file.clone() })
    }
}
