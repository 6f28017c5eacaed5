//! `GET /v1/feed` and the long polls.

use std::time::Duration;

use holdgate_protocol::gateway::{FeedItem, FeedPage, HoldState, MAX_BATCH, StateAnswer, TaskAnswer};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    Check, SLACK, checks,
    expect::{Expect as _, Trouble, Verdict, fail, holds, same},
    target::{Held, Target, task_path},
};
use crate::client::{Answer, Ask};

/// How long the feed is asked to wait where it is to be woken.
const LONG: Duration = Duration::from_secs(25);

/// How soon it is to be woken.
const SOON: Duration = Duration::from_secs(3);

/// How long it is asked to wait where nothing is to come.
const SHORT: Duration = Duration::from_secs(2);

/// The most pages that are read of a busy feed.
const PAGES: usize = 1000;

pub(super) const CHECKS: &[Check] = checks! {
    "feed.form" (0, 0) form: "GET /v1/feed?after=SEQ -> {next, items: [{seq, type, ...}]}, and `next` is never before `after`";
    "feed.parameters" (0, 0) parameters: "`after` is required; what is no number is answered 400";
    "feed.too_new" (0, 0) too_new: "a cursor that was never given out: 410 -> GET /v1/state";
    "feed.too_old" (0, 0) too_old: "a cursor that is too old: 410; while it is kept, all that follows is answered";
    "feed.wait" (0, 0) wait: "with `wait` the feed is a long poll: without news it answers when the wait is over";
    "feed.decided" (1, 1) decided: "the feed carries decided holds: {seq, type: hold, hold, state}, with a `seq` greater than that of the answer to POST";
    "feed.order" (2, 0) order: "`seq` rises from item to item, and a reader never skips an item that commits late: small pages have the items of a large one";
    "feed.wakes" (0, 0) wakes: "a decision wakes a long poll that waits";
    "feed.group" (1, 0) group: "the feed of a group has the holds of that group only";
    "task.own" (0, 0) own: "GET /v1/tasks/{hold}?agent=HASH: {hold, state, expires_at, seq}, for its own agent";
    "task.other_agent" (0, 0) other_agent: "for the same agent only: 404 for another one, and for a hold that there is not";
    "task.parameters" (0, 0) parameters_of_task: "`agent` is a hash; without one: 400";
    "task.wait" (0, 0) wait_of_task: "with `wait`, a long poll: while the hold is pending it answers when the wait is over";
    "task.wakes" (0, 0) wakes_task: "a decision wakes a long poll for a task";
};

fn path(after: u64, limit: usize, wait: Duration) -> Ask {
    Ask::get(format!("/v1/feed?after={after}&limit={limit}&wait={}", wait.as_secs())).timeout(wait + SLACK)
}

async fn page(target: &Target, after: u64, limit: usize) -> Verdict<FeedPage> {
    target.gateway.send(path(after, limit, Duration::ZERO)).await?.json(&[200], "at /v1/feed")
}

async fn head(target: &Target) -> Verdict<u64> {
    let state: StateAnswer = target.get("/v1/state").await?.json(&[200], "at /v1/state")?;
    Ok(state.seq)
}

fn number(item: &FeedItem) -> Option<u64> {
    match item {
        FeedItem::Hold { seq, .. } | FeedItem::Agent { seq, .. } | FeedItem::Policy { seq, .. } => Some(*seq),
        FeedItem::Unknown => None,
    }
}

/// All items behind a cursor, on pages of this size.
async fn items(target: &Target, after: u64, until: u64, limit: usize) -> Verdict<Vec<FeedItem>> {
    let (mut cursor, mut items) = (after, Vec::new());
    for _ in 0..PAGES {
        if cursor >= until {
            break;
        }
        let page = page(target, cursor, limit).await?;
        holds(page.items.len() <= limit, &format!("at most {limit} items"), page.items.len())?;
        holds(page.next >= cursor, &format!("`next` not before {cursor}"), page.next)?;
        let last = page.items.iter().filter_map(number).max().unwrap_or(page.next);
        holds(page.next >= last, &format!("`next` not before the last item {last}"), page.next)?;
        holds(page.next > cursor || page.items.is_empty(), "a cursor that goes on behind items", page.next)?;
        if page.items.is_empty() && page.next == cursor {
            break;
        }
        cursor = page.next;
        items.extend(page.items);
    }
    Ok(items.into_iter().filter(|item| number(item).is_none_or(|seq| seq <= until)).collect())
}

