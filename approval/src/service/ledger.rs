//! What auditors ask of the ledger: checkpoints, proofs, entries with what corrects them, and a correction.

use holdgate_protocol::{
    Hash,
    checkpoint::{Checkpoint, CheckpointError},
    jws::PrivateKey,
    merkle::{Proof, ProofError},
};
use serde_json::{Value, json};

use super::{
    Service, accountable::accountable, change::has_role, decide::MAX_REASON, export::Export, sight::Sight, who::Who,
};
use crate::{
    domain::{DecidedBy, Lasting, authority::AUDITOR},
    sealing::DataKeys,
    store::{
        Command, Connection, StoreError, Tx, holds,
        ledger::{self, Entry, Event, Kept},
        people,
    },
};

/// How often a checkpoint is kept while the ledger grows, in seconds.
pub const CHECKPOINT_EVERY: u64 = 60;

/// The longest code of a reason for a correction, in bytes.
const MAX_CODE: usize = 64;

/// The kind of an entry that corrects another one.
const CORRECTION: &str = "correction";

/// Why the ledger does not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the ledger cannot be signed: {0}")]
    Sign(#[from] CheckpointError),
    #[error("no key signs the ledger; make or import one with `holdgate-approval key`")]
    NoKey,
    #[error("there is no entry {0}")]
    NotFound(u64),
    #[error("the ledger has {size} entries; ask for numbers and sizes up to that, the smaller one first")]
    Range { size: u64 },
    #[error("the session has ended; sign in again")]
    SessionEnded,
    #[error("a correction needs an eligibility that is in force")]
    NotEligible,
    #[error("a correction needs a recent sign-in; sign in again")]
    SignInAgain,
    #[error("nobody corrects what is recorded of a request of their own agent")]
    OwnAgent,
    #[error(
        "`reason` is a word of 1 to 64 letters, digits, `.`, `_` and `-`, and `text` has 1 to {MAX_REASON} characters"
    )]
    Correction,
    #[error("as many exports as there may be are under way; try again later")]
    Busy,
}

/// An entry with its links.
#[derive(Clone, Debug)]
pub struct Linked {
    pub entry: Entry,
    /// The entries that correct it.
    pub corrected_by: Vec<u64>,
}

/// A proof with all that it is checked by.
#[derive(Clone, Debug)]
pub struct Proved {
    pub size: u64,
    pub root: Hash,
    /// The hash of the entry, or the root of the earlier tree.
    pub of: Hash,
    pub hashes: Vec<Hash>,
}

/// What an entry of an opening vouches for, while it is kept: SHA-256(salt || request) and SHA-256(salt || digest) stand in it.
#[derive(Clone, Debug)]
pub struct Opening {
    pub salt: Vec<u8>,
    pub request: Vec<u8>,
    /// Of the request as it goes upstream.
    pub digest: Hash,
}

/// Signs the ledger as it is; gives its size with the note.
pub async fn sign(connection: &mut Connection, key: &PrivateKey, origin: &str) -> Result<(u64, String), LedgerError> {
    let size = ledger::size(connection).await?;
    let root = ledger::tree(connection, size).await?.root();
    let note = Checkpoint { origin: origin.to_owned(), size, root }.sign(key)?;
    Ok((size, note))
}

impl Service {
    /// The ledger as it is now, signed: a C2SP signed note.
    pub async fn checkpoint(&self) -> Result<String, LedgerError> {
        let mut connection = self.store.read().await?;
        Ok(self.sign(&mut connection).await?.1)
    }

    async fn sign(&self, connection: &mut Connection) -> Result<(u64, String), LedgerError> {
        let keys = self.keys().as_they_are(connection).await?;
        sign(connection, keys.ledger(self.now()).ok_or(LedgerError::NoKey)?, &self.issuer).await
    }

