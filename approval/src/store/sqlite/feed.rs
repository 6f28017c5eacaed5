//! The feed: what gateways are told, in the order of the commits.

use holdgate_protocol::gateway::FeedItem;
use sqlx::Row as _;

use super::{Connection, StoreError, Tx, int, rows, uint};

/// The newest number that was given out; 0 before the first.
pub async fn head(connection: &mut Connection) -> Result<u64, StoreError> {
    let sql = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'feed'";
    Ok(uint(sqlx::query(sql).fetch_one(connection).await?.try_get(0)?))
}

/// The oldest number that is kept.
pub async fn oldest(connection: &mut Connection) -> Result<Option<u64>, StoreError> {
    let row = sqlx::query("SELECT min(seq) FROM feed").fetch_one(connection).await?;
    Ok(row.try_get::<Option<i64>, _>(0)?.map(uint))
}

/// Items for a group with `after < seq <= until`, oldest first.
pub async fn page(
    connection: &mut Connection,
    group: &str,
    (after, until): (u64, u64),
    limit: usize,
) -> Result<Vec<FeedItem>, StoreError> {
    let sql = "SELECT item FROM feed WHERE seq > ? AND seq <= ? AND (grp IS NULL OR grp = ?) ORDER BY seq LIMIT ?";
    let query = sqlx::query(sql).bind(int(after)).bind(int(until)).bind(group);
    let rows = query.bind(i64::try_from(limit).unwrap_or(i64::MAX)).fetch_all(connection).await?;
    let item = |row: sqlx::sqlite::SqliteRow| Ok(serde_json::from_str(row.try_get(0)?)?);
    rows.into_iter().map(item).collect()
}

/// An item that is not written yet.
pub(super) struct Told {
    seq: u64,
    group: Option<String>,
    text: String,
}

impl Tx {
    /// Adds one item, made with its number. Without a group it is for all. It is written at the end of the transaction.
    pub fn tell(&mut self, group: Option<&str>, item: impl FnOnce(u64) -> FeedItem) -> Result<u64, StoreError> {
        let seq = self.head.feed + 1;
        let text = serde_json::to_string(&item(seq))?;
        self.head.feed = seq;
        self.appended.told.push(Told { seq, group: group.map(ToOwned::to_owned), text });
        Ok(seq)
    }

    /// Writes the items that this transaction has added.
    pub(super) async fn write_told(&mut self) -> Result<(), StoreError> {
        let told = std::mem::take(&mut self.appended.told);
        rows::write(self, ("INSERT INTO feed (seq, grp, item) ", ""), &told, |mut row, item| {
            row.push_bind(int(item.seq)).push_bind(&item.group).push_bind(&*item.text);
        })
        .await?;
        Ok(())
    }

    /// Forgets all but the newest `keep` numbers of those that were there when the transaction began.
    pub async fn prune_feed(&mut self, keep: u64) -> Result<(), StoreError> {
        let until = int(self.head.feed.saturating_sub(keep));
        sqlx::query("DELETE FROM feed WHERE seq <= ?").bind(until).execute(&mut **self).await?;
        Ok(())
    }
}
