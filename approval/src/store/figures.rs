//! What figures are made of.

use holdgate_protocol::RuleRef;

use super::{
    Connection, StoreError, Tx,
    sql::{Row, values},
};

/// One hold as figures count it.
#[derive(Clone, Debug)]
pub struct Counted {
    pub state: String,
    pub rules: Vec<RuleRef>,
}

/// One decision as figures count it.
#[derive(Clone, Debug)]
pub struct Decided {
    pub person: String,
    pub name: String,
    pub approves: bool,
    /// Seconds from the opening of the hold.
    pub after: u64,
    /// Seconds from the first look at the hold; `None`: the person never looked.
    pub looked: Option<u64>,
}

/// How many holds are open, and when the oldest that waits for a decision was opened.
pub async fn open(connection: &mut Connection) -> Result<(u64, u64, Option<u64>), StoreError> {
    let sql = "SELECT (SELECT count(*) FROM holds WHERE state = 'pending') AS pending,
               (SELECT count(*) FROM holds WHERE state = 'approved') AS approved,
               (SELECT min(opened_at) FROM holds WHERE state = 'pending') AS oldest";
    let row = connection.one(sql, values![]).await?;
    Ok((row.int("pending")?, row.int("approved")?, row.int_or_null("oldest")?))
}

/// Holds that were opened since a time, the newest first.
pub async fn holds(connection: &mut Connection, since: u64, limit: u32) -> Result<Vec<Counted>, StoreError> {
    let sql = "SELECT state, rules FROM holds WHERE opened_at >= $1
               AND state IN ('pending', 'approved', 'denied', 'expired', 'cancelled', 'used')
               ORDER BY opened_at DESC LIMIT $2";
    let counted = |row: &Row| Ok(Counted { state: row.text("state")?, rules: row.json("rules")? });
    connection.rows(sql, values![since, limit]).await?.iter().map(counted).collect()
}

/// Decisions since a time that were not withdrawn, the newest first.
pub async fn decisions(connection: &mut Connection, since: u64, limit: u32) -> Result<Vec<Decided>, StoreError> {
    let sql =
        "SELECT d.person, p.name, d.verdict, d.decided_at - h.opened_at AS after, d.decided_at - v.first_at AS looked
               FROM decisions d JOIN persons p ON p.id = d.person JOIN holds h ON h.id = d.hold
               LEFT JOIN views v ON v.hold = d.hold AND v.person = d.person AND v.first_at <= d.decided_at
               WHERE d.decided_at >= $1 AND d.verdict IN ('approve', 'deny')
               AND NOT EXISTS (SELECT 1 FROM withdrawals w WHERE w.decision = d.number) ORDER BY d.decided_at DESC LIMIT $2";
    let decided = |row: &Row| {
        Ok(Decided {
            person: row.text("person")?,
            name: row.text("name")?,
            approves: row.text("verdict")? == "approve",
            after: row.int("after")?,
            looked: row.int_or_null("looked")?,
        })
    };
    connection.rows(sql, values![since, limit]).await?.iter().map(decided).collect()
}

/// Whether a person has looked at a hold.
pub async fn has_viewed(connection: &mut Connection, hold: &str, person: &str) -> Result<bool, StoreError> {
    let sql = "SELECT 1 AS found FROM views WHERE hold = $1 AND person = $2";
    Ok(connection.row(sql, values![hold, person]).await?.is_some())
}

impl Tx {
    /// Notes when a person first looked at a hold.
    pub async fn note_view(&mut self, hold: &str, person: &str, now: u64) -> Result<(), StoreError> {
        let sql =
            "INSERT INTO views (hold, person, first_at) VALUES ($1, $2, $3) ON CONFLICT (hold, person) DO NOTHING";
        self.execute(sql, values![hold, person, now]).await.map(|_| ())
    }
}
