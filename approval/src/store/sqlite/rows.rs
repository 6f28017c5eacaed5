//! Many rows in one statement. Each statement is handed to the thread of its connection and back, which costs more than
//! most of them do there; thousands of decisions would pay that thousands of times.

use sqlx::{AssertSqlSafe, QueryBuilder, Sqlite, query_builder::Separated, sqlite::SqliteRow};

use super::{Connection, StoreError};

/// Rows in one statement. A statement for so many is prepared once, others each time, except for one row.
const ROWS: usize = 64;

/// One row that is being bound.
pub(super) type Row<'q> = Separated<'q, Sqlite, &'static str>;

/// Runs a statement around `VALUES` for all these rows; says how many it has changed.
pub(super) async fn write<T>(
    connection: &mut Connection,
    (head, tail): (&'static str, &'static str),
    rows: &[T],
    bind: impl Fn(Row<'_>, &T),
) -> Result<u64, StoreError> {
    let mut changed = 0;
    for some in rows.chunks(ROWS) {
        let mut query = QueryBuilder::<Sqlite>::new(head);
        query.push_values(some, &bind).push(tail);
        changed += query.build().persistent(is_kept(some)).execute(&mut *connection).await?.rows_affected();
    }
    Ok(changed)
}

/// The same for a statement that gives rows back.
pub(super) async fn write_returning<T>(
    connection: &mut Connection,
    (head, tail): (&'static str, &'static str),
    rows: &[T],
    bind: impl Fn(Row<'_>, &T),
) -> Result<Vec<SqliteRow>, StoreError> {
    let mut returned = Vec::new();
    for some in rows.chunks(ROWS) {
        let mut query = QueryBuilder::<Sqlite>::new(head);
        query.push_values(some, &bind).push(tail);
        returned.extend(query.build().persistent(is_kept(some)).fetch_all(&mut *connection).await?);
    }
    Ok(returned)
}

/// The rows that a query finds for any of these texts; it ends with `IN`.
pub(super) async fn find(
    connection: &mut Connection,
    query: &str,
    texts: &[&str],
) -> Result<Vec<SqliteRow>, StoreError> {
    let mut found = Vec::new();
    for some in texts.chunks(ROWS) {
        let places = vec!["?"; some.len()].join(", ");
        let sql = AssertSqlSafe(format!("{query} ({places})"));
        let query = some.iter().fold(sqlx::query(sql), |query, text| query.bind(*text));
        found.extend(query.persistent(is_kept(some)).fetch_all(&mut *connection).await?);
    }
    Ok(found)
}

fn is_kept<T>(rows: &[T]) -> bool {
    rows.len() == ROWS || rows.len() == 1
}
