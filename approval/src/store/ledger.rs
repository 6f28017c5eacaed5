//! The ledger: append-only, and each entry is a leaf of a Merkle tree (RFC 6962), whose nodes are written with it.

use std::collections::HashMap;

use holdgate_protocol::{
    Hash, Json,
    ledger::{Entry as Leaf, MAX_LINE},
    merkle::{Frontier, Node, Proof, leaf_hash},
};

use super::{
    Connection, Store, StoreError, Tx,
    sql::{Row, values},
};
use crate::domain::DecidedBy;

/// What happened. The number and the place in the tree are the ledger's.
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
}

/// A checkpoint that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub size: u64,
    pub note: String,
    pub signed_at: u64,
}

/// Entries that are read at once where all are read.
const PAGE: u32 = 500;

impl Entry {
    /// The bytes that are a leaf of the tree.
    pub fn to_leaf(&self) -> String {
        let Entry { seq, time, kind, hold, decided_by, data } = self;
        let (hold, decided_by) = (hold.as_deref(), decided_by.as_deref());
        Leaf { seq: *seq, time: *time, kind, hold, decided_by, data }.to_leaf()
    }
}

/// How many entries there are.
pub async fn size(connection: &mut Connection) -> Result<u64, StoreError> {
    let row = connection.row("SELECT seq FROM ledger ORDER BY seq DESC LIMIT 1", values![]).await?;
    row.map_or(Ok(0), |row| row.int("seq"))
}

/// The tree over the first `size` entries.
pub async fn tree(connection: &mut Connection, size: u64) -> Result<Frontier, StoreError> {
    let nodes = Frontier::nodes(size);
    let known = hashes(connection, &nodes).await?;
    let roots: Option<Vec<Hash>> = nodes.iter().map(|node| known.get(node).copied()).collect();
    roots.and_then(|roots| Frontier::of(size, roots)).ok_or(StoreError::Corrupt("ledger_nodes"))
}

/// The hashes that make a proof.
pub async fn proof(connection: &mut Connection, proof: &Proof) -> Result<Vec<Hash>, StoreError> {
    let nodes: Vec<Node> = proof.nodes().collect();
    let known = hashes(connection, &nodes).await?;
    proof.hashes(|node| known.get(&node).copied()).ok_or(StoreError::Corrupt("ledger_nodes"))
}

/// The hash of an entry, as the tree has it.
pub async fn leaf(connection: &mut Connection, seq: u64) -> Result<Option<Hash>, StoreError> {
    let Some(index) = seq.checked_sub(1) else { return Ok(None) };
    let node = Node { level: 0, index };
    Ok(hashes(connection, &[node]).await?.remove(&node))
}

async fn hashes(connection: &mut Connection, nodes: &[Node]) -> Result<HashMap<Node, Hash>, StoreError> {
    let around = (
        "WITH wanted (level, idx) AS (",
        ") SELECT n.level, n.idx, n.hash FROM wanted JOIN ledger_nodes n ON n.level = wanted.level AND n.idx = wanted.idx",
    );
    let found = connection.write_returning(around, nodes, |node| values![u32::from(node.level), node.index]).await?;
    let node = |row: &Row| {
        let level = u8::try_from(row.int("level")?).map_err(|_| StoreError::Corrupt("ledger_nodes.level"))?;
        let hash = row.bytes("hash")?.try_into().map_err(|_| StoreError::Corrupt("ledger_nodes.hash"))?;
        Ok((Node { level, index: row.int("idx")? }, Hash::from_bytes(hash)))
    };
    found.iter().map(node).collect()
}