    /// Keeps a checkpoint if the ledger has grown since the last one, and that is `age` seconds old.
    pub async fn keep_checkpoint(&self, age: u64) -> Result<(), LedgerError> {
        let (size, note) = {
            let mut connection = self.store.read().await?;
            let last = ledger::last_checkpoint(&mut connection, &self.issuer).await?;
            let (known, since) = last.map_or((0, 0), |kept| (kept.size, kept.signed_at));
            if self.now() < since.saturating_add(age) || ledger::size(&mut connection).await? == known {
                return Ok(());
            }
            self.sign(&mut connection).await?
        };
        let kept = Kept { size, note, signed_at: self.now() };
        Ok(self.store.write(Keep { origin: self.issuer.to_string(), kept }).await?)
    }

    /// Entries after a number, oldest first; those of one hold if one is named.
    pub async fn entries(&self, hold: Option<&str>, after: u64, limit: u32) -> Result<Vec<Linked>, LedgerError> {
        let mut connection = self.store.read().await?;
        let entries = ledger::page(&mut connection, hold, after, limit).await?;
        Ok(linked(&mut connection, entries).await?)
    }

    /// One entry, and what it vouches for where that is kept still.
    pub async fn entry(&self, seq: u64) -> Result<(Linked, Option<Opening>), LedgerError> {
        let mut connection = self.store.read().await?;
        let entry = ledger::find(&mut connection, seq).await?.ok_or(LedgerError::NotFound(seq))?;
        let opening = match (&*entry.kind, &entry.hold) {
            ("hold.opened", Some(hold)) => opening(&mut connection, hold, &self.keys().data).await?,
            _ => None,
        };
        let linked = linked(&mut connection, vec![entry]).await?.pop().ok_or(LedgerError::NotFound(seq))?;
        Ok((linked, opening))
    }

    /// The proof that the ledger of `size` entries (all, where it is left out) has entry `seq`.
    pub async fn inclusion(&self, seq: u64, size: Option<u64>) -> Result<Proved, LedgerError> {
        let mut connection = self.store.read().await?;
        let present = ledger::size(&mut connection).await?;
        let size = size.unwrap_or(present);
        let range = |_: ProofError| LedgerError::Range { size: present };
        let index = seq.checked_sub(1).filter(|_| size <= present).ok_or(LedgerError::Range { size: present })?;
        let proof = Proof::inclusion(index, size).map_err(range)?;
        let hashes = ledger::proof(&mut connection, &proof).await?;
        let root = ledger::tree(&mut connection, size).await?.root();
        let of = ledger::leaf(&mut connection, seq).await?.ok_or(StoreError::Corrupt("ledger_nodes"))?;
        Ok(Proved { size, root, of, hashes })
    }

    /// The proof that the ledger of `to` entries (all, where it is left out) begins with the one of `from`.
    pub async fn consistency(&self, from: u64, to: Option<u64>) -> Result<Proved, LedgerError> {
        let mut connection = self.store.read().await?;
        let present = ledger::size(&mut connection).await?;
        let size = to.unwrap_or(present);
        let range = LedgerError::Range { size: present };
        let proof = Some(size).filter(|size| *size <= present).and_then(|size| Proof::consistency(from, size).ok());
        let hashes = ledger::proof(&mut connection, &proof.ok_or(range)?).await?;
        let root = ledger::tree(&mut connection, size).await?.root();
        let of = ledger::tree(&mut connection, from).await?.root();
        Ok(Proved { size, root, of, hashes })
    }

