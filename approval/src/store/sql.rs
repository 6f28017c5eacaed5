//! Statements that both databases understand, and how they are run on either.
//!
//! Parameters are `$1, $2 ...`. Numbers are 64 bits wide, and signed.

use std::{borrow::Cow, pin::Pin};

use holdgate_protocol::Hash;
use sqlx::{
    AssertSqlSafe, Decode, Postgres, Row as _, Sqlite, Type, pool::PoolConnection, postgres::PgConnection,
    postgres::PgRow, sqlite::SqliteConnection, sqlite::SqliteRow,
};

use super::StoreError;

/// Rows in one statement. A statement for so many is prepared once, others each time, except for one row: handing one over and back
/// costs more than most of them do in the database, and thousands of decisions would pay that thousands of times.
const ROWS: usize = 64;

/// What comes later, of whichever database.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A connection on which statements run.
pub struct Connection(Box<dyn Run>);

/// A text of SQL; whether it comes again, and is worth to be kept ready.
#[derive(Debug)]
pub struct Statement {
    text: Cow<'static, str>,
    kept: bool,
}

/// A parameter. An absent one has a type, too.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    Text(Option<Cow<'a, str>>),
    Number(Option<i64>),
    Flag(bool),
    Bytes(Option<Cow<'a, [u8]>>),
}

/// The parameters of a statement, in their order.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::sql::Value::from($value)),*] };
}
pub(crate) use values;

/// One row of an answer.
#[derive(Debug)]
pub struct Row(AnyRow);

#[derive(Debug)]
enum AnyRow {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// A connection of one of the databases.
pub(super) trait Run: Send {
    fn rows<'a>(&'a mut self, sql: Statement, values: Vec<Value<'a>>) -> Later<'a, Result<Vec<Row>, sqlx::Error>>;

    /// How many rows it has changed.
    fn execute<'a>(&'a mut self, sql: Statement, values: Vec<Value<'a>>) -> Later<'a, Result<u64, sqlx::Error>>;
}

impl Connection {
    pub(super) fn new(connection: impl Run + 'static) -> Self {
        Connection(Box::new(connection))
    }

    /// All rows of an answer.
    pub async fn rows(&mut self, sql: impl Into<Statement>, values: Vec<Value<'_>>) -> Result<Vec<Row>, StoreError> {
        check(&values)?;
        Ok(self.0.rows(sql.into(), values).await?)
    }

