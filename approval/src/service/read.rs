//! What gateways and reviewers read: the feed, the snapshot, tasks, lists and details.

use std::time::Duration;

use holdgate_protocol::{
    Hash, b64url, from_b64url,
    gateway::{FeedItem, FeedPage, HoldState, StateAnswer, TaskAnswer},
};
use tokio::time::Instant;

use super::{
    Service,
    authority::Authority,
    sight::Sight,
    who::{Gateway, GatewayError},
};
use crate::{
    domain::{Accountability, Case, Hold, Stage},
    store::{
        Connection, StoreError, feed, holds,
        list::{self, Filter, Listed, Place},
        people::Session,
        policy,
    },
};

/// The longest wait of a long poll.
pub const MAX_WAIT: Duration = Duration::from_secs(30);

/// What a list's cursor is sealed for.
const CURSOR: &str = "cursor";

/// How many holds are read at once, where a reader does not see all of them.
const AT_ONCE: u32 = 500;

/// The most holds that are looked at for the number of those that a reader sees.
const MOST_COUNTED: u32 = 20_000;

/// The cursor of a feed reader lies outside what is kept: it takes a new snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    #[error("the cursor {after} is not one that this feed goes on from; take `/v1/state`")]
    Gone { after: u64 },
}

/// A page of a list. It may have fewer holds than were asked for, or none, and yet be followed by others: where the reader does
/// not see most of what there is, or where few are wanted.
#[derive(Debug)]
pub struct List {
    pub lines: Vec<Line>,
    /// Where the list goes on; `None` at its end. It may be the place of a hold that is not the reader's to see: they get it
    /// sealed ([`Service::cursor`]).
    pub next: Option<Place>,
    /// How many of the first 20,000 holds in this state are the reader's to see; those are not counted that they only decided
    /// on.
    pub total: u64,
}

/// A hold of a list.
#[derive(Debug)]
pub struct Line {
    pub listed: Listed,
    /// Role and number of approvals, while it is pending.
    pub missing: Vec<(String, u32)>,
}

/// Whether a hold may have approvals and wait for more.
fn waits_for_several(hold: &&Hold) -> bool {
    matches!(hold.stage, Stage::Pending(_))
        && hold.terms.requirement.factors.iter().map(|factor| factor.approvals).sum::<u32>() > 1
}

impl Service {
    /// News for a gateway after a cursor; waits for some where there are none. Every change of the feed wakes it. Whoever has waited
    /// is told nothing if their credential has ended since.
    pub async fn feed(
        &self,
        gateway: &Gateway,
        after: u64,
        limit: usize,
        wait: Duration,
    ) -> Result<FeedPage, FeedError> {
        let until = Instant::now() + wait.min(MAX_WAIT);
        // Subscribed before the first look, so that nothing that comes between is missed.
        let mut news = self.store.tail().news();
        loop {
            news.borrow_and_update();
            let page = self.feed_page(&gateway.group, after, limit).await?;
            let waited =
                page.items.is_empty() && tokio::time::timeout_at(until, news.changed()).await.is_ok_and(|n| n.is_ok());
            if !waited {
                return Ok(page);
            }
            self.check_again(gateway).await?;
        }
    }

    async fn feed_page(&self, group: &str, after: u64, limit: usize) -> Result<FeedPage, FeedError> {
        if let Some(page) = self.store.tail().page(group, after, limit) {
            return Ok(page);
        }
        let mut connection = self.store.read().await?;
        let head = feed::head(&mut connection).await?;
        let items = feed::page(&mut connection, group, (after, head), limit).await?;
        // Looked at after the items: what was forgotten in between is noticed.
        let oldest = feed::oldest(&mut connection).await?.unwrap_or(head + 1);
        if after > head || after + 1 < oldest {
            return Err(FeedError::Gone { after });
        }
        let last = items.last().and_then(number);
        let next = if items.len() < limit { head } else { last.unwrap_or(head) };
        Ok(FeedPage { next, items })
    }

    /// The snapshot from which a group's feed goes on.
    pub async fn state(&self, group: String) -> Result<StateAnswer, StoreError> {
        let mut connection = self.store.read().await?;
        // The number comes first: what changes after it is in the feed, whether or not it is in the snapshot too.
        let seq = feed::head(&mut connection).await?;
        let suspended = policy::suspended(&mut connection).await?;
        let policy = policy::reference_in_force(&mut connection).await?;
        let now = self.now();
        let grant_key = self.keys().grant(now).map(|key| key.kid().to_owned());
        Ok(StateAnswer { seq, suspended, policy, now, group: Some(group), grant_key })
    }

