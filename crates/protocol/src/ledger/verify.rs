//! Verifying an export while it is read: in constant memory but for the holds, and without trust in whoever made the file.

use std::{
    collections::HashMap,
    io::{self, BufRead, Read as _},
};

use serde::Serialize;

use super::{
    FORMAT, MAX_LINE,
    finding::{Finding, FindingKind, Findings, entries},
    holds::{Holds, Said},
    numbers::{Numbers, Place},
    people::People,
    tree::{Kept, Signer, Tree, are},
};
use crate::{
    Hash, Json,
    checkpoint::CheckpointError,
    json::{self, ShapeError},
    jws::Keys,
    merkle::{Node, Proof, leaf_hash},
};

/// How far the time of an entry may lie before that of the one that it follows, in seconds: several instances write, and clocks are
/// set right.
const BACK: u64 = 300;

/// What an export comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether all that is there was signed and is sound: there are no findings.
    pub verified: bool,
    pub origin: Option<String>,
    /// How many entries were read.
    pub entries: u64,
    /// The root of the tree over them.
    pub root: Hash,
    /// When the first and the last entry were written, in Unix seconds.
    pub first_time: Option<u64>,
    pub last_time: Option<u64>,
    /// How many checkpoints fit: of the file, and of those that were kept.
    pub checkpoints: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inclusion: Option<Inclusion>,
    pub findings: Vec<Finding>,
    /// Findings that are not listed.
    pub more: u64,
}

/// The proof that the ledger of the last checkpoint has an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inclusion {
    pub seq: u64,
    pub size: u64,
    pub leaf: Hash,
    pub root: Hash,
    pub proof: Vec<Hash>,
}

/// Takes an export line by line.
pub struct Verifier<'k> {
    keys: &'k Keys,
    retired: Option<&'k Keys>,
    origin: Option<String>,
    /// How many entries the header announces.
    announced: Option<u64>,
    line: u64,
    entries: u64,
    times: Option<(u64, u64)>,
    numbers: Numbers,
    holds: Holds,
    people: People,
    tree: Tree,
    /// The highest number up to which a signed checkpoint of the file reaches.
    signed: Option<u64>,
    wanted: Option<Wanted>,
    findings: Findings,
}

/// The entry of which a proof is asked for, and what was gathered for it.
struct Wanted {
    seq: u64,
    proof: Option<Proof>,
    leaf: Option<Hash>,
    nodes: HashMap<Node, Option<Hash>>,
}

/// Reads a whole export.
pub fn verify(mut source: impl BufRead, mut verifier: Verifier<'_>) -> io::Result<Report> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = source.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(verifier.finish());
        }
        if line.pop_if(|last| *last == b'\n').is_some() || line.len() <= MAX_LINE {
            verifier.line(&line);
        } else {
            verifier.too_long();
            skip_line(&mut source)?;
        }
    }
}

/// Steps over the rest of a line without keeping it.
fn skip_line(source: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = source.fill_buf()?;
        let (length, done) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        source.consume(length);
        if done {
            return Ok(());
        }
    }
}

impl<'k> Verifier<'k> {
    /// For exports whose checkpoints are signed with one of the `keys`. `kept`: checkpoints from earlier, their signatures checked.
    pub fn new(keys: &'k Keys, kept: Vec<Kept>) -> Self {
        Verifier {
            keys,
            retired: None,
            origin: None,
            announced: None,
            line: 0,
            entries: 0,
            times: None,
            numbers: Numbers::default(),
            holds: Holds::default(),
            people: People::default(),
            tree: Tree::new(kept),
            signed: None,
            wanted: None,
            findings: Findings::default(),
        }
    }

    /// Takes checkpoints of retired keys too. They count as far as a later one of the `keys` reaches, and no further.
    pub fn with_retired(self, retired: Option<&'k Keys>) -> Self {
        Verifier { retired, ..self }
    }

    /// Fixes which ledger the export must be of.
    pub fn of_origin(self, origin: Option<String>) -> Self {
        Verifier { origin, ..self }
    }

    /// Gathers the proof for an entry.
    pub fn with_proof_of(self, seq: Option<u64>) -> Self {
        let wanted = seq.map(|seq| Wanted { seq, proof: None, leaf: None, nodes: HashMap::new() });
        Verifier { wanted, ..self }
    }

    /// Takes a line, without its line feed.
    pub fn line(&mut self, line: &[u8]) {
        self.line += 1;
        let value = match Json::parse(line) {
            Ok(value) => value,
            Err(error) => return self.unreadable(|| format!("it is no JSON with one reading: {error}")),
        };
        if self.line == 1 && self.header(&value) {
            return;
        }
        if value.member(&["checkpoint"]).is_some() {
            return match value.read() {
                Ok(Note(note)) => self.checkpoint(&note),
                Err(error) => self.unreadable(|| format!("it is no checkpoint: {error}")),
            };
        }
        match value.read::<Told>() {
            Ok(told) => self.entry(line, &value, told),
            Err(error) => self.unreadable(|| format!("it is no entry, checkpoint or header: {error}")),
        }
    }