/// Entries after `after`, oldest first; those of one hold if one is named.
pub async fn page(
    connection: &mut Connection,
    hold: Option<&str>,
    after: u64,
    limit: u32,
) -> Result<Vec<Entry>, StoreError> {
    let all = "SELECT seq, time, kind, hold, decided_by, data FROM ledger WHERE seq > $1 ORDER BY seq LIMIT $2";
    let of_hold =
        "SELECT seq, time, kind, hold, decided_by, data FROM ledger WHERE hold = $3 AND seq > $1 ORDER BY seq LIMIT $2";
    let rows = match hold {
        None => connection.rows(all, values![after, limit]).await?,
        Some(hold) => connection.rows(of_hold, values![after, limit, hold]).await?,
    };
    let entry = |row: &Row| {
        Ok(Entry {
            seq: row.int("seq")?,
            time: row.int("time")?,
            kind: row.text("kind")?,
            hold: row.text_or_null("hold")?,
            decided_by: row.text_or_null("decided_by")?,
            data: row.text("data")?,
        })
    };
    rows.iter().map(entry).collect()
}

/// One entry.
pub async fn find(connection: &mut Connection, seq: u64) -> Result<Option<Entry>, StoreError> {
    let Some(before) = seq.checked_sub(1) else { return Ok(None) };
    Ok(page(connection, None, before, 1).await?.pop().filter(|entry| entry.seq == seq))
}

/// Which entries correct some of these: both numbers, the corrected one first.
pub async fn corrections(connection: &mut Connection, seqs: &[u64]) -> Result<Vec<(u64, u64)>, StoreError> {
    let around = (
        "WITH wanted (seq) AS (",
        ") SELECT c.corrects, c.seq FROM wanted JOIN corrections c ON c.corrects = wanted.seq ORDER BY c.seq",
    );
    let rows = connection.write_returning(around, seqs, |seq| values![*seq]).await?;
    rows.iter().map(|row| Ok((row.int("corrects")?, row.int("seq")?))).collect()
}

/// The kept checkpoints of a ledger with more than `after` entries and at most `until`, by size.
pub async fn checkpoints(
    connection: &mut Connection,
    origin: &str,
    (after, until): (u64, u64),
) -> Result<Vec<Kept>, StoreError> {
    let sql = "SELECT size, note, signed_at FROM checkpoints
               WHERE origin = $1 AND size > $2 AND size <= $3 ORDER BY size";
    connection.rows(sql, values![origin, after, until]).await?.iter().map(kept).collect()
}

/// The newest one.
pub async fn last_checkpoint(connection: &mut Connection, origin: &str) -> Result<Option<Kept>, StoreError> {
    let sql = "SELECT size, note, signed_at FROM checkpoints WHERE origin = $1 ORDER BY size DESC LIMIT 1";
    connection.row(sql, values![origin]).await?.as_ref().map(kept).transpose()
}

/// The origin of the checkpoint that was kept last.
pub async fn last_origin(connection: &mut Connection) -> Result<Option<String>, StoreError> {
    let sql = "SELECT origin FROM checkpoints ORDER BY signed_at DESC, size DESC LIMIT 1";
    connection.row(sql, values![]).await?.map(|row| row.text("origin")).transpose()
}

fn kept(row: &Row) -> Result<Kept, StoreError> {
    Ok(Kept { size: row.int("size")?, note: row.text("note")?, signed_at: row.int("signed_at")? })
}

/// Gives entries of an earlier version their place in the tree, before anybody writes. It is done when the database is opened, and by one
/// process only, under the writer's lock.
pub(super) async fn complete(store: &dyn Store, connection: &mut Connection) -> Result<(), StoreError> {
    if size(connection).await? == leaves(connection).await? {
        return Ok(());
    }
    store.begin(connection).await?;
    // Another process may have done so while this one waited for the lock.
    let (mut known, end) = (leaves(connection).await?, size(connection).await?);
    let mut frontier = tree(connection, known).await?;
    let mut nodes = Vec::new();
    while known < end {
        let entries = page(connection, None, known, PAGE).await?;
        let Some(last) = entries.last() else { return Err(StoreError::Corrupt("ledger.seq")) };
        known = last.seq;
        for entry in &entries {
            frontier.append(leaf_hash(entry.to_leaf().as_bytes()), |node, hash| nodes.push((node, hash)));
        }
        write_nodes(connection, &std::mem::take(&mut nodes)).await?;
    }
    connection.execute("COMMIT", values![]).await?;
    Ok(())
}

