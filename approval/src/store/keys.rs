//! Keys as they are kept, and captures by the data key that seals them.

use holdgate_protocol::jws::{Jwk, Jwks};

use super::{
    Connection, StoreError, Tx,
    sql::{Row, values},
};
use crate::sealing::DataKeys;

/// What a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Purpose {
    /// Grants, for gateways.
    Grant,
    /// The ledger, for auditors.
    Ledger,
}

impl Purpose {
    pub fn as_str(self) -> &'static str {
        match self {
            Purpose::Grant => "grant",
            Purpose::Ledger => "ledger",
        }
    }
}

/// The one row of the table `keyring`.
#[derive(Debug)]
pub struct Keyring {
    pub version: u64,
    pub proof: Vec<u8>,
    pub states: Vec<u8>,
    pub authors: Jwks,
    pub identity: String,
}

/// One key. Times are Unix seconds.
#[derive(Debug)]
pub struct KeptKey {
    pub purpose: Purpose,
    pub number: u64,
    pub public: Jwk,
    /// The private half; `None` once it is retired.
    pub sealed: Option<Vec<u8>>,
    pub added_at: u64,
    pub signs_from: u64,
    pub retires_at: Option<u64>,
}

/// The keyring; `None`: no keys were made yet.
pub async fn keyring(connection: &mut Connection) -> Result<Option<Keyring>, StoreError> {
    let sql = "SELECT version, proof, states, authors, identity FROM keyring";
    let Some(row) = connection.row(sql, values![]).await? else { return Ok(None) };
    Ok(Some(Keyring {
        version: row.int("version")?,
        proof: row.bytes("proof")?,
        states: row.bytes("states")?,
        authors: row.json("authors")?,
        identity: row.text("identity")?,
    }))
}

/// A number that rises with each change of keys.
pub async fn version(connection: &mut Connection) -> Result<u64, StoreError> {
    let row = connection.row("SELECT version FROM keyring", values![]).await?;
    row.map_or(Ok(0), |row| row.int("version"))
}

/// All keys, those that sign later first.
pub async fn all(connection: &mut Connection) -> Result<Vec<KeptKey>, StoreError> {
    let sql = "SELECT purpose, number, public_jwk, coalesce(sealed, $1) AS sealed, added_at, signs_from, retires_at
               FROM keys ORDER BY purpose, signs_from DESC, number DESC";
    let key = |row: &Row| {
        Ok(KeptKey {
            purpose: if row.text("purpose")? == "grant" { Purpose::Grant } else { Purpose::Ledger },
            number: row.int("number")?,
            public: row.json("public_jwk")?,
            sealed: Some(row.bytes("sealed")?).filter(|sealed| !sealed.is_empty()),
            added_at: row.int("added_at")?,
            signs_from: row.int("signs_from")?,
            retires_at: row.int_or_null("retires_at")?,
        })
    };
    connection.rows(sql, values![Vec::new()]).await?.iter().map(key).collect()
}

/// With which data keys captures are sealed, and how many with each; without a name: not sealed yet.
pub async fn sealed_with(connection: &mut Connection) -> Result<Vec<(String, u64)>, StoreError> {
    let sql = "SELECT sealed_with, count(*) AS captures FROM captures GROUP BY sealed_with ORDER BY sealed_with";
    let rows = connection.rows(sql, values![]).await?;
    rows.iter().map(|row| Ok((row.text("sealed_with")?, row.int("captures")?))).collect()
}

/// The name of a capture's place, to which its seal is bound.
pub(super) fn place(hold: &str) -> String {
    format!("capture {hold}")
}

/// A capture as it was before it was sealed; older ones were not.
pub(super) fn open_capture(hold: &str, kept: Vec<u8>, keys: &DataKeys) -> Result<Vec<u8>, StoreError> {
    if kept.first() == Some(&b'{') { Ok(kept) } else { Ok(keys.open(&place(hold), &kept)?) }
}

