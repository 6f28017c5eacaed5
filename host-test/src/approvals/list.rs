//! `holdgate approvals list`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    Service,
    shown::{line, span, until},
};
use crate::{
    failure::{Failure, count},
    output::Outcome,
};

/// The most holds that one page of the service has.
const PAGE: u64 = 1000;

/// Which holds to list.
#[derive(clap::Args)]
pub(super) struct List {
    /// In this state
    #[arg(long, default_value = "pending", value_parser = ["pending", "approved", "denied", "expired", "cancelled", "used"])]
    state: String,
    /// Held by this rule, or by one whose id begins so (`iam.*`)
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
    /// Of this agent: its subject
    #[arg(long, value_name = "SUB")]
    agent: Option<String>,
    /// Of agents of this issuer
    #[arg(long, value_name = "ISS")]
    issuer: Option<String>,
    /// Of this gateway group
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// With this method
    #[arg(long)]
    method: Option<String>,
    /// With a path that begins so
    #[arg(long, value_name = "PREFIX")]
    path: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Behind the page that ended with this `next`
    #[arg(long, value_name = "NEXT")]
    after: Option<String>,
}

/// A page of the service. What comes in a newer version goes on to `--format json` as it is.
#[derive(Deserialize)]
struct Page {
    items: Vec<serde_json::Value>,
    next: Option<String>,
    total: u64,
}

#[derive(Serialize)]
struct Report {
    holds: Vec<serde_json::Value>,
    /// What to give as `--after`; `null` at the end.
    next: Option<String>,
    total: u64,
    #[serde(skip)]
    now: u64,
}

/// A hold as a line shows it.
#[derive(Deserialize)]
struct Line {
    id: String,
    opened_at: u64,
    expires_at: u64,
    agent: super::show::Agent,
    rules: Vec<String>,
    method: String,
    authority: String,
    path: String,
    #[serde(default)]
    query: Option<String>,
    #[serde(default)]
    missing: Vec<super::show::Missing>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["ID", "AGE", "DEADLINE", "AGENT", "REQUEST", "RULES", "MISSING"].map(str::to_owned);
        let rows = self.holds.iter().filter_map(|hold| serde_json::from_value(hold.clone()).ok());
        let rows: Vec<[String; 7]> = std::iter::once(heads).chain(rows.map(|row: Line| row.cells(self.now))).collect();
        if rows.len() > 1 {
            let width =
                |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
            for row in &rows {
                let mut text = String::new();
                for (column, cell) in row.iter().enumerate() {
                    text.push_str(cell);
                    let gap = width(column).unwrap_or_default().saturating_sub(cell.chars().count()) + 2;
                    text.extend(std::iter::repeat_n(' ', gap));
                }
                writeln!(f, "{}", text.trim_end())?;
            }
        }
        let shown = count(self.holds.len(), "hold");
        match &self.next {
            Some(next) => writeln!(f, "{shown}; more with `--after {}`", line(next)),
            None => writeln!(f, "{shown}"),
        }
    }
}

impl Line {
    fn cells(self, now: u64) -> [String; 7] {
        let query = self.query.map(|query| format!("?{query}")).unwrap_or_default();
        let missing: Vec<String> = self.missing.iter().map(ToString::to_string).collect();
        [
            line(&self.id),
            span(now.saturating_sub(self.opened_at)),
            until(self.expires_at, now),
            cut(&line(self.agent.caller())),
            cut(&line(&format!("{} {}{}{query}", self.method, self.authority, self.path))),
            line(&self.rules.join(", ")),
            missing.join(", "),
        ]
    }
}

/// Cells are short; `show` has all of it.
fn cut(text: &str) -> String {
    const CELL: usize = 72;
    let mut shown: String = text.chars().take(CELL).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown
}

pub(super) fn run(service: &Service, list: &List) -> Result<Outcome, Failure> {
    let (mut holds, mut after) = (Vec::new(), list.after.clone());
    let mut total = 0;
    loop {
        let wanted = list.limit.saturating_sub(holds.len() as u64).min(PAGE);
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("state", &list.state).append_pair("limit", &wanted.to_string());
        let filters = [
            ("rule", &list.rule),
            ("sub", &list.agent),
            ("iss", &list.issuer),
            ("group", &list.group),
            ("method", &list.method),
            ("path", &list.path),
            ("after", &after),
        ];
        for (name, value) in filters {
            value.iter().for_each(|value| {
                query.append_pair(name, value);
            });
        }
        let page: Page = service.get(format!("/api/holds?{}", query.finish()))?;
        total = page.total.max(total);
        holds.extend(page.items);
        after = page.next;
        // A page may be empty though the list goes on.
        if after.is_none() || holds.len() as u64 >= list.limit {
            break;
        }
    }
    let now = holdgate_host::clock::now() / 1000;
    Outcome::good(&Report { holds, next: after, total, now })
}
