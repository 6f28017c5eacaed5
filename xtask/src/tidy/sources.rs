//! Lengths of source files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

const MAX_LINES: usize = 600;

/// Files that may be longer, each with the reason. An entry that is not needed any more is a finding.
const LONG_FILES: [(&str, &str); 0] = [];

pub(crate) fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<String>> {
    let mut lengths = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
        let text = fs::read_to_string(root.join(file)).with_context(|| format!("`{}`", file.display()))?;
        lengths.push((file.to_string_lossy().into_owned(), text.lines().count()));
    }
    Ok(judge(&lengths, &LONG_FILES))
}

fn judge(lengths: &[(String, usize)], excused: &[(&str, &str)]) -> Vec<String> {
    let is_excused = |file: &str| excused.iter().any(|(name, _)| *name == file);
    let too_long = lengths.iter().filter(|(file, lines)| *lines > MAX_LINES && !is_excused(file));
    let too_long = too_long.map(|(file, lines)| format!("{file}: {lines} lines; split it, at most {MAX_LINES}"));
    let is_long = |name: &str| lengths.iter().any(|(file, lines)| file == name && *lines > MAX_LINES);
    let stale = excused.iter().filter(|(name, _)| !is_long(name));
    let stale = stale.map(|(name, _)| format!("{name}: in tidy's list of long files, but is not one"));
    too_long.chain(stale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_file_needs_a_reason_and_the_reason_a_long_file() {
        let lengths = [("a.rs".to_owned(), 600), ("b.rs".to_owned(), 601), ("c.rs".to_owned(), 900)];
        let findings = judge(&lengths, &[("c.rs", "a table"), ("a.rs", "was long once")]);
        let expected = ["b.rs: 601 lines; split it, at most 600", "a.rs: in tidy's list of long files, but is not one"];
        assert_eq!(findings, expected);
    }
}
