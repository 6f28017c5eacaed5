//! The ledger table: append-only, and each entry carries the hash of the one before it.

use holdgate_protocol::{Hash, Json};

use super::{
    Connection, StoreError, Tx,
    sql::{Row, values},
};
use crate::domain::DecidedBy;

/// What happened. The number, the chain and the hash are the ledger's.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    pub time: u64,
    pub kind: &'static str,
    pub hold: Option<&'a str>,
    pub decided_by: Option<DecidedBy>,
    /// An object.
    pub data: serde_json::Value,
}

/// One entry as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub seq: u64,
    pub time: u64,
    pub kind: String,
    pub hold: Option<String>,
    pub decided_by: Option<String>,
    /// Canonical JSON.
    pub data: String,
    pub prev: Hash,
    pub hash: Hash,
}

impl Entry {
    /// SHA-256 of the JCS of the entry without its hash.
    pub fn computed_hash(&self) -> Option<Hash> {
        Some(self.hash_with(Json::parse(self.data.as_bytes()).ok()?))
    }

    /// The hash with `data` as it was read.
    fn hash_with(&self, data: Json) -> Hash {
        let text = |text: &Option<String>| text.as_deref().map_or(Json::Null, Json::from);
        let entry = Json::object([
            ("seq", Json::integer(self.seq)),
            ("time", Json::integer(self.time)),
            ("kind", (&*self.kind).into()),
            ("hold", text(&self.hold)),
            ("decided_by", text(&self.decided_by)),
            ("data", data),
            ("prev", (&*self.prev.to_string()).into()),
        ]);
        Hash::of(&entry.to_jcs())
    }
}

/// Number and hash of the newest entry; before the first, 0 and the hash of nothing.
pub async fn head(connection: &mut Connection) -> Result<(u64, Hash), StoreError> {
    let row = connection.row("SELECT seq, hash FROM ledger ORDER BY seq DESC LIMIT 1", values![]).await?;
    let Some(row) = row else { return Ok((0, Hash::of(b""))) };
    Ok((row.int("seq")?, row.hash("hash")?))
}

/// Entries after `after`, oldest first; those of one hold if one is named.
pub async fn page(
    connection: &mut Connection,
    hold: Option<&str>,
    after: u64,
    limit: u32,
) -> Result<Vec<Entry>, StoreError> {
    let sql = "SELECT seq, time, kind, hold, decided_by, data, prev, hash FROM ledger
               WHERE seq > $1 AND (CAST($2 AS TEXT) IS NULL OR hold = $2) ORDER BY seq LIMIT $3";
    let entry = |row: &Row| {
        Ok(Entry {
            seq: row.int("seq")?,
            time: row.int("time")?,
            kind: row.text("kind")?,
            hold: row.text_or_null("hold")?,
            decided_by: row.text_or_null("decided_by")?,
            data: row.text("data")?,
            prev: row.hash("prev")?,
            hash: row.hash("hash")?,
        })
    };
    connection.rows(sql, values![after, hold, limit]).await?.iter().map(entry).collect()
}

impl Tx {
    /// Appends what happened to the ledger. It is written with all else that the transaction appends, at its end.
    pub fn record(&mut self, event: Event<'_>) -> Result<(), StoreError> {
        let data = Json::from_serialize(&event.data)?;
        let mut entry = Entry {
            seq: self.head.ledger + 1,
            time: event.time,
            kind: event.kind.to_owned(),
            hold: event.hold.map(ToOwned::to_owned),
            decided_by: event.decided_by.map(|by| by.as_str().to_owned()),
            data: String::from_utf8(data.to_jcs()).map_err(|_| StoreError::Corrupt("ledger.data"))?,
            prev: self.head.ledger_hash,
            hash: self.head.ledger_hash,
        };
        entry.hash = entry.hash_with(data);
        (self.head.ledger, self.head.ledger_hash) = (entry.seq, entry.hash);
        self.appended.entries.push(entry);
        Ok(())
    }

    /// Writes the entries that this transaction has appended.
    pub(super) async fn write_entries(&mut self) -> Result<(), StoreError> {
        let entries = std::mem::take(&mut self.appended.entries);
        let head = "INSERT INTO ledger (seq, time, kind, hold, decided_by, data, prev, hash)";
        self.write((head, ""), &entries, |entry| {
            let Entry { seq, time, kind, hold, decided_by, data, prev, hash } = entry;
            values![*seq, *time, kind, hold, decided_by, data, prev, hash]
        })
        .await?;
        Ok(())
    }
}
