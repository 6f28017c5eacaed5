//! Notices to others: what is said, to whom, and how far it came. The ledger is what they are made from.

use serde::Serialize;

use super::{
    Connection, StoreError, Tx,
    sql::{Row, values},
};

/// What is said of one entry of the ledger.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The entry's number.
    pub entry: u64,
    /// The same each time that it is sent: receivers know by it what they have.
    pub name: String,
    pub event: &'static str,
    pub hold: Option<String>,
    pub made_at: u64,
    /// JSON.
    pub body: String,
}

/// One notice on its way to one hook.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub entry: u64,
    pub name: String,
    pub tries: u64,
    pub made_at: u64,
    pub body: String,
}

/// What became of one try.
#[derive(Clone, Debug)]
pub enum Tried {
    Delivered,
    /// Tried again at this time. `pause`: what is behind it waits, too.
    Again {
        at: u64,
        error: String,
        pause: bool,
    },
    Failed {
        error: String,
    },
}

/// How a delivery is shown.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    pub id: String,
    pub hook: String,
    pub event: String,
    pub hold: Option<String>,
    pub state: String,
    pub tries: u64,
    pub made_at: u64,
    /// When it is tried next; once it has ended, when that was.
    pub at: u64,
    pub error: Option<String>,
    #[serde(skip)]
    pub entry: u64,
}

/// How long an instance may keep a hook to itself after it was last heard of, in seconds.
pub const LEASE: u64 = 60;

/// Up to which entry the ledger was followed.
pub async fn followed(connection: &mut Connection) -> Result<u64, StoreError> {
    connection.one("SELECT seq FROM followed WHERE name = 'ledger'", values![]).await?.int("seq")
}

/// Method, authority and path of holds.
pub async fn targets(connection: &mut Connection, holds: &[&str]) -> Result<Vec<(String, [String; 3])>, StoreError> {
    let rows = connection.find("SELECT id, method, authority, path FROM holds WHERE id IN", holds).await?;
    let target = |row: &Row| Ok((row.text("id")?, [row.text("method")?, row.text("authority")?, row.text("path")?]));
    rows.iter().map(target).collect()
}

/// Whether something is due for a hook that nobody else delivers to.
pub async fn is_due(connection: &mut Connection, hook: &str, now: u64) -> Result<bool, StoreError> {
    let sql = "SELECT 1 AS found FROM deliveries WHERE state = 'pending' AND hook = $1 AND due <= $2 AND NOT EXISTS
               (SELECT 1 FROM hooks WHERE id = $1 AND (lease_until > $2 OR paused_until > $2)) LIMIT 1";
    Ok(connection.row(sql, values![hook, now]).await?.is_some())
}

/// How many deliveries are in a state.
pub async fn count(connection: &mut Connection, state: &str) -> Result<u64, StoreError> {
    connection.one("SELECT count(*) AS n FROM deliveries WHERE state = $1", values![state]).await?.int("n")
}

/// Deliveries in one state, the newest first, those of one notice by hook; `after` is the notice and the hook of the one before.
pub async fn list(
    connection: &mut Connection,
    state: &str,
    after: (u64, &str),
    limit: u32,
) -> Result<Vec<Shown>, StoreError> {
    let sql = "SELECT n.entry, n.name, d.hook, n.event, n.hold, d.state, d.tries, n.made_at, d.due, d.error
               FROM deliveries d JOIN notices n ON n.entry = d.notice
               WHERE d.state = $1 AND d.notice <= $2 AND (d.notice < $2 OR d.hook > $3)
               ORDER BY d.notice DESC, d.hook LIMIT $4";
    let (notice, hook) = after;
    let shown = |row: &Row| {
        Ok(Shown {
            id: row.text("name")?,
            hook: row.text("hook")?,
            event: row.text("event")?,
            hold: row.text_or_null("hold")?,
            state: row.text("state")?,
            tries: row.int("tries")?,
            made_at: row.int("made_at")?,
            at: row.int("due")?,
            error: row.text_or_null("error")?,
            entry: row.int("entry")?,
        })
    };
    connection.rows(sql, values![state, notice, hook, limit]).await?.iter().map(shown).collect()
}

impl Tx {
    /// Notes that the ledger was followed from one entry to another. `false`: another instance was faster.
    pub async fn follow(&mut self, from: u64, to: u64) -> Result<bool, StoreError> {
        let sql = "UPDATE followed SET seq = $1 WHERE name = 'ledger' AND seq = $2";
        Ok(self.execute(sql, values![to, from]).await? == 1)
    }

    /// Writes something that changes nothing, to see that it can be done.
    pub async fn touch(&mut self) -> Result<(), StoreError> {
        self.execute("UPDATE followed SET seq = seq WHERE name = 'ledger'", values![]).await.map(|_| ())
    }