    /// Appends a correction of an entry: a code for why, and a text. Gives its number.
    pub async fn correct(&self, who: &Who, corrects: u64, reason: &str, text: &str) -> Result<u64, LedgerError> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_sound = (1..=MAX_CODE).contains(&reason.len()) && reason.bytes().all(word);
        if !is_sound || text.trim().is_empty() || text.chars().nth(MAX_REASON).is_some() {
            return Err(LedgerError::Correction);
        }
        let (reason, text) = (reason.to_owned(), text.to_owned());
        self.store
            .write(Correct {
                who: who.clone(),
                corrects,
                reason,
                text,
                now: self.now(),
                lasting: self.settings.lasting,
            })
            .await
    }

    /// Begins an export of the ledger as it is now.
    pub async fn export(&self) -> Result<Export, LedgerError> {
        let room = self.exports.clone().try_acquire_owned().map_err(|_| LedgerError::Busy)?;
        let keys = self.keys().as_they_are(&mut self.store.read().await?).await?;
        let key = keys.ledger(self.now()).ok_or(LedgerError::NoKey)?;
        let export = Export::begin(self.store.clone(), key, &self.issuer).await?;
        Ok(export.holding(room))
    }
}

async fn opening(connection: &mut Connection, hold: &str, keys: &DataKeys) -> Result<Option<Opening>, StoreError> {
    let Some((salt, request)) = holds::opening(connection, hold, keys).await? else { return Ok(None) };
    let hold = holds::find(connection, hold).await?.ok_or(StoreError::Corrupt("ledger.hold"))?;
    Ok(Some(Opening { salt, request, digest: hold.terms.digest }))
}

async fn linked(connection: &mut Connection, entries: Vec<Entry>) -> Result<Vec<Linked>, StoreError> {
    let seqs: Vec<u64> = entries.iter().map(|entry| entry.seq).collect();
    let corrections = ledger::corrections(connection, &seqs).await?;
    let link = |entry: Entry| {
        let of_entry = corrections.iter().filter(|(corrects, _)| *corrects == entry.seq);
        Linked { corrected_by: of_entry.map(|(_, seq)| *seq).collect(), entry }
    };
    Ok(entries.into_iter().map(link).collect())
}

struct Keep {
    origin: String,
    kept: Kept,
}

impl Command for Keep {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        tx.keep_checkpoint(&self.origin, &self.kept).await
    }
}

struct Correct {
    who: Who,
    corrects: u64,
    reason: String,
    text: String,
    now: u64,
    lasting: Lasting,
}

impl Command for Correct {
    type Answer = u64;
    type Error = LedgerError;

    async fn run(self, tx: &mut Tx) -> Result<u64, LedgerError> {
        let Correct { who, corrects, reason, text, now, lasting } = self;
        let session = who.session(tx, now).await?.ok_or(LedgerError::SessionEnded)?;
        if session.signed_in_at.saturating_add(lasting.fresh) < now {
            return Err(LedgerError::SignInAgain);
        }
        let person = session.person.id.as_str();
        let own = people::eligibilities(tx, person).await?;
        if !own.iter().any(|one| one.holds_at(now, lasting.recertify_within)) {
            return Err(LedgerError::NotEligible);
        }
        let audits = has_role(tx, person, &[AUDITOR], now, lasting).await?;
        // Whoever sees nothing of what it is about learns nothing of the entry either.
        let entry = ledger::find(tx, corrects).await?.ok_or(LedgerError::NotFound(corrects))?;
        let hold = match &entry.hold {
            Some(hold) => holds::find(tx, hold).await?,
            None => None,
        };
        if let Some(hold) = &hold {
            if accountable(tx, &hold.terms.agent).await?.persons.contains(person) {
                return Err(LedgerError::OwnAgent);
            }
            if !audits && !Sight::of(tx, person, now, lasting).await?.sees(tx, hold).await? {
                return Err(LedgerError::NotFound(corrects));
            }
        } else if !audits {
            return Err(LedgerError::NotFound(corrects));
        }
        let data: Value = json!({"corrects": corrects, "person": session.person.id, "reason": reason, "text": text,
                                 "signed_in_at": session.signed_in_at, "via": session.via});
        let (hold, by) = (entry.hold.as_deref(), Some(DecidedBy::Human));
        tx.record(Event { time: now, kind: CORRECTION, hold, decided_by: by, data })?;
        let seq = tx.ledger_size();
        tx.link_correction(corrects, seq).await?;
        Ok(seq)
    }
}
