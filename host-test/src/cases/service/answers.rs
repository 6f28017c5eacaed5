//! The work of each call, and its answer.

use holdgate_authoring::cases::{Behaviour, ServiceCall};
use holdgate_protocol::{
    Json,
    audit::AuditBatch,
    bundle::SignedBundle,
    gateway::{Detach, FeedPage, HoldAnswer, HoldState, OpenHold, Outcomes, Redemptions, StateAnswer, TaskAnswer},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Call, Replay,
    book::{Book, Opening, Published},
    error, parameter, redeem,
};
use crate::cases::{configuration::GROUP, keys, merge};

/// A whole answer.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// There is no news: a long poll waits on.
    pub(super) empty: bool,
}

impl Answered {
    fn new(status: u16, answer: &impl Serialize) -> Self {
        match serde_json::to_vec(answer) {
            Ok(body) => Answered { status, body, empty: false },
            Err(_) => Answered::error(500, "internal"),
        }
    }

    fn error(status: u16, word: &str) -> Self {
        Answered { status, body: error(word), empty: false }
    }
}

/// Does what a call asks for. `now` is in Unix seconds by the service's clock.
pub(super) fn work(
    book: &mut Book,
    replay: &mut Replay,
    now: u64,
    kind: ServiceCall,
    call: &Call,
    does: &Behaviour,
) -> Answered {
    match kind {
        ServiceCall::Holds => with(call, |asked| open(book, now, asked)),
        ServiceCall::Redemptions => {
            with(call, |asked: Redemptions| Answered::new(200, &redeem::redeem(book, replay, now, &asked, does)))
        }
        ServiceCall::Outcomes => with(call, |_: Outcomes| Answered::new(202, &json!({}))),
        ServiceCall::Detach => with(call, |_: Detach| Answered::new(202, &json!({}))),
        ServiceCall::Audit => with(call, |_: AuditBatch<'static>| audit(book, &call.body)),
        ServiceCall::Feed => feed(book, replay, call, does),
        ServiceCall::State => Answered::new(200, &state(book, now)),
        ServiceCall::Bundles => bundle(book, call, does),
        ServiceCall::Tasks => task(book, call),
    }
}

/// Reads the body as strictly as the service does.
fn with<T: DeserializeOwned>(call: &Call, answer: impl FnOnce(T) -> Answered) -> Answered {
    match serde_json::from_slice(&call.body) {
        Ok(asked) => answer(asked),
        Err(_) => Answered::error(400, "malformed"),
    }
}

fn open(book: &mut Book, now: u64, asked: OpenHold) -> Answered {
    let (status, place) = match book.open(now, asked) {
        Opening::New(place) => (201, place),
        Opening::Joined(place) => (200, place),
        Opening::Denied(place) => (403, place),
        Opening::Refused(status, word) => return Answered::error(status, word),
    };
    let Some(hold) = book.hold(place) else { return Answered::error(500, "internal") };
    let answer = HoldAnswer {
        hold: hold.id.clone(),
        state: hold.state,
        seq: book.seq(),
        expires_at: hold.expires_at,
        request_state: format!("hg1.{}", hold.id),
    };
    Answered::new(status, &answer)
}

fn audit(book: &mut Book, body: &[u8]) -> Answered {
    let batch: Value = serde_json::from_slice(body).unwrap_or_default();
    let records = batch.get("records").and_then(Value::as_array).cloned().unwrap_or_default();
    let accepted = records.len();
    book.take_records(records);
    Answered::new(202, &json!({"accepted": accepted}))
}

fn state(book: &Book, now: u64) -> StateAnswer {
    StateAnswer {
        seq: book.seq(),
        suspended: book.suspended().to_vec(),
        policy: book.in_force().map(|published| published.reference.clone()),
        now,
        group: Some(GROUP.to_owned()),
        grant_key: Some(keys::grants().kid().to_owned()),
    }
}

fn feed(book: &Book, replay: &mut Replay, call: &Call, does: &Behaviour) -> Answered {
    let after = parameter(&call.path, "after").and_then(|after| after.parse().ok()).unwrap_or(0);
    let mut items = book.news(after);
    if let (Behaviour::Replayed, Some(page)) = (does, &replay.page) {
        items.splice(0..0, page.iter().cloned());
    } else if !items.is_empty() {
        replay.page = Some(items.clone());
    }
    let empty = items.is_empty();
    Answered { empty, ..Answered::new(200, &FeedPage { next: book.seq(), items }) }
}

fn bundle(book: &Book, call: &Call, does: &Behaviour) -> Answered {
    let revision = call.path.strip_prefix("/v1/bundles/").unwrap_or_default();
    let Some(published) = book.published(revision) else { return Answered::error(404, "unknown_revision") };
    match does {
        Behaviour::WrongSignature => Answered::new(200, &SignedBundle::sign(&published.bytes, &keys::stranger())),
        Behaviour::WrongDigest => Answered::new(200, &another(published)),
        _ => Answered::new(200, &published.signed),
    }
}

/// A bundle that the authors have signed, and that nobody has asked for.
fn another(published: &Published) -> SignedBundle {
    let mut bundle = Json::parse(&published.bytes).unwrap_or(Json::Null);
    if let Json::Object(members) = &mut bundle {
        members.set("serial".to_owned(), Json::integer(published.reference.serial + 1_000));
    }
    SignedBundle::sign(&bundle.to_jcs(), &keys::authors())
}

fn task(book: &mut Book, call: &Call) -> Answered {
    let path = call.path.split('?').next().unwrap_or_default();
    let agent = parameter(&call.path, "agent").unwrap_or_default();
    let seq = book.seq();
    let hold = book.hold_named(path.strip_prefix("/v1/tasks/").unwrap_or_default());
    let Some(hold) = hold.filter(|hold| hold.asked.agent.key().to_string() == agent) else {
        return Answered::error(404, "unknown_task");
    };
    let (state, cause, expires_at) = (hold.state, hold.cause.clone(), hold.expires_at);
    let answer = TaskAnswer { hold: hold.id.clone(), state, cause, expires_at, seq };
    Answered { empty: state == HoldState::Pending, ..Answered::new(200, &answer) }
}

/// An answer with members set over its own (RFC 7396).
pub(super) fn patched(body: &[u8], patch: &Json) -> Vec<u8> {
    let mut answer: Value = serde_json::from_slice(body).unwrap_or_default();
    merge::merge(&mut answer, merge::to_value(patch));
    answer.to_string().into_bytes()
}

/// The answer itself, with more white space behind it than there may be.
pub(super) fn too_long(kind: ServiceCall, mut body: Vec<u8>) -> Vec<u8> {
    const KIBIBYTE: usize = 1024;
    let most = match kind {
        ServiceCall::Bundles => 32 * KIBIBYTE * KIBIBYTE,
        ServiceCall::State => 8 * KIBIBYTE * KIBIBYTE,
        ServiceCall::Feed | ServiceCall::Redemptions => 2 * KIBIBYTE * KIBIBYTE,
        _ => 64 * KIBIBYTE,
    };
    body.resize(body.len().max(most) + 1, b' ');
    body
}
