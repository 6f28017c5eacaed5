//! Lists of holds: in one order, page by page, narrowed by what a reviewer asks for.

use holdgate_protocol::gateway::HoldState;

use super::{
    Connection, StoreError, Value,
    holds::{COLUMNS, hold},
    sql::{Row, values},
};
use crate::domain::Hold;

/// The most characters of a query in a list.
const LISTED_QUERY: u32 = 512;

/// How many holds of a state are looked at for one page. Behind them the list goes on, with what was found so far.
pub const LOOKED_AT: u32 = 10_000;

/// A hold as a list shows it.
#[derive(Clone, Debug)]
pub struct Listed {
    pub hold: Hold,
    pub place: Place,
    pub method: String,
    pub authority: String,
    pub path: String,
    pub query: Option<Query>,
}

impl AsRef<Hold> for Listed {
    fn as_ref(&self) -> &Hold {
        &self.hold
    }
}

/// The beginning of a query, as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub text: String,
    /// Bytes that were left off.
    pub rest: u64,
}

/// A place in a list: the deadline and id of the hold that stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub deadline: u64,
    pub id: String,
}

/// Which holds of a state a list has: those that meet all that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// A rule that holds it; with `*` at the end, one whose id begins so.
    pub rule: Option<String>,
    /// Who acts: issuer and subject, either or both.
    pub iss: Option<String>,
    pub sub: Option<String>,
    /// The gateway group.
    pub group: Option<String>,
    pub method: Option<String>,
    /// How the path begins.
    pub path: Option<String>,
    /// Opened at this moment or later.
    pub opened_after: Option<u64>,
    /// Opened before this moment.
    pub opened_before: Option<u64>,
}

/// Holds that were found one after the other.
#[derive(Clone, Debug)]
pub struct Found {
    pub items: Vec<Listed>,
    /// The last one that was found, where there may be more behind it.
    pub last: Option<Place>,
}

/// The last hold in a state that is looked at for a page behind a place; `None` where the list ends before. It does not depend on
/// what a list is narrowed to.
pub async fn window(
    connection: &mut Connection,
    state: HoldState,
    after: Option<&Place>,
) -> Result<Option<Place>, StoreError> {
    let order = Order::of(state);
    let Conditions { text, values } = Conditions::of(&order, after);
    let (way, before) = (order.way(), LOOKED_AT - 1);
    let sql = format!(
        "SELECT deadline, id FROM holds WHERE {text} ORDER BY deadline {way}, id {way} LIMIT 1 OFFSET {before}"
    );
    connection.row(sql, values).await?.as_ref().map(place).transpose()
}

/// The first holds in one state behind one place and up to another, in the list's order: open ones by deadline, the oldest first;
/// ended ones by their end, the newest first.
pub async fn find(
    connection: &mut Connection,
    state: HoldState,
    filter: &Filter,
    (after, end): (Option<&Place>, Option<&Place>),
    limit: u32,
) -> Result<Found, StoreError> {
    let order = Order::of(state);
    let mut conditions = Conditions::of(&order, after);
    if let Some(end) = end {
        conditions.between(order.upto(), &end.deadline, &end.id);
    }
    conditions.filter(filter);
    let Conditions { text, mut values } = conditions;
    values.push(Value::from(limit));
    let (last, way) = (values.len(), order.way());
    let sql = format!(
        "SELECT {COLUMNS}, method, authority, path, substr(query, 1, {LISTED_QUERY}) AS query,
         CAST(octet_length(query) AS BIGINT) AS query_bytes FROM holds
         WHERE {text} ORDER BY deadline {way}, id {way} LIMIT ${last}"
    );
    let found = connection.rows(sql, values).await?;
    let mut items = found.iter().map(listed).collect::<Result<Vec<_>, _>>()?;
    let full = u32::try_from(items.len()).is_ok_and(|count| count >= limit);
    let last = items.last().filter(|_| full).map(|item| item.place.clone());
    items.retain(|item| filter.is_of(&item.hold));
    Ok(Found { items, last })
}