    /// Takes notice of a line that is longer than any line of an export.
    pub fn too_long(&mut self) {
        self.line += 1;
        self.unreadable(|| format!("it is longer than {MAX_LINE} bytes"));
    }

    fn unreadable(&mut self, why: impl FnOnce() -> String) {
        let line = self.line;
        let kind = if line == 1 { FindingKind::Header } else { FindingKind::Line };
        self.findings.add(kind, line, None, || format!("line {line} cannot be read: {}", why()));
        if line > 1 {
            self.numbers.unreadable();
            self.tree.intact = false;
        }
    }

    /// Reads the first line; says whether it was meant to be a header.
    fn header(&mut self, value: &Json) -> bool {
        if value.member(&["format"]).is_none() {
            let message = "line 1 is not the header: an export begins with `{\"format\":1,...}`";
            self.findings.conclude(FindingKind::Header, Some(1), None, message.into());
            return false;
        }
        let Header { origin, size } = match value.read() {
            Ok(header) => header,
            Err(error) => {
                let message = format!("line 1 is not the header of an export: {error}");
                self.findings.conclude(FindingKind::Header, Some(1), None, message);
                return true;
            }
        };
        self.is_of_origin(&origin, "the header");
        self.announced = Some(size);
        if let Some(wanted) = &mut self.wanted {
            wanted.proof = wanted.seq.checked_sub(1).and_then(|index| Proof::inclusion(index, size).ok());
            wanted.nodes = wanted.proof.iter().flat_map(Proof::nodes).map(|node| (node, None)).collect();
        }
        true
    }

    /// The first origin that is named is that of the ledger, unless the caller has fixed it.
    fn is_of_origin(&mut self, origin: &str, what: &str) {
        match &self.origin {
            None => self.origin = Some(origin.to_owned()),
            Some(known) if known == origin => {}
            Some(known) => {
                let message = format!("{what} is of the ledger `{}`, not of `{known}`", shown(origin));
                let line = self.line;
                self.findings.add(FindingKind::Origin, line, None, || message);
            }
        }
    }

    fn entry(&mut self, bytes: &[u8], value: &Json, told: Told) {
        let (line, Told { seq, time, kind, hold, decided_by, corrects }) = (self.line, told);
        self.entries += 1;
        if let Some((_, last)) = self.times.filter(|(_, last)| time.saturating_add(BACK) < *last) {
            self.findings.add(FindingKind::Course, line, Some(seq), || {
                format!("entry {seq} was written {} s before the one that it follows", last - time)
            });
        }
        self.times = Some((self.times.map_or(time, |(first, _)| first), time));
        if value.to_jcs() != bytes {
            self.findings.add(FindingKind::Line, line, Some(seq), || {
                format!("line {line} (entry {seq}) is not in canonical form (RFC 8785)")
            });
        }
        let place = self.numbers.take(seq, line, &mut self.findings);
        if place == Place::Again {
            return;
        }
        if let Some(data) = value.member(&["data"]) {
            self.people.take(&kind, data, line, seq, &mut self.findings);
            if let Some(hold) = &hold {
                let said = Said { kind: &kind, hold, decided_by: decided_by.as_deref(), time, data };
                self.holds.take(said, line, seq, &mut self.findings);
            }
        }
        if corrects.is_some_and(|corrects| corrects == 0 || corrects >= seq) {
            self.findings.add(FindingKind::Course, line, Some(seq), || {
                format!("entry {seq} corrects entry {}, which is none before it", corrects.unwrap_or_default())
            });
        }
        self.tree.intact &= place == Place::Next;
        if !self.tree.intact {
            return;
        }
        let leaf = leaf_hash(bytes);
        match &mut self.wanted {
            None => self.tree.append(leaf, |_, _| ()),
            Some(wanted) => {
                if wanted.seq == seq {
                    wanted.leaf = Some(leaf);
                }
                self.tree.append(leaf, |node, hash| {
                    if let Some(place) = wanted.nodes.get_mut(&node) {
                        *place = Some(hash);
                    }
                });
            }
        }
    }

