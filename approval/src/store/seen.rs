//! What pages show beside holds: who looked at them, who decided, what became of the request, and how people are called.

use std::collections::HashMap;

use holdgate_protocol::gateway::Outcome;

use super::{Connection, StoreError, sql::values};
use crate::domain::Verdict;

/// The line of a request by which people know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub method: String,
    pub authority: String,
    pub path: String,
}

/// What became of a hold that has ended: who decided, by name, and what its gateway reported.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    pub decided: Vec<(String, Verdict)>,
    pub outcome: Option<Outcome>,
}

/// Who looked at a hold, and when first.
pub async fn views(connection: &mut Connection, hold: &str) -> Result<Vec<(String, u64)>, StoreError> {
    let sql = "SELECT person, first_at FROM views WHERE hold = $1 ORDER BY first_at, person";
    let rows = connection.rows(sql, values![hold]).await?;
    rows.iter().map(|row| Ok((row.text("person")?, row.int("first_at")?))).collect()
}

/// The names of those of these people that the directory has.
pub async fn names(connection: &mut Connection, people: &[&str]) -> Result<HashMap<String, String>, StoreError> {
    let rows = connection.find("SELECT id, name FROM persons WHERE id IN", people).await?;
    rows.iter().map(|row| Ok((row.text("id")?, row.text("name")?))).collect()
}

/// The requests of these holds.
pub async fn heads(connection: &mut Connection, holds: &[&str]) -> Result<HashMap<String, Head>, StoreError> {
    let rows = connection.find("SELECT id, method, authority, path FROM holds WHERE id IN", holds).await?;
    let head = |row: &super::sql::Row| {
        let head = Head { method: row.text("method")?, authority: row.text("authority")?, path: row.text("path")? };
        Ok((row.text("id")?, head))
    };
    rows.iter().map(head).collect()
}

/// What became of these holds.
pub async fn ended(connection: &mut Connection, holds: &[&str]) -> Result<HashMap<String, Ended>, StoreError> {
    let mut ended: HashMap<String, Ended> = HashMap::new();
    let query = "SELECT d.hold, p.name, d.verdict FROM decisions d JOIN persons p ON p.id = d.person
                 WHERE NOT EXISTS (SELECT 1 FROM withdrawals w WHERE w.decision = d.number) AND d.hold IN";
    for row in connection.find(query, holds).await? {
        let verdict = if row.text("verdict")? == "approve" { Verdict::Approve } else { Verdict::Deny };
        ended.entry(row.text("hold")?).or_default().decided.push((row.text("name")?, verdict));
    }
    for row in connection.find("SELECT hold, attempt, forwarded, status FROM outcomes WHERE hold IN", holds).await? {
        let hold = row.text("hold")?;
        let status = row.int_or_null("status")?.and_then(|status| u16::try_from(status).ok());
        let outcome =
            Outcome { hold: hold.clone(), attempt: row.text("attempt")?, forwarded: row.flag("forwarded")?, status };
        ended.entry(hold).or_default().outcome = Some(outcome);
    }
    Ok(ended)
}

/// Which of these people are suspended.
pub async fn suspended(connection: &mut Connection, people: &[&str]) -> Result<Vec<String>, StoreError> {
    let query = "SELECT id FROM persons WHERE suspended_at IS NOT NULL AND id IN";
    connection.find(query, people).await?.iter().map(|row| row.text("id")).collect()
}
