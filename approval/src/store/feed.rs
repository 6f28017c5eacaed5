//! The feed: what gateways are told, in the order of the commits.

use holdgate_protocol::gateway::FeedItem;

use super::{
    Connection, StoreError, Tx,
    sql::{Row, values},
    tail::Told,
};

/// The newest number that was given out; 0 before the first.
pub async fn head(connection: &mut Connection) -> Result<u64, StoreError> {
    connection.one("SELECT coalesce(max(seq), 0) AS head FROM feed", values![]).await?.int("head")
}

/// The oldest number that is kept.
pub async fn oldest(connection: &mut Connection) -> Result<Option<u64>, StoreError> {
    connection.one("SELECT min(seq) AS oldest FROM feed", values![]).await?.int_or_null("oldest")
}

/// Items for a group with `after < seq <= until`, oldest first.
pub async fn page(
    connection: &mut Connection,
    group: &str,
    (after, until): (u64, u64),
    limit: usize,
) -> Result<Vec<FeedItem>, StoreError> {
    let sql = "SELECT item FROM feed WHERE seq > $1 AND seq <= $2 AND (grp IS NULL OR grp = $3) ORDER BY seq LIMIT $4";
    let rows = connection.rows(sql, values![after, until, group, limit]).await?;
    rows.iter().map(|row| row.json("item")).collect()
}

/// The newest items for any group with `after < seq <= until`, oldest first.
pub(super) async fn told(
    connection: &mut Connection,
    (after, until): (u64, u64),
    limit: usize,
) -> Result<Vec<Told>, StoreError> {
    let sql = "SELECT seq, grp, item FROM feed WHERE seq > $1 AND seq <= $2 ORDER BY seq DESC LIMIT $3";
    let rows = connection.rows(sql, values![after, until, limit]).await?;
    let told = |row: &Row| Ok(Told { seq: row.int("seq")?, group: row.text_or_null("grp")?, item: row.json("item")? });
    rows.iter().rev().map(told).collect()
}

impl Tx {
    /// Adds one item, made with its number. Without a group it is for all. It is written at the end of the transaction.
    pub fn tell(&mut self, group: Option<&str>, item: impl FnOnce(u64) -> FeedItem) -> Result<u64, StoreError> {
        let seq = self.head.feed + 1;
        self.head.feed = seq;
        self.appended.told.push(Told { seq, group: group.map(ToOwned::to_owned), item: item(seq) });
        Ok(seq)
    }

    /// Writes the items that this transaction has added.
    pub(super) async fn write_told(&mut self) -> Result<(), StoreError> {
        let text = |told: &Told| Ok((told.seq, told.group.clone(), serde_json::to_string(&told.item)?));
        let told = self.appended.told.iter().map(text).collect::<Result<Vec<_>, StoreError>>()?;
        let around = ("INSERT INTO feed (seq, grp, item)", "");
        self.write(around, &told, |(seq, group, text)| values![*seq, group, text]).await?;
        Ok(())
    }

    /// Forgets all but the newest `keep` numbers of those that were there when the transaction began. The newest of all
    /// stays: it tells where the numbers go on.
    pub async fn prune_feed(&mut self, keep: u64) -> Result<(), StoreError> {
        let until = self.head.feed.saturating_sub(keep.max(1));
        self.execute("DELETE FROM feed WHERE seq <= $1", values![until]).await?;
        self.appended.pruned = until;
        Ok(())
    }
}