    fn checkpoint(&mut self, note: &str) {
        let (line, last) = (self.line, self.numbers.last);
        let (checkpoint, signer) = match Signer::open(note, self.keys, self.retired) {
            Ok(opened) => opened,
            Err(error) => {
                let hint = match error {
                    CheckpointError::Unsigned => {
                        "; somebody else may have signed it, or a key that is retired, if it is not given as such"
                    }
                    _ => "",
                };
                let message = format!("the checkpoint in line {line} does not count: {error}{hint}");
                return self.findings.add(FindingKind::Signature, line, None, || message);
            }
        };
        self.is_of_origin(&checkpoint.origin, &format!("the checkpoint in line {line}"));
        let size = checkpoint.size;
        if size > last {
            self.findings.add(FindingKind::Cut, line, Some(last + 1), || {
                let missing = are(last + 1, size);
                format!("the checkpoint in line {line} vouches for {size} entries, and the last one before it is {last}: {missing} missing")
            });
        } else if size < last {
            self.findings.add(FindingKind::Order, line, Some(size + 1), || {
                format!("the checkpoint in line {line} vouches for {size} entries only, and stands behind entry {last}")
            });
        }
        if signer == Signer::Present {
            self.signed = self.signed.max(Some(size));
        }
        self.tree.compare(&checkpoint, signer, || format!("the checkpoint in line {line}"));
    }

    /// Tells what the whole comes to.
    pub fn finish(mut self) -> Report {
        let (last, findings) = (self.numbers.last, &mut self.findings);
        self.numbers.finish(findings);
        match self.signed {
            None => {
                let message = "no checkpoint of a trusted key vouches for any of the entries";
                findings.conclude(FindingKind::Unsigned, None, None, message.into());
            }
            Some(signed) if signed < last => {
                let message = format!("no checkpoint vouches for {}", entries(signed + 1, last));
                findings.conclude(FindingKind::Unsigned, None, Some(signed + 1), message);
            }
            Some(_) => {}
        }
        match self.announced {
            Some(size) if size > last => {
                let missing = are(last + 1, size);
                let message =
                    format!("the header announces {size} entries, and the last one is {last}: {missing} missing");
                findings.conclude(FindingKind::Cut, Some(1), Some(last + 1), message);
            }
            Some(size) if size < last => {
                let message = format!("the header announces {size} entries, and there are more, up to {last}");
                findings.conclude(FindingKind::Header, Some(1), Some(size + 1), message);
            }
            _ => {}
        }
        self.tree.finish(last, findings);
        let verified = findings.list.is_empty() && self.tree.is_signed();
        let inclusion = self.wanted.as_ref().filter(|_| verified).and_then(|wanted| self.inclusion(wanted));
        Report {
            verified,
            origin: self.origin,
            entries: self.entries,
            root: self.tree.frontier.root(),
            first_time: self.times.map(|(first, _)| first),
            last_time: self.times.map(|(_, last)| last),
            checkpoints: self.tree.fitting,
            inclusion,
            findings: self.findings.list,
            more: self.findings.more,
        }
    }

    fn inclusion(&self, wanted: &Wanted) -> Option<Inclusion> {
        let proof = wanted.proof.as_ref()?.hashes(|node| wanted.nodes.get(&node).copied().flatten())?;
        let (size, root) = (self.tree.frontier.size(), self.tree.frontier.root());
        Some(Inclusion { seq: wanted.seq, size, leaf: wanted.leaf?, root, proof })
    }
}

/// The first line.
struct Header {
    origin: String,
    size: u64,
}

impl json::FromJson for Header {
    fn from_json(place: &json::Place<'_>) -> Result<Self, ShapeError> {
        let [format, origin, size] = place.members(&["format", "origin", "size"])?;
        if format.whole::<u64>()? != FORMAT {
            return Err(format.error("this version reads format 1"));
        }
        Ok(Header { origin: origin.read()?, size: size.whole()? })
    }
}

/// The line of a checkpoint.
struct Note(String);

impl json::FromJson for Note {
    fn from_json(place: &json::Place<'_>) -> Result<Self, ShapeError> {
        let [note] = place.members(&["checkpoint"])?;
        Ok(Note(note.read()?))
    }
}

/// What verifying needs of an entry.
struct Told {
    seq: u64,
    time: u64,
    kind: String,
    hold: Option<String>,
    decided_by: Option<String>,
    corrects: Option<u64>,
}

impl json::FromJson for Told {
    fn from_json(place: &json::Place<'_>) -> Result<Self, ShapeError> {
        let [data, decided_by, hold, kind, seq, time] =
            place.members(&["data", "decided_by", "hold", "kind", "seq", "time"])?;
        let [corrects] = data.known_members(&["corrects"])?;
        // Both are there, be it as null.
        decided_by.json()?;
        hold.json()?;
        let number = seq.whole()?;
        if number == 0 {
            return Err(seq.error("entries are counted from 1"));
        }
        let corrects = corrects.given().map(json::Place::whole).transpose()?;
        Ok(Told {
            seq: number,
            time: time.whole()?,
            kind: kind.read()?,
            hold: hold.optional()?,
            decided_by: decided_by.optional()?,
            corrects,
        })
    }
}

/// A foreign text as messages repeat it.
fn shown(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}