    /// The first row of an answer.
    pub async fn row(&mut self, sql: impl Into<Statement>, values: Vec<Value<'_>>) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// The row of an answer that always has one.
    pub async fn one(&mut self, sql: impl Into<Statement>, values: Vec<Value<'_>>) -> Result<Row, StoreError> {
        Ok(self.row(sql, values).await?.ok_or(sqlx::Error::RowNotFound)?)
    }

    /// Says how many rows it has changed.
    pub async fn execute(&mut self, sql: impl Into<Statement>, values: Vec<Value<'_>>) -> Result<u64, StoreError> {
        check(&values)?;
        Ok(self.0.execute(sql.into(), values).await?)
    }

    /// Runs a statement around `VALUES (...), ...` for all these rows; says how many it has changed.
    pub async fn write<'a, T>(
        &mut self,
        around: (&str, &str),
        rows: &'a [T],
        bind: impl Fn(&'a T) -> Vec<Value<'a>>,
    ) -> Result<u64, StoreError> {
        let mut changed = 0;
        for some in rows.chunks(ROWS) {
            let (sql, values) = many(around, some, &bind);
            changed += self.execute(sql, values).await?;
        }
        Ok(changed)
    }

    /// The same for a statement that gives rows back.
    pub async fn write_returning<'a, T>(
        &mut self,
        around: (&str, &str),
        rows: &'a [T],
        bind: impl Fn(&'a T) -> Vec<Value<'a>>,
    ) -> Result<Vec<Row>, StoreError> {
        let mut returned = Vec::new();
        for some in rows.chunks(ROWS) {
            let (sql, values) = many(around, some, &bind);
            returned.extend(self.rows(sql, values).await?);
        }
        Ok(returned)
    }

    /// The rows that a query finds for any of these texts; it ends with `IN`.
    pub async fn find(&mut self, query: &str, texts: &[&str]) -> Result<Vec<Row>, StoreError> {
        let mut found = Vec::new();
        for some in texts.chunks(ROWS) {
            let sql = format!("{query} ({})", places(1, some.len()));
            let values = some.iter().map(|text| Value::from(*text)).collect();
            found.extend(self.rows(Statement { text: sql.into(), kept: is_kept(some) }, values).await?);
        }
        Ok(found)
    }
}

/// PostgreSQL keeps no NUL in a text; neither does anybody else need one there.
pub(super) fn check(values: &[Value<'_>]) -> Result<(), StoreError> {
    let nul = |value: &Value<'_>| matches!(value, Value::Text(Some(text)) if text.contains('\0'));
    if values.iter().any(nul) { Err(StoreError::Nul) } else { Ok(()) }
}

fn many<'a, T>(
    (head, tail): (&str, &str),
    rows: &'a [T],
    bind: impl Fn(&'a T) -> Vec<Value<'a>>,
) -> (Statement, Vec<Value<'a>>) {
    let (mut text, mut values) = (format!("{head} VALUES "), Vec::new());
    for (index, row) in rows.iter().enumerate() {
        let row = bind(row);
        let comma = if index > 0 { ", " } else { "" };
        text.push_str(&format!("{comma}({})", places(values.len() + 1, row.len())));
        values.extend(row);
    }
    text.push_str(tail);
    (Statement { text: text.into(), kept: is_kept(rows) }, values)
}

/// The places of so many parameters, from a number on.
fn places(first: usize, count: usize) -> String {
    let places: Vec<String> = (first..first + count).map(|number| format!("${number}")).collect();
    places.join(", ")
}

fn is_kept<T>(rows: &[T]) -> bool {
    rows.len() == ROWS || rows.len() == 1
}

impl From<&'static str> for Statement {
    fn from(text: &'static str) -> Self {
        Statement { text: text.into(), kept: true }
    }
}

/// A text that was put together. Only fixed parts go into it, and places for parameters.
impl From<String> for Statement {
    fn from(text: String) -> Self {
        Statement { text: text.into(), kept: true }
    }
}

macro_rules! run_on {
    ($connection:ty, $row:ident) => {
        impl Run for $connection {
            fn rows<'a>(
                &'a mut self,
                sql: Statement,
                values: Vec<Value<'a>>,
            ) -> Later<'a, Result<Vec<Row>, sqlx::Error>> {
                Box::pin(async move {
                    let rows = bound!(sql, values).fetch_all(&mut *self).await?;
                    Ok(rows.into_iter().map(|row| Row(AnyRow::$row(row))).collect())
                })
            }

            fn execute<'a>(
                &'a mut self,
                sql: Statement,
                values: Vec<Value<'a>>,
            ) -> Later<'a, Result<u64, sqlx::Error>> {
                Box::pin(async move { Ok(bound!(sql, values).execute(&mut *self).await?.rows_affected()) })
            }
        }
    };
}

macro_rules! bound {
    ($sql:expr, $values:expr) => {{
        let Statement { text, kept } = $sql;
        let mut query = match text {
            Cow::Borrowed(text) => sqlx::query(text),
            Cow::Owned(text) => sqlx::query(AssertSqlSafe(text)),
        };
        for value in $values {
            query = match value {
                Value::Text(text) => query.bind(text),
                Value::Number(number) => query.bind(number),
                Value::Flag(flag) => query.bind(flag),
                Value::Bytes(bytes) => query.bind(bytes.map(Cow::into_owned)),
            };
        }
        query.persistent(kept)
    }};
}

run_on!(SqliteConnection, Sqlite);
run_on!(PgConnection, Postgres);

