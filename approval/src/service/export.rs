//! The export of the ledger, a page at a time: whatever its size, a few entries are in memory, and no connection is kept.

use holdgate_protocol::{
    jws::PrivateKey,
    ledger::{checkpoint_line, header_line},
};
use tokio::sync::OwnedSemaphorePermit;

use super::ledger::{LedgerError, sign};
use crate::store::{Database, StoreError, ledger};

/// Entries that are read at once.
const PAGE: u32 = 500;

/// The rest of an export.
pub struct Export {
    store: Database,
    origin: String,
    /// How many entries the ledger had when it was signed. What comes later is not part of it.
    size: u64,
    /// The last line.
    note: String,
    /// Up to which entry it is written; `None` before the header.
    written: Option<u64>,
    done: bool,
    _room: Option<OwnedSemaphorePermit>,
}

impl Export {
    /// Signs the ledger as it is, and begins.
    pub async fn begin(store: Database, key: &PrivateKey, origin: &str) -> Result<Self, LedgerError> {
        let (size, note) = sign(&mut store.read().await?, key, origin).await?;
        Ok(Export { store, origin: origin.to_owned(), size, note, written: None, done: false, _room: None })
    }

    /// Takes up room for as long as it lasts.
    pub(super) fn holding(self, room: OwnedSemaphorePermit) -> Self {
        Export { _room: Some(room), ..self }
    }

    /// The next lines; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<String>, StoreError> {
        let Some(after) = self.written else {
            self.written = Some(0);
            return Ok(Some(header_line(&self.origin, self.size)));
        };
        if self.done {
            return Ok(None);
        }
        if after == self.size {
            self.done = true;
            return Ok(Some(checkpoint_line(&self.note)));
        }
        let mut connection = self.store.read().await?;
        let mut entries = ledger::page(&mut connection, None, after, PAGE).await?;
        entries.retain(|entry| entry.seq <= self.size);
        let Some(last) = entries.last().map(|entry| entry.seq) else { return Err(StoreError::Corrupt("ledger.seq")) };
        // The one of the whole ledger stands at its end anyway.
        let until = last.min(self.size - 1);
        let kept = ledger::checkpoints(&mut connection, &self.origin, (after, until)).await?;
        drop(connection);
        let mut kept = kept.into_iter().peekable();
        let mut lines = String::new();
        for entry in entries {
            lines.push_str(&entry.to_leaf());
            lines.push('\n');
            if let Some(kept) = kept.next_if(|kept| kept.size == entry.seq) {
                lines.push_str(&checkpoint_line(&kept.note));
            }
        }
        self.written = Some(last);
        Ok(Some(lines))
    }
}