async fn form(target: &Target) -> Verdict {
    let after = head(target).await?;
    let answer = target.gateway.send(path(after, MAX_BATCH, Duration::ZERO)).await?;
    let page: FeedPage = answer.json(&[200], "at /v1/feed")?;
    holds(page.next >= after, &format!("`next` not before {after}"), page.next)?;
    let raw: Value = answer.json(&[200], "at /v1/feed")?;
    holds(raw.get("items").is_some_and(Value::is_array), "`items`", answer.told())
}

async fn parameters(target: &Target) -> Verdict {
    for query in ["", "?after=", "?after=x", "?after=-1", "?after=0&wait=x", "?limit=1"] {
        target.get(format!("/v1/feed{query}")).await?.problem(400, "malformed", &format!("to `/v1/feed{query}`"))?;
    }
    Ok(())
}

async fn too_new(target: &Target) -> Verdict {
    let after = head(target).await? + 1_000_000;
    target.get(format!("/v1/feed?after={after}")).await?.problem(410, "cursor_gone", "to a cursor of the future")
}

async fn too_old(target: &Target) -> Verdict {
    let answer = target.get("/v1/feed?after=0&limit=1").await?;
    if answer.status == 410 {
        return answer.problem(410, "cursor_gone", "to a cursor that is too old");
    }
    let page: FeedPage = answer.json(&[200, 410], "to the first cursor")?;
    let until = head(target).await?;
    holds(page.next <= until, &format!("`next` not behind {until}"), page.next)
}

/// Asks, and tells how long the answer took.
async fn timed(target: &Target, ask: Ask) -> Verdict<(Answer, Duration)> {
    let start = Instant::now();
    Ok((target.gateway.send(ask).await?, start.elapsed()))
}

async fn wait(target: &Target) -> Verdict {
    // Others may make news meanwhile; then the next cursor is tried.
    for _ in 0..10 {
        let after = head(target).await?;
        let (answer, took) = timed(target, path(after, MAX_BATCH, SHORT)).await?;
        let page: FeedPage = answer.json(&[200], "at /v1/feed")?;
        if page.items.is_empty() {
            let fits = took + Duration::from_millis(200) >= SHORT && took <= SHORT + SLACK;
            return holds(fits, "an empty page after 2 s", format_args!("one after {} ms", took.as_millis()));
        }
    }
    Err(Trouble::NotRun("the feed is never quiet for 2 s".to_owned()))
}

async fn decided(target: &Target) -> Verdict {
    let holds_ = [(target.approved().await?, HoldState::Approved), (target.denied().await?, HoldState::Denied)];
    let until = head(target).await?;
    for (held, state) in &holds_ {
        let seq = held.answer.seq;
        let found = items(target, seq, until, MAX_BATCH).await?;
        let told = found.iter().find(|item| matches!(item, FeedItem::Hold { hold, .. } if *hold == held.answer.hold));
        match told {
            Some(FeedItem::Hold { seq: told, state: came, .. }) => {
                same("state", state, came)?;
                holds(*told > seq, &format!("a `seq` greater than {seq}"), told)?;
            }
            _ => return fail(&format!("an item about hold `{}` behind {seq}", held.answer.hold), "none"),
        }
    }
    Ok(())
}

async fn order(target: &Target) -> Verdict {
    let (one, two) = (target.approved().await?, target.approved().await?);
    let after = one.answer.seq.min(two.answer.seq);
    let until = head(target).await?;
    let all = items(target, after, until, MAX_BATCH).await?;
    let numbers: Vec<u64> = all.iter().filter_map(number).collect();
    let rising = numbers.is_sorted_by(|a, b| a < b) && numbers.iter().all(|seq| *seq > after);
    holds(rising, &format!("numbers that rise from {after} on"), format_args!("{numbers:?}"))?;
    for limit in [1, 2] {
        let small = items(target, after, until, limit).await?;
        holds(small == all, &format!("the same items on pages of {limit}"), format_args!("{small:?} and not {all:?}"))?;
    }
    Ok(())
}

