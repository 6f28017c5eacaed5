//! The ledger table: append-only, and each entry carries the hash of the one before it.

use holdgate_protocol::{Hash, Json};
use sqlx::Row as _;

use super::{Connection, StoreError, Tx, int, rows, uint};
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
    let row = sqlx::query("SELECT seq, hash FROM ledger ORDER BY seq DESC LIMIT 1").fetch_optional(connection).await?;
    let Some(row) = row else { return Ok((0, Hash::of(b""))) };
    let hash: &str = row.try_get(1)?;
    Ok((uint(row.try_get(0)?), hash.parse().map_err(|_| StoreError::Corrupt("ledger.hash"))?))
}

/// Entries after `after`, oldest first; those of one hold if one is named.
pub async fn page(
    connection: &mut Connection,
    hold: Option<&str>,
    after: u64,
    limit: u32,
) -> Result<Vec<Entry>, StoreError> {
    let sql = "SELECT seq, time, kind, hold, decided_by, data, prev, hash FROM ledger
               WHERE seq > ? AND (?2 IS NULL OR hold = ?2) ORDER BY seq LIMIT ?3";
    let rows = sqlx::query(sql).bind(int(after)).bind(hold).bind(limit).fetch_all(connection).await?;
    let hash = |text: &str| text.parse().map_err(|_| StoreError::Corrupt("ledger.hash"));
    let entry = |row: &sqlx::sqlite::SqliteRow| {
        Ok(Entry {
            seq: uint(row.try_get("seq")?),
            time: uint(row.try_get("time")?),
            kind: row.try_get("kind")?,
            hold: row.try_get("hold")?,
            decided_by: row.try_get("decided_by")?,
            data: row.try_get("data")?,
            prev: hash(row.try_get("prev")?)?,
            hash: hash(row.try_get("hash")?)?,
        })
    };
    rows.iter().map(entry).collect()
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
        let head = "INSERT INTO ledger (seq, time, kind, hold, decided_by, data, prev, hash) ";
        rows::write(self, (head, ""), &entries, |mut row, entry| {
            row.push_bind(int(entry.seq)).push_bind(int(entry.time)).push_bind(&*entry.kind).push_bind(&entry.hold);
            row.push_bind(&entry.decided_by).push_bind(&*entry.data);
            row.push_bind(entry.prev.to_string()).push_bind(entry.hash.to_string());
        })
        .await?;
        Ok(())
    }
}
