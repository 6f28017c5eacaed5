//! Files: read with errors that name them, written whole or not at all.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::failure::Failure;

/// The permissions of a file that is written.
#[derive(Clone, Copy)]
pub(crate) enum Access {
    /// For its owner only.
    Private,
    /// For everybody to read.
    Public,
    /// As that of the file that is there.
    Kept,
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|cause| failed("read", path, cause))
}

/// Reads a JSON file; `expected` says what it should be.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path, expected: &'static str) -> Result<T, Failure> {
    let bytes = read(path)?;
    serde_json::from_slice(&bytes).map_err(|cause| Failure::Form { path: path.to_owned(), expected, cause })
}

/// Reads rule files; of a folder the YAML files that lie directly in it, by name. JSON is named file by file, as bundles
/// and keys are JSON too.
pub(crate) fn read_rule_files(paths: &[PathBuf]) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = fs::read_dir(path).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
        let entries = entries.map_err(|cause| failed("read", path, cause))?;
        let mut found: Vec<PathBuf> =
            entries.iter().map(fs::DirEntry::path).filter(|path| is_rule_file(path)).collect();
        found.sort();
        if found.is_empty() {
            return Err(Failure::NoRuleFiles(path.clone()));
        }
        files.extend(found);
    }
    // A file that is named twice is one file.
    let mut unique: Vec<PathBuf> = Vec::new();
    for file in files {
        if !unique.contains(&file) {
            unique.push(file);
        }
    }
    unique.into_iter().map(|path| Ok((path.display().to_string(), read(&path)?))).collect()
}

fn is_rule_file(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    path.is_file() && matches!(extension, Some("yaml" | "yml"))
}

/// Writes a file in one step: a reader sees the old content or the new.
pub(crate) fn write(path: &Path, content: &[u8], access: Access) -> Result<(), Failure> {
    let temporary = prepare(path, content, access)?;
    temporary.persist(path).map_err(|error| failed("write", path, error.error))?;
    Ok(())
}

/// Writes a file in one step, and fails if there is one of this name.
pub(crate) fn write_new(path: &Path, content: &[u8], access: Access) -> Result<(), Failure> {
    let temporary = prepare(path, content, access)?;
    match temporary.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(Failure::Exists(path.to_owned())),
        Err(error) => Err(failed("write", path, error.error)),
    }
}

fn prepare(path: &Path, content: &[u8], access: Access) -> Result<tempfile::NamedTempFile, Failure> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mode = match access {
        Access::Private => 0o600,
        Access::Public => 0o644,
        Access::Kept => fs::metadata(path).map_or(0o644, |metadata| metadata.permissions().mode() & 0o777),
    };
    let make = || {
        let mut builder = tempfile::Builder::new();
        let mut file = builder.permissions(fs::Permissions::from_mode(mode)).tempfile_in(folder)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    make().map_err(|cause| failed("write", path, cause))
}

pub(crate) fn failed(action: &'static str, path: &Path, cause: io::Error) -> Failure {
    Failure::File { action, path: path.to_owned(), cause }
}