    /// Where a gateway's hold of one agent stands; waits while it is pending, as the feed does.
    pub async fn task(
        &self,
        gateway: &Gateway,
        id: &str,
        agent: &Hash,
        wait: Duration,
    ) -> Result<Option<TaskAnswer>, GatewayError> {
        let until = Instant::now() + wait.min(MAX_WAIT);
        let mut news = self.store.tail().news();
        loop {
            news.borrow_and_update();
            let mut connection = self.store.read().await?;
            let seq = feed::head(&mut connection).await?;
            let hold = holds::find(&mut connection, id).await?;
            drop(connection);
            let own = hold.filter(|hold| hold.terms.group == gateway.group && hold.terms.agent_key == *agent);
            let Some(hold) = own.map(|hold| hold.at(self.now())) else { return Ok(None) };
            let pending = matches!(hold.stage, Stage::Pending(_));
            if pending && tokio::time::timeout_at(until, news.changed()).await.is_ok_and(|changed| changed.is_ok()) {
                self.check_again(gateway).await?;
                continue;
            }
            let cause = hold.stage.cause().map(|cause| cause.as_str().to_owned());
            let (state, expires_at) = (hold.stage.state(), hold.expires_at());
            return Ok(Some(TaskAnswer { hold: hold.terms.id, state, cause, expires_at, seq }));
        }
    }

    /// A page of the holds in one state that a filter lets by and that the reader sees; see [`List`].
    ///
    /// Which holds somebody sees is more than a query can say, so the list is read in order and what is not theirs is left
    /// out. Where a page ends depends on nothing but the number of holds and those that its reader sees: at as many as are
    /// wanted, or once [`LOOKED_AT`](list::LOOKED_AT) holds were looked at. It would tell of the others otherwise.
    pub async fn list(
        &self,
        reader: &Session,
        state: HoldState,
        filter: &Filter,
        after: Option<&Place>,
        limit: u32,
    ) -> Result<List, StoreError> {
        self.expire().await?;
        let mut connection = self.store.read().await?;
        let sight = Sight::of(&mut connection, &reader.person.id, self.now(), self.settings.lasting).await?;
        let sorts = holds::sorts(&mut connection, state, MOST_COUNTED).await?;
        let total = sorts.iter().filter(|(hold, _)| sight.covers(hold)).map(|(_, alike)| alike).sum();
        let end = list::window(&mut connection, state, after).await?;
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        // Most readers see most of what there is: the first look is for as many as are wanted.
        let (mut seen, mut last, mut some) = (Vec::new(), after.cloned(), limit);
        let next = loop {
            let span = (last.as_ref(), end.as_ref());
            let found = list::find(&mut connection, state, filter, span, some).await?;
            seen.extend(sight.filter(&mut connection, found.items).await?);
            if seen.len() >= wanted {
                seen.truncate(wanted);
                break seen.last().map(|last: &Listed| last.place.clone());
            }
            if found.last.is_none() {
                break end;
            }
            (last, some) = (found.last, AT_ONCE);
        };
        let lines = self.lines(&mut connection, seen).await?;
        Ok(List { lines, next, total })
    }

    /// Where a list goes on, as a text of which its reader understands nothing.
    pub fn cursor(&self, Place { deadline, id }: &Place) -> Result<String, StoreError> {
        Ok(b64url(&self.keys().data.seal(CURSOR, format!("{deadline}.{id}").as_bytes())?))
    }

    /// Reads what [`cursor`](Service::cursor) wrote; `None` where it did not.
    pub fn place(&self, cursor: &str) -> Option<Place> {
        let text = String::from_utf8(self.keys().data.open(CURSOR, &from_b64url(cursor)?).ok()?).ok()?;
        let (deadline, id) = text.split_once('.')?;
        Some(Place { deadline: deadline.parse().ok()?, id: id.to_owned() })
    }

    /// What is missing of each hold of a list.
    async fn lines(&self, connection: &mut Connection, listed: Vec<Listed>) -> Result<Vec<Line>, StoreError> {
        let waiting = listed.iter().map(|item| &item.hold).filter(waits_for_several);
        let ids: Vec<&str> = waiting.map(|hold| &*hold.terms.id).collect();
        let mut approvals = holds::approvals(connection, &ids).await?;
        let (mut authority, nobody) = (Authority::at(self.now(), self.settings.lasting), Accountability::default());
        let mut lines = Vec::with_capacity(listed.len());
        for listed in listed {
            let terms = &listed.hold.terms;
            let mut approvals = approvals.remove(&terms.id).unwrap_or_default();
            authority.look_at(connection, &mut approvals, terms).await?;
            let case = Case {
                requirement: &terms.requirement,
                opened_at: listed.hold.opened_at,
                accountable: &nobody,
                approvals: &approvals,
                now: self.now(),
                fresh: self.settings.lasting.fresh,
            };
            let pending = matches!(listed.hold.stage, Stage::Pending(_));
            let missing = if pending { case.missing() } else { Vec::new() };
            lines.push(Line { listed, missing });
        }
        Ok(lines)
    }
}

/// The number of a feed item.
fn number(item: &FeedItem) -> Option<u64> {
    match item {
        FeedItem::Hold { seq, .. } | FeedItem::Agent { seq, .. } | FeedItem::Policy { seq, .. } => Some(*seq),
        FeedItem::Unknown => None,
    }
}
