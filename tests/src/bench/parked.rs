//! Many requests on hold at once, on one worker: what each costs in memory, and how fast all are let go.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{cost, policy};
use crate::{
    http::{self, Connection, Response},
    reviewer::{Reviewer, Verdict, id_of},
    stack::{Options, Stack},
    until,
    upstream::MARK,
};

/// Streams on one HTTP/2 connection: under the shipped limit of 1,024.
const PER_CONNECTION: usize = 900;

/// So many agents send them, that no limit of one agent is met.
const AGENTS: usize = 50;

/// Requests that are sent before it is looked whether they are on hold.
const WAVE: usize = 250;

/// Decisions in one request to the service, which takes 5,000 at most.
const BATCH: usize = 5_000;

const LIMIT: Duration = Duration::from_secs(600);
const BODY: &str = "{\"item\": 42, \"note\": \"as agreed\"}";

/// What came of so many parked requests.
pub(super) struct Parked {
    pub(super) count: usize,
    /// Bytes of Envoy's memory for each beside its body.
    pub(super) memory: f64,
    /// Those of them that Envoy's own code has allocated: the rest is the filter's memory, and what the allocator keeps in reserve.
    pub(super) of_envoy: f64,
    /// From the first decision until the last answer has come, in seconds.
    pub(super) decided_to_answered: f64,
    /// Of those, until the service had taken all decisions.
    pub(super) deciding: f64,
}

/// Parks so many requests, decides all of them the same way, and checks every answer.
pub(super) async fn run(count: usize, verdict: Verdict) -> Result<Parked> {
    let plugin = json!({"policy": policy::ID, "max_wait": "10m", "approval": {"timeout": "5m"}});
    // All are of one agent, of which the service holds a hundred otherwise.
    let quotas = ["agent.open", "agent.hour", "owner.open", "owner.hour", "rule.open", "rule.hour"];
    let serve = quotas.into_iter().flat_map(|name| ["--quota".to_owned(), format!("{name}={count}")]).collect();
    let policy = Some(policy::text(10));
    let stack = Box::pin(Stack::start(Options { policy, serve, plugin, ..Options::default() })).await?;
    let reviewer = stack.sign_in("alice").await?;
    let envoy = stack.envoy.id().context("Envoy has ended")?;
    let mut connections = Vec::new();
    for _ in 0..count.div_ceil(PER_CONNECTION) {
        let connection = Arc::new(Connection::open(stack.ports.gateway()).await?);
        stack.agent().get(policy::ALLOWED).send_on(&connection).await?;
        connections.push(connection);
    }
    let agents = (0..AGENTS).map(|index| stack.agent_with(json!({"sub": format!("agent-{index}")})));
    let agents: Vec<_> = agents.collect();
    let (before, allocated_before) = (cost::memory(envoy)?, allocated(&stack).await?);
    let mut callers = connections.iter().cycle().zip(agents.iter().cycle()).take(count).enumerate();
    let mut waiting = Vec::new();
    // Not all at once: what counts is what a request costs while it waits, not what it takes to ask for so many holds.
    while waiting.len() < count {
        for (index, (connection, agent)) in callers.by_ref().take(WAVE) {
            let call = agent.post(&format!("{}/{index}", policy::HELD), BODY);
            let connection = connection.clone();
            waiting.push(tokio::spawn(async move { call.send_on(&connection).await }));
        }
        let sent = waiting.len() as u64;
        until("requests to be held", LIMIT, async || {
            let opened = stack.statistic("cluster.approval.upstream_rq_201").await.unwrap_or(0);
            (opened >= sent || waiting.iter().any(JoinHandle::is_finished)).then_some(())
        })
        .await?;
        if let Some(early) = waiting.iter_mut().find(|call| call.is_finished()) {
            let answer = early.await??;
            bail!("answered instead of held: {} {}", answer.status, answer.text());
        }
    }
    let holds = pending(&reviewer).await?;
    ensure!(holds.len() == count, "{} of {count} requests are on hold", holds.len());
    let memory = cost::memory(envoy)?.saturating_sub(before);
    let of_envoy = allocated(&stack).await?.saturating_sub(allocated_before);

    let begun = Instant::now();
    for batch in holds.chunks(BATCH) {
        let taken = reviewer.decide_all(batch, verdict, "all of them").await?;
        ensure!(taken == batch.len(), "{taken} of {} decisions were taken", batch.len());
    }
    let deciding = begun.elapsed();
    for call in waiting {
        let answer = tokio::time::timeout(LIMIT, call).await???;
        ensure!(is_right(&answer, verdict), "{} {}", answer.status, answer.text());
    }
    let decided_to_answered = begun.elapsed();
    let each = |bytes: u64| (bytes as f64 / count as f64) - BODY.len() as f64;
    let (memory, of_envoy) = (each(memory), each(of_envoy));
    let seconds = |time: Duration| time.as_secs_f64();
    Ok(Parked {
        count,
        memory,
        of_envoy,
        decided_to_answered: seconds(decided_to_answered),
        deciding: seconds(deciding),
    })
}

/// Bytes that Envoy's allocator has given out.
async fn allocated(stack: &Stack) -> Result<u64> {
    let answer = http::get(stack.ports.admin(), "/memory").await?.json();
    let allocated = answer.get("allocated").and_then(Value::as_str).and_then(|number| number.parse().ok());
    allocated.context("Envoy does not tell what it has allocated")
}

async fn pending(reviewer: &Reviewer) -> Result<Vec<String>> {
    Ok(reviewer.pending().await?.iter().filter_map(id_of).collect())
}

/// Approved ones were answered by the upstream, whatever it says of a path that it does not know.
fn is_right(answer: &Response, verdict: Verdict) -> bool {
    match verdict {
        Verdict::Approve => answer.header(MARK).is_some(),
        Verdict::Deny => answer.status == 403 && answer.problem() == "denied",
    }
}

impl Parked {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "streams": self.count, "bytes_each": self.memory, "bytes_of_envoy": self.of_envoy, "decided_to_answered_s": self.decided_to_answered,
            "deciding_s": self.deciding,
        })
    }
}
