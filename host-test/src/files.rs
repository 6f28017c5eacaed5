//! Files: read with errors that name them, written whole or not at all.

use std::{
    collections::HashSet,
    fs, io,
    io::{Read, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::{failure::Failure, rules};

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

/// Reads a file in the language of rules, and no more of it than shows that it is too long.
pub(crate) fn read_source(path: &Path) -> Result<Vec<u8>, Failure> {
    let file = fs::File::open(path).map_err(|cause| failed("read", path, cause))?;
    read_bounded(path, file)
}

/// As [`read_source`], of what is open already.
pub(crate) fn read_bounded(path: &Path, source: impl Read) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let most = holdgate_authoring::MAX_BYTES as u64 + 1;
    source.take(most).read_to_end(&mut bytes).map_err(|cause| failed("read", path, cause))?;
    Ok(bytes)
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
    // A file that is named twice is one file, however it is named.
    let mut seen = HashSet::new();
    files.retain(|file| seen.insert(file.canonicalize().unwrap_or_else(|_| file.clone())));
    let read = |path: PathBuf| {
        let bytes = read_source(&path)?;
        if rules::is_bundle(&bytes) {
            Err(Failure::BundleForRules(path))
        } else {
            Ok((path.display().to_string(), bytes))
        }
    };
    files.into_iter().map(read).collect()
}

fn is_rule_file(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    // What editors leave behind is hidden.
    let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    path.is_file() && !is_hidden && matches!(extension, Some("yaml" | "yml"))
}

/// Writes a file in one step: a reader sees the old content or the new. A symbolic link stays one; what it leads to is
/// written.
pub(crate) fn write(path: &Path, content: &[u8], access: Access) -> Result<(), Failure> {
    let end = if path.is_symlink() { path.canonicalize() } else { Ok(path.to_owned()) };
    let end = end.map_err(|cause| failed("write", path, cause))?;
    let temporary = prepare(&end, content, access)?;
    temporary.persist(&end).map_err(|error| failed("write", path, error.error))?;
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
    if !folder.is_dir() {
        return Err(Failure::NoFolder { file: path.to_owned(), folder: folder.to_owned() });
    }
    // The error as it is has the name of the temporary file.
    make().map_err(|cause: io::Error| failed("write", path, cause.kind().into()))
}

pub(crate) fn failed(action: &'static str, path: &Path, cause: io::Error) -> Failure {
    Failure::File { action, path: path.to_owned(), cause }
}
