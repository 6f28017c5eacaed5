//! What is to be looked at when its time comes.

use super::{
    Connection, StoreError, Tx,
    sql::{Row, values},
};

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A share of the time for deciding is over.
    Remind,
    /// A further role may decide.
    Escalate,
    /// The request that was let through should have been told of by now.
    Outcome,
}

impl Mark {
    fn as_str(self) -> &'static str {
        match self {
            Mark::Remind => "remind",
            Mark::Escalate => "escalate",
            Mark::Outcome => "outcome",
        }
    }
}

/// Whether something is to be looked at.
pub async fn is_due(connection: &mut Connection, now: u64) -> Result<bool, StoreError> {
    let sql = "SELECT 1 AS found FROM hold_marks WHERE due <= $1 LIMIT 1";
    Ok(connection.row(sql, values![now]).await?.is_some())
}

/// Those of these holds of which an outcome was reported.
pub async fn reported(connection: &mut Connection, holds: &[&str]) -> Result<Vec<String>, StoreError> {
    let rows = connection.find("SELECT hold FROM outcomes WHERE hold IN", holds).await?;
    rows.iter().map(|row| row.text("hold")).collect()
}

impl Tx {
    /// Notes what is to be looked at, and when.
    pub async fn insert_marks(&mut self, marks: &[(String, Mark, u64)]) -> Result<(), StoreError> {
        let around = ("INSERT INTO hold_marks (hold, kind, due)", " ON CONFLICT (hold, kind) DO NOTHING");
        self.write(around, marks, |(hold, mark, due)| values![hold, mark.as_str(), *due]).await?;
        Ok(())
    }

    /// Takes out what is to be looked at now, the oldest first. It comes once: the transaction that takes it says what came
    /// of it.
    pub async fn take_marks(&mut self, now: u64, limit: u32) -> Result<Vec<(String, Mark)>, StoreError> {
        let sql = "DELETE FROM hold_marks WHERE (hold, kind) IN
                   (SELECT hold, kind FROM hold_marks WHERE due <= $1 ORDER BY due LIMIT $2) RETURNING hold, kind, due";
        let taken = |row: &Row| {
            let mark = match row.text("kind")?.as_str() {
                "remind" => Mark::Remind,
                "escalate" => Mark::Escalate,
                _ => Mark::Outcome,
            };
            Ok::<_, StoreError>((row.int("due")?, row.text("hold")?, mark))
        };
        let mut marks = self
            .rows(sql, values![now, limit])
            .await?
            .iter()
            .map(taken)
            .collect::<Result<Vec<(u64, String, Mark)>, _>>()?;
        marks.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        Ok(marks.into_iter().map(|(_, hold, mark)| (hold, mark)).collect())
    }
}
