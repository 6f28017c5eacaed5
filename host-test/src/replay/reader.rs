//! Reads logs of any length, a record at a time.

use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal as _, Read, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use serde::Deserialize;

use super::record::{Audit, Envoy, Record, each_of_har};
use crate::{failure::Failure, files};

/// The longest line of a log that is read, in bytes.
const MAX_LINE: u64 = 16 * 1024 * 1024;

/// How much of a file is read at once, in bytes.
const BUFFER: usize = 256 * 1024;

/// What a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Holdgate's audit records, one JSON object a line
    Audit,
    /// Envoy's access log in the form of host-test/README.md, one JSON object a line
    Envoy,
    /// An HTTP archive
    Har,
}

/// Where a record stands.
pub(crate) struct Place<'a> {
    file: &'a Path,
    /// The line, or the number of the entry; from 1.
    at: u64,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.at)
    }
}

/// What is done with each record, or with the reason why there is none.
pub(crate) type Take<'t> = &'t mut dyn FnMut(Place<'_>, Result<Record<'_>, String>) -> Result<(), Failure>;

/// Reads one log after the other, and says on a terminal how far it is.
pub(crate) struct Reader {
    format: Option<Format>,
    progress: Option<Progress>,
}

impl Reader {
    pub(crate) fn new(format: Option<Format>) -> Self {
        let progress = io::stderr().is_terminal().then(Progress::new);
        Reader { format, progress }
    }

    /// Calls `take` with each record of a file.
    pub(crate) fn each(&mut self, file: &Path, take: Take<'_>) -> Result<(), Failure> {
        let failed = |cause| files::failed("read", file, cause);
        let mut source = BufReader::with_capacity(BUFFER, File::open(file).map_err(failed)?);
        let is_gzip = source.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
        let plain: Box<dyn Read> =
            if is_gzip { Box::new(flate2::bufread::MultiGzDecoder::new(source)) } else { Box::new(source) };
        let mut source = BufReader::with_capacity(BUFFER, plain);
        // Some browsers begin their archives with a byte-order mark.
        if source.fill_buf().map_err(failed)?.starts_with(b"\xef\xbb\xbf") {
            source.consume(3);
        }
        let format = match self.format {
            Some(format) => format,
            None => {
                // A decoder gives less than there is room for; the first line is what counts.
                let start = source.fill_buf().map_err(failed)?;
                detect(start).ok_or_else(|| Failure::UnknownLog(file.to_owned()))?
            }
        };
        match format {
            Format::Har => self.each_of_har(file, source, take),
            Format::Audit => {
                self.each_line(file, source, take, |line| serde_json::from_slice::<Audit<'_>>(line).map(Record::from))
            }
            Format::Envoy => {
                self.each_line(file, source, take, |line| serde_json::from_slice::<Envoy<'_>>(line).map(Record::from))
            }
        }
    }

    fn each_line(
        &mut self,
        file: &Path,
        mut source: impl BufRead,
        take: Take<'_>,
        parse: impl for<'a> Fn(&'a [u8]) -> Result<Record<'a>, serde_json::Error>,
    ) -> Result<(), Failure> {
        let failed = |cause| files::failed("read", file, cause);
        let mut line = Vec::new();
        for at in 1.. {
            line.clear();
            let length = (&mut source).take(MAX_LINE).read_until(b'\n', &mut line).map_err(failed)?;
            if length == 0 {
                break;
            }
            let place = Place { file, at };
            if line.last() != Some(&b'\n') && length as u64 == MAX_LINE {
                source.skip_until(b'\n').map_err(failed)?;
                take(place, Err("the line is longer than 16 MiB".into()))?;
                continue;
            }
            let line = line.trim_ascii();
            if !line.is_empty() {
                take(place, parse(line).map_err(|error| error.to_string()))?;
                self.progress.as_mut().map(Progress::step);
            }
        }
        Ok(())
    }

    fn each_of_har(&mut self, file: &Path, source: impl Read, take: Take<'_>) -> Result<(), Failure> {
        let (mut at, mut failure) = (0, None);
        let read = each_of_har(source, &mut |record| {
            at += 1;
            if failure.is_none() {
                failure = take(Place { file, at }, record).err();
            }
            self.progress.as_mut().map(Progress::step);
        });
        match (failure, read) {
            (Some(failure), _) => Err(failure),
            (None, Ok(())) => Ok(()),
            (None, Err(cause)) => Err(Failure::Form { path: file.to_owned(), expected: "a HAR archive", cause }),
        }
    }

    /// Ends the line of the progress.
    pub(crate) fn done(&mut self) {
        if self.progress.as_ref().is_some_and(|progress| progress.shown) {
            eprintln!();
        }
    }
}

/// What a log is, by its first line.
fn detect(start: &[u8]) -> Option<Format> {
    #[derive(Deserialize)]
    struct Members {
        effect: Option<serde::de::IgnoredAny>,
        request: Option<serde::de::IgnoredAny>,
        method: Option<serde::de::IgnoredAny>,
        path: Option<serde::de::IgnoredAny>,
    }
    let start = start.trim_ascii_start();
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match serde_json::from_slice::<Members>(line) {
        Ok(Members { effect: Some(_), request: Some(_), .. }) => Some(Format::Audit),
        Ok(Members { method: Some(_), path: Some(_), .. }) => Some(Format::Envoy),
        _ => {
            let member = b"\"log\"";
            let is_har = start.starts_with(b"{") && start.windows(member.len()).any(|window| window == member);
            is_har.then_some(Format::Har)
        }
    }
}

/// How far it is, on a terminal.
struct Progress {
    records: u64,
    start: Instant,
    next: Duration,
    shown: bool,
}

impl Progress {
    fn new() -> Self {
        Progress { records: 0, start: Instant::now(), next: Duration::from_secs(1), shown: false }
    }

    fn step(&mut self) {
        self.records += 1;
        // The clock is looked at now and then only.
        if !self.records.is_multiple_of(8192) {
            return;
        }
        let elapsed = self.start.elapsed();
        if elapsed >= self.next {
            let rate = self.records as f64 / elapsed.as_secs_f64();
            eprint!("\r{} records, {rate:.0} a second", self.records);
            // Nothing is lost if the terminal is gone.
            let _ = io::stderr().flush();
            self.next = elapsed + Duration::from_millis(200);
            self.shown = true;
        }
    }
}