fn listed(row: &Row) -> Result<Listed, StoreError> {
    let (method, authority, path) = (row.text("method")?, row.text("authority")?, row.text("path")?);
    let bytes = row.int_or_null("query_bytes")?.unwrap_or_default();
    let query = row.text_or_null("query")?;
    let query = query.map(|text| Query { rest: bytes.saturating_sub(text.len() as u64), text });
    Ok(Listed { hold: hold(row)?, place: place(row)?, method, authority, path, query })
}

fn place(row: &Row) -> Result<Place, StoreError> {
    Ok(Place { deadline: row.int("deadline")?, id: row.text("id")? })
}

/// In which order the holds of a state stand.
struct Order {
    open: bool,
    state: HoldState,
}

impl Order {
    fn of(state: HoldState) -> Self {
        Order { open: matches!(state, HoldState::Pending | HoldState::Approved), state }
    }

    fn way(&self) -> &'static str {
        if self.open { "ASC" } else { "DESC" }
    }

    fn behind(&self) -> &'static str {
        if self.open { ">" } else { "<" }
    }

    fn upto(&self) -> &'static str {
        if self.open { "<=" } else { ">=" }
    }
}

/// What stands behind `WHERE`, with its parameters.
struct Conditions<'a> {
    text: String,
    values: Vec<Value<'a>>,
}

impl<'a> Conditions<'a> {
    /// Holds of a state behind a place.
    fn of(order: &Order, after: Option<&'a Place>) -> Self {
        let mut conditions = Conditions { text: "state = $1".to_owned(), values: values![order.state.as_str()] };
        if let Some(Place { deadline, id }) = after {
            conditions.between(order.behind(), deadline, id);
        }
        conditions
    }

    fn between(&mut self, sign: &str, deadline: &u64, id: &'a str) {
        let first = self.values.len() + 1;
        self.text.push_str(&format!(" AND (deadline, id) {sign} (${first}, ${})", first + 1));
        // A moment that no database can tell is later than all.
        self.values.push(Value::from(i64::try_from(*deadline).unwrap_or(i64::MAX)));
        self.values.push(Value::from(id));
    }

    fn and(&mut self, condition: impl FnOnce(&str) -> String, value: Value<'a>) {
        self.values.push(value);
        let place = format!("${}", self.values.len());
        self.text.push_str(&format!(" AND {}", condition(&place)));
    }

    fn filter(&mut self, filter: &'a Filter) {
        let Filter { rule, iss, sub, group, method, path, opened_after, opened_before } = filter;
        for (column, text) in [("grp", group), ("method", method)] {
            text.iter().for_each(|text| self.and(|place| format!("{column} = {place}"), Value::from(text.as_str())));
        }
        if let Some(path) = path {
            let begins = |place: &str| format!("substr(path, 1, length({place})) = {place}");
            self.and(begins, Value::from(path.as_str()));
        }
        for (sign, moment) in [(">=", opened_after), ("<", opened_before)] {
            let value = moment.map(|moment| i64::try_from(moment).unwrap_or(i64::MAX));
            value
                .into_iter()
                .for_each(|value| self.and(|place| format!("opened_at {sign} {place}"), Value::from(value)));
        }
        // What is searched for is a member as it was written, quotes and escapes included.
        let contains = |column: &'static str| move |place: &str| format!("replace({column}, {place}, '') <> {column}");
        if let Some(rule) = rule {
            let written = match rule.strip_suffix('*') {
                Some(start) => member("id", start).trim_end_matches('"').to_owned(),
                None => member("id", rule),
            };
            self.and(contains("rules"), Value::from(written));
        }
        // Which of its identities acts is looked at in what is found.
        for (name, text) in [("iss", iss), ("sub", sub)] {
            text.iter().for_each(|text| self.and(contains("agent"), Value::from(member(name, text))));
        }
    }
}

impl Filter {
    /// Whether the agent that acts is the one that is asked for.
    fn is_of(&self, hold: &Hold) -> bool {
        if self.iss.is_none() && self.sub.is_none() {
            return true;
        }
        let caller = hold.terms.agent.caller();
        self.iss.as_ref().is_none_or(|iss| *iss == caller.iss) && self.sub.as_ref().is_none_or(|sub| *sub == caller.sub)
    }
}

/// A member of an object as JSON is kept.
fn member(name: &str, text: &str) -> String {
    format!("\"{name}\":{}", serde_json::Value::from(text))
}