/// Starts a long poll, decides once it waits, and tells how soon the answer came.
async fn woken(target: &Target, held: &Held, poll: Ask) -> Verdict<Answer> {
    let client = target.gateway.clone();
    let waits = tokio::spawn(async move { (client.send(poll).await, Instant::now()) });
    // Another answer of the same service says that the poll has arrived there.
    for _ in 0..3 {
        target.get("/healthz").await?;
    }
    let answer = target.decide(held, "approve").await?;
    let since = Instant::now();
    if answer.status != 200 {
        waits.abort();
        return Err(Trouble::NotRun(format!("the decision was not taken: {}", answer.told())));
    }
    let (woken, at) = waits.await.map_err(|error| Trouble::NotRun(error.to_string()))?;
    let took = at.saturating_duration_since(since);
    holds(took <= SOON, "an answer within 3 s of the decision", format_args!("one after {} ms", took.as_millis()))?;
    Ok(woken?)
}

async fn wakes(target: &Target) -> Verdict {
    target.people()?;
    let held = target.held().await?;
    let after = head(target).await?;
    let answer = woken(target, &held, path(after, MAX_BATCH, LONG)).await?;
    let page: FeedPage = answer.json(&[200], "at /v1/feed")?;
    // Others may have woken it before; then the decision is on a later page.
    let until = head(target).await?;
    let rest = items(target, page.next, until, MAX_BATCH).await?;
    let told = |item: &FeedItem| matches!(item, FeedItem::Hold { hold, state, .. } if *hold == held.answer.hold && *state == HoldState::Approved);
    holds(page.items.iter().chain(&rest).any(told), "the approved hold", format_args!("{:?}", page.items))
}

async fn group(target: &Target) -> Verdict {
    let other = target.other()?;
    let held = target.approved().await?;
    let answer = other.send(path(held.answer.seq, MAX_BATCH, Duration::ZERO)).await?;
    let page: FeedPage = answer.json(&[200], "at /v1/feed of another group")?;
    let told = page.items.iter().any(|item| matches!(item, FeedItem::Hold { hold, .. } if *hold == held.answer.hold));
    holds(!told, "nothing of a hold of this group", format_args!("{:?}", page.items))
}

async fn own(target: &Target) -> Verdict {
    let held = target.held().await?;
    let task = target.task(&held, Duration::ZERO).await?;
    same("hold", &held.answer.hold, &task.hold)?;
    same("state", &HoldState::Pending, &task.state)?;
    holds(task.seq >= held.answer.seq, &format!("`seq` not before {}", held.answer.seq), task.seq)
}

async fn other_agent(target: &Target) -> Verdict {
    let (held, other) = (target.held().await?, target.ask()?);
    let paths = [
        task_path(&held.answer.hold, &other.agent.key(), Duration::ZERO),
        task_path(&super::target::random(), &held.ask.agent.key(), Duration::ZERO),
    ];
    for path in paths {
        target.get(path.as_str()).await?.problem(404, "not_found", &format!("at {path}"))?;
    }
    Ok(())
}

async fn parameters_of_task(target: &Target) -> Verdict {
    let hold = target.held().await?.answer.hold;
    for query in ["", "?agent=", "?agent=x", "?agent=sha-256:00"] {
        let path = format!("/v1/tasks/{hold}{query}");
        target.get(path.as_str()).await?.problem(400, "malformed", &format!("at {path}"))?;
    }
    Ok(())
}

async fn wait_of_task(target: &Target) -> Verdict {
    let held = target.held().await?;
    let ask = Ask::get(task_path(&held.answer.hold, &held.ask.agent.key(), SHORT));
    let (answer, took) = timed(target, ask).await?;
    let task: TaskAnswer = answer.json(&[200], "for a pending hold")?;
    same("state", &HoldState::Pending, &task.state)?;
    let fits = took + Duration::from_millis(200) >= SHORT && took <= SHORT + SLACK;
    holds(fits, "an answer after 2 s", format_args!("one after {} ms", took.as_millis()))
}

async fn wakes_task(target: &Target) -> Verdict {
    target.people()?;
    let held = target.held().await?;
    let poll = Ask::get(task_path(&held.answer.hold, &held.ask.agent.key(), LONG));
    let task: TaskAnswer = woken(target, &held, poll).await?.json(&[200], "for a hold of this agent")?;
    same("state", &HoldState::Approved, &task.state)
}
