//! The feed: what gateways are told, in the order of the commits.

use holdgate_protocol::gateway::FeedItem;
use sqlx::Row as _;

use super::{Connection, StoreError, Tx, int, uint};

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

impl Tx {
    /// Adds one item, made with its number. Without a group it is for all.
    pub async fn tell(&mut self, group: Option<&str>, item: impl FnOnce(u64) -> FeedItem) -> Result<u64, StoreError> {
        let seq = self.head.feed + 1;
        let text = serde_json::to_string(&item(seq))?;
        let sql = "INSERT INTO feed (seq, grp, item) VALUES (?, ?, ?)";
        sqlx::query(sql).bind(int(seq)).bind(group).bind(text).execute(&mut **self).await?;
        self.head.feed = seq;
        Ok(seq)
    }

    /// Forgets all but the newest `keep` numbers.
    pub async fn prune_feed(&mut self, keep: u64) -> Result<(), StoreError> {
        let until = int(self.head.feed.saturating_sub(keep));
        sqlx::query("DELETE FROM feed WHERE seq <= ?").bind(until).execute(&mut **self).await?;
        Ok(())
    }
}
