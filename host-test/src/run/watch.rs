//! Playing again and again, whenever a file is changed.

use std::{
    fs,
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, SystemTime},
};

use super::{Run, files};
use crate::output::{self, Format};

/// How often files are looked at.
const LOOK: Duration = Duration::from_millis(300);

/// Plays the cases, and again after each change, until the process is ended.
pub(crate) fn watch(run: &Run, format: Format) -> ExitCode {
    loop {
        // Looked at before they are read: what changes meanwhile is played again.
        let before = state(&watched(run));
        let _shown = output::show(super::run(run), format);
        eprintln!("waiting for a change of {} files; Ctrl-C ends it", before.len());
        while state(&watched(run)) == before {
            thread::park_timeout(LOOK);
        }
    }
}

/// The files that matter now. Where they cannot be read, those that were named.
fn watched(run: &Run) -> Vec<PathBuf> {
    files::read(&run.paths).map_or_else(|_| run.paths.clone(), |read| files::watched(&read))
}

type State = Vec<(PathBuf, Option<(SystemTime, u64)>)>;

fn state(paths: &[PathBuf]) -> State {
    let look = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    paths.iter().map(|path| (path.clone(), look(path))).collect()
}