impl Run for PoolConnection<Sqlite> {
    fn rows<'a>(&'a mut self, sql: Statement, values: Vec<Value<'a>>) -> Later<'a, Result<Vec<Row>, sqlx::Error>> {
        (**self).rows(sql, values)
    }

    fn execute<'a>(&'a mut self, sql: Statement, values: Vec<Value<'a>>) -> Later<'a, Result<u64, sqlx::Error>> {
        (**self).execute(sql, values)
    }
}

impl Run for PoolConnection<Postgres> {
    fn rows<'a>(&'a mut self, sql: Statement, values: Vec<Value<'a>>) -> Later<'a, Result<Vec<Row>, sqlx::Error>> {
        (**self).rows(sql, values)
    }

    fn execute<'a>(&'a mut self, sql: Statement, values: Vec<Value<'a>>) -> Later<'a, Result<u64, sqlx::Error>> {
        (**self).execute(sql, values)
    }
}

impl Row {
    pub fn text(&self, column: &'static str) -> Result<String, StoreError> {
        self.get(column)
    }

    pub fn text_or_null(&self, column: &'static str) -> Result<Option<String>, StoreError> {
        self.get(column)
    }

    /// A number that is not negative.
    pub fn int(&self, column: &'static str) -> Result<u64, StoreError> {
        Ok(u64::try_from(self.get::<i64>(column)?).unwrap_or_default())
    }

    pub fn int_or_null(&self, column: &'static str) -> Result<Option<u64>, StoreError> {
        Ok(self.get::<Option<i64>>(column)?.map(|number| u64::try_from(number).unwrap_or_default()))
    }

    pub fn flag(&self, column: &'static str) -> Result<bool, StoreError> {
        self.get(column)
    }

    pub fn bytes(&self, column: &'static str) -> Result<Vec<u8>, StoreError> {
        self.get(column)
    }

    /// A hash as it is written on the wire.
    pub fn hash(&self, column: &'static str) -> Result<Hash, StoreError> {
        self.text(column)?.parse().map_err(|_| StoreError::Corrupt(column))
    }

    /// JSON of a type.
    pub fn json<T: serde::de::DeserializeOwned>(&self, column: &'static str) -> Result<T, StoreError> {
        Ok(serde_json::from_str(&self.text(column)?)?)
    }

    fn get<'r, T>(&'r self, column: &'static str) -> Result<T, StoreError>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
    {
        Ok(match &self.0 {
            AnyRow::Sqlite(row) => row.try_get(column)?,
            AnyRow::Postgres(row) => row.try_get(column)?,
        })
    }
}

macro_rules! value_of {
    ($($type:ty, $value:ident => $variant:ident($made:expr);)*) => {
        $(impl<'a> From<$type> for Value<'a> {
            fn from($value: $type) -> Self {
                Value::$variant($made)
            }
        })*
    };
}

value_of! {
    &'a str, text => Text(Some(text.into()));
    &'a String, text => Text(Some(text.as_str().into()));
    String, text => Text(Some(text.into()));
    Option<&'a str>, text => Text(text.map(Into::into));
    &'a Option<String>, text => Text(text.as_deref().map(Into::into));
    Option<String>, text => Text(text.map(Into::into));
    &Hash, hash => Text(Some(hash.to_string().into()));
    Hash, hash => Text(Some(hash.to_string().into()));
    u64, number => Number(Some(signed(number)));
    Option<u64>, number => Number(number.map(signed));
    u32, number => Number(Some(number.into()));
    u16, number => Number(Some(number.into()));
    Option<u16>, number => Number(number.map(Into::into));
    i64, number => Number(Some(number));
    usize, number => Number(Some(i64::try_from(number).unwrap_or(i64::MAX)));
    bool, flag => Flag(flag);
    &'a [u8], bytes => Bytes(Some(bytes.into()));
    Vec<u8>, bytes => Bytes(Some(bytes.into()));
}

/// Times and serials stay far below the border.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