    /// Keeps notices, and to which hooks each goes.
    pub async fn insert_notices(&mut self, notices: &[(Notice, Vec<String>)], now: u64) -> Result<(), StoreError> {
        let head = "INSERT INTO notices (entry, name, event, hold, made_at, body)";
        self.write((head, ""), notices, |(notice, _)| {
            let Notice { entry, name, event, hold, made_at, body } = notice;
            values![*entry, name, *event, hold, *made_at, body]
        })
        .await?;
        let each = |(notice, hooks): &'_ (Notice, Vec<String>)| {
            let entry = notice.entry;
            hooks.iter().map(move |hook| (hook.clone(), entry)).collect::<Vec<_>>()
        };
        let deliveries: Vec<(String, u64)> = notices.iter().flat_map(each).collect();
        let head = "INSERT INTO deliveries (hook, notice, state, tries, due)";
        self.write((head, ""), &deliveries, |(hook, notice)| values![hook, *notice, "pending", 0_u64, now]).await?;
        Ok(())
    }

    /// Takes a hook for one instance. `false`: another one has it, or it rests.
    pub async fn take_hook(&mut self, hook: &str, by: &str, now: u64) -> Result<bool, StoreError> {
        let sql = "INSERT INTO hooks (id, lease_by, lease_until, paused_until) VALUES ($1, $2, $3, 0)
                   ON CONFLICT (id) DO UPDATE SET lease_by = excluded.lease_by, lease_until = excluded.lease_until
                   WHERE hooks.lease_until <= $4 AND hooks.paused_until <= $4";
        Ok(self.execute(sql, values![hook, by, now.saturating_add(LEASE), now]).await? == 1)
    }

    /// The oldest deliveries of a hook that are due.
    pub async fn due_deliveries(&mut self, hook: &str, now: u64, limit: u32) -> Result<Vec<Delivery>, StoreError> {
        let sql =
            "SELECT n.entry, n.name, n.made_at, n.body, d.tries FROM deliveries d JOIN notices n ON n.entry = d.notice
                   WHERE d.state = 'pending' AND d.hook = $1 AND d.due <= $2 ORDER BY d.notice LIMIT $3";
        let delivery = |row: &Row| {
            let (entry, name, tries) = (row.int("entry")?, row.text("name")?, row.int("tries")?);
            Ok(Delivery { entry, name, tries, made_at: row.int("made_at")?, body: row.text("body")? })
        };
        self.rows(sql, values![hook, now, limit]).await?.iter().map(delivery).collect()
    }

    /// Writes down what became of a try, and keeps the hook for longer. `false`: another instance has taken it.
    pub async fn settle(
        &mut self,
        (hook, by): (&str, &str),
        entry: u64,
        tried: &Tried,
        now: u64,
    ) -> Result<bool, StoreError> {
        let (state, due, error, paused) = match tried {
            Tried::Delivered => ("delivered", now, None, 0),
            Tried::Again { at, error, pause } => ("pending", *at, Some(error), if *pause { *at } else { 0 }),
            Tried::Failed { error } => ("failed", now, Some(error), 0),
        };
        let sql = "UPDATE hooks SET lease_until = $1, paused_until = $2 WHERE id = $3 AND lease_by = $4";
        if self.execute(sql, values![now.saturating_add(LEASE), paused, hook, by]).await? == 0 {
            return Ok(false);
        }
        let sql = "UPDATE deliveries SET state = $1, due = $2, error = $3, tries = tries + 1
                   WHERE hook = $4 AND notice = $5 AND state = 'pending'";
        self.execute(sql, values![state, due, error.map(String::as_str), hook, entry]).await?;
        Ok(true)
    }

    /// Leaves a hook to whoever comes.
    pub async fn release_hook(&mut self, hook: &str, by: &str) -> Result<(), StoreError> {
        let sql = "UPDATE hooks SET lease_by = NULL, lease_until = 0 WHERE id = $1 AND lease_by = $2";
        self.execute(sql, values![hook, by]).await.map(|_| ())
    }

    /// Gives up what was made at or before `until` and is not delivered still.
    pub async fn give_up_deliveries(&mut self, until: u64, limit: u32) -> Result<u64, StoreError> {
        let sql = "UPDATE deliveries SET state = 'failed', error = coalesce(error, 'nobody delivered it in time')
                   WHERE (hook, notice) IN (SELECT d.hook, d.notice FROM deliveries d JOIN notices n ON n.entry = d.notice
                   WHERE d.state = 'pending' AND n.made_at <= $1 LIMIT $2)";
        self.execute(sql, values![until, limit]).await
    }

    /// Deletes notices that were made at or before `until` with their deliveries; says of how many.
    pub async fn delete_notices(&mut self, until: u64, limit: u32) -> Result<u64, StoreError> {
        let sql = "SELECT coalesce(max(entry), 0) AS last FROM
                   (SELECT entry, made_at FROM notices ORDER BY entry LIMIT $1) AS oldest WHERE made_at <= $2";
        let last = self.one(sql, values![limit, until]).await?.int("last")?;
        self.execute("DELETE FROM deliveries WHERE notice <= $1", values![last]).await?;
        self.execute("DELETE FROM notices WHERE entry <= $1", values![last]).await
    }
}