/// How many leaves the tree has.
async fn leaves(connection: &mut Connection) -> Result<u64, StoreError> {
    let row =
        connection.row("SELECT idx FROM ledger_nodes WHERE level = 0 ORDER BY idx DESC LIMIT 1", values![]).await?;
    row.map_or(Ok(0), |row| Ok(row.int("idx")? + 1))
}

async fn write_nodes(connection: &mut Connection, nodes: &[(Node, Hash)]) -> Result<(), StoreError> {
    let around = ("INSERT INTO ledger_nodes (level, idx, hash)", "");
    connection
        .write(around, nodes, |(node, hash)| values![u32::from(node.level), node.index, &hash.as_bytes()[..]])
        .await?;
    Ok(())
}

impl Tx {
    /// How many entries the ledger has, with those of this transaction.
    pub fn ledger_size(&self) -> u64 {
        self.head.tree.size()
    }

    /// Appends what happened to the ledger. It is written with all else that the transaction appends, at its end.
    pub fn record(&mut self, event: Event<'_>) -> Result<(), StoreError> {
        let data = Json::from_serialize(&event.data)?;
        let entry = Entry {
            seq: self.head.tree.size() + 1,
            time: event.time,
            kind: event.kind.to_owned(),
            hold: event.hold.map(ToOwned::to_owned),
            decided_by: event.decided_by.map(|by| by.as_str().to_owned()),
            data: String::from_utf8(data.to_jcs()).map_err(|_| StoreError::Corrupt("ledger.data"))?,
        };
        let leaf = entry.to_leaf();
        // Whoever verifies an export reads no longer lines.
        if leaf.len() > MAX_LINE {
            return Err(StoreError::TooLong { kind: event.kind, bytes: leaf.len() });
        }
        let nodes = &mut self.appended.nodes;
        self.head.tree.append(leaf_hash(leaf.as_bytes()), |node, hash| nodes.push((node, hash)));
        self.appended.entries.push(entry);
        Ok(())
    }

    /// Notes that an entry corrects another one.
    pub async fn link_correction(&mut self, corrects: u64, seq: u64) -> Result<(), StoreError> {
        self.execute("INSERT INTO corrections (corrects, seq) VALUES ($1, $2)", values![corrects, seq]).await?;
        Ok(())
    }

    /// Keeps a signed checkpoint, unless there is one of this size.
    pub async fn keep_checkpoint(&mut self, origin: &str, kept: &Kept) -> Result<(), StoreError> {
        let sql =
            "INSERT INTO checkpoints (origin, size, note, signed_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        self.execute(sql, values![origin, kept.size, &kept.note, kept.signed_at]).await?;
        Ok(())
    }

    /// Reads the end of the ledger, where another process has written since.
    pub(super) async fn look_at_ledger(&mut self) -> Result<(), StoreError> {
        let size = size(self).await?;
        if size != self.head.tree.size() {
            self.head.tree = tree(self, size).await?;
        }
        Ok(())
    }

    /// Writes the entries that this transaction has appended, and the nodes above them.
    pub(super) async fn write_entries(&mut self) -> Result<(), StoreError> {
        let entries = std::mem::take(&mut self.appended.entries);
        let nodes = std::mem::take(&mut self.appended.nodes);
        let around = ("INSERT INTO ledger (seq, time, kind, hold, decided_by, data)", "");
        self.write(around, &entries, |entry| {
            let Entry { seq, time, kind, hold, decided_by, data } = entry;
            values![*seq, *time, kind, hold, decided_by, data]
        })
        .await?;
        write_nodes(self, &nodes).await
    }
}
