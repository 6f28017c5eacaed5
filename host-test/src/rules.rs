//! Rule files compiled together.

use std::path::PathBuf;

use holdgate_authoring::Compilation;
use holdgate_engine::Policy;
use holdgate_protocol::{
    Json,
    bundle::{self, SignedBundle},
    from_b64url,
};

use crate::{check::Finding, failure::Failure, files};

/// Reads rule files and compiles them together.
pub(crate) fn compile(paths: &[PathBuf]) -> Result<Compilation, Failure> {
    compile_files(&files::read_rule_files(paths)?)
}

/// Compiles files that were read.
pub(crate) fn compile_files(files: &[(String, Vec<u8>)]) -> Result<Compilation, Failure> {
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    holdgate_authoring::compile_bytes(&files)
        .map_err(|findings| Failure::Findings(findings.iter().map(Finding::from).collect()))
}

/// The bytes of an unsigned bundle for use on the spot, and the policy that they are.
pub(crate) fn load(compilation: &Compilation) -> Result<(Vec<u8>, Policy), Failure> {
    let id = compilation.policies().collect::<Vec<_>>().join("+");
    compilation.load(&id, 1).map_err(|finding| Failure::Findings(vec![Finding::from(&finding)]))
}

/// The bytes of the bundle that the content of a file is, signed or not.
fn bundle_in(content: Vec<u8>) -> Option<Vec<u8>> {
    let signed = serde_json::from_slice::<SignedBundle>(&content).ok();
    let bytes = signed.and_then(|signed| from_b64url(&signed.bundle)).unwrap_or(content);
    bundle::read::<Json>(&bytes).is_ok().then_some(bytes)
}

/// Whether the content of a file is a bundle, and so no rule file.
pub(crate) fn is_bundle(content: &[u8]) -> bool {
    // Most rule files show by their first character that they are none.
    content.starts_with(b"{") && bundle_in(content.to_vec()).is_some()
}

/// The bytes of a policy to look at: those of a bundle, signed or not, or of rule files compiled together.
///
/// A signature is not checked: `holdgate verify` does that.
pub(crate) fn any_policy(paths: &[PathBuf]) -> Result<Vec<u8>, Failure> {
    policy_and_source(paths).map(|(bytes, _)| bytes)
}

/// The bytes of a policy as [`any_policy`] gives them, with the rule files that they were compiled from.
pub(crate) fn policy_and_source(paths: &[PathBuf]) -> Result<(Vec<u8>, Option<Compilation>), Failure> {
    if let [path] = paths
        && path.is_file()
        && let Some(bytes) = bundle_in(files::read(path)?)
    {
        return Ok((bytes, None));
    }
    let compilation = compile(paths)?;
    Ok((load(&compilation)?.0, Some(compilation)))
}