impl Tx {
    /// Writes the keyring. There was none.
    pub async fn insert_keyring(&mut self, keyring: &Keyring) -> Result<(), StoreError> {
        let Keyring { version, proof, states, authors, identity } = keyring;
        let sql = "INSERT INTO keyring (number, version, proof, states, authors, identity)
                   VALUES (1, $1, $2, $3, $4, $5)";
        let authors = serde_json::to_string(authors)?;
        self.execute(sql, values![*version, proof.as_slice(), states.as_slice(), authors, identity]).await.map(|_| ())
    }

    /// Writes what has changed of the keyring, and that something has.
    pub async fn update_keyring(&mut self, keyring: &Keyring) -> Result<(), StoreError> {
        let Keyring { proof, states, authors, identity, .. } = keyring;
        let sql = "UPDATE keyring SET version = version + 1, proof = $1, states = $2, authors = $3, identity = $4";
        let authors = serde_json::to_string(authors)?;
        self.execute(sql, values![proof.as_slice(), states.as_slice(), authors, identity]).await.map(|_| ())
    }

    /// Says that keys have changed, so that all instances read them anew.
    pub async fn keys_changed(&mut self) -> Result<(), StoreError> {
        self.execute("UPDATE keyring SET version = version + 1", values![]).await.map(|_| ())
    }

    /// Keeps a key, or what has changed of one.
    pub async fn keep_key(&mut self, key: &KeptKey) -> Result<(), StoreError> {
        let sql = "INSERT INTO keys (kid, purpose, number, public_jwk, sealed, added_at, signs_from, retires_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                   ON CONFLICT (kid) DO UPDATE SET sealed = excluded.sealed, signs_from = excluded.signs_from,
                   retires_at = excluded.retires_at";
        let sealed = key.sealed.clone().unwrap_or_default();
        let values = values![
            &key.public.kid,
            key.purpose.as_str(),
            key.number,
            serde_json::to_string(&key.public)?,
            sealed,
            key.added_at,
            key.signs_from,
            key.retires_at,
        ];
        self.execute(sql, values).await.map(|_| ())
    }

    /// Takes away the private halves of keys that are retired, from the files too.
    pub async fn forget_retired(&mut self, now: u64) -> Result<u64, StoreError> {
        let sql = "UPDATE keys SET sealed = NULL WHERE retires_at <= $1 AND sealed IS NOT NULL";
        let forgotten = self.execute(sql, values![now]).await?;
        self.erases |= forgotten > 0;
        Ok(forgotten)
    }

    /// Seals some captures anew that are not sealed with the first data key; says how many.
    pub async fn seal_captures(&mut self, keys: &DataKeys, limit: u32) -> Result<u64, StoreError> {
        let first = keys.first();
        let sql = "SELECT hold, request FROM captures WHERE sealed_with < $1 OR sealed_with > $1 LIMIT $2";
        let rows = self.rows(sql, values![&first, limit]).await?;
        for row in &rows {
            let hold = row.text("hold")?;
            let request = keys.seal(&place(&hold), &open_capture(&hold, row.bytes("request")?, keys)?)?;
            let sql = "UPDATE captures SET request = $1, sealed_with = $2 WHERE hold = $3";
            self.execute(sql, values![request, &first, hold]).await?;
        }
        self.erases |= !rows.is_empty();
        Ok(rows.len() as u64)
    }

    /// Begins the feed anew, far beyond every number that may ever have been given out: all cursors are too old.
    pub async fn begin_feed(&mut self) -> Result<(), StoreError> {
        self.execute("DELETE FROM feed", values![]).await?;
        self.head.feed = self.head.feed.saturating_add(1 << 32);
        self.appended.pruned = self.head.feed;
        Ok(())
    }

    /// Ends all sessions.
    pub async fn end_sessions(&mut self) -> Result<u64, StoreError> {
        self.execute("DELETE FROM sessions", values![]).await
    }
}
