//! Messages between a gateway and the approval service (`/v1/...`).

use serde::{Deserialize, Serialize};

use crate::{
    Actor, Agent, Hash, Pointer, RuleRef,
    bundle::PolicyRef,
    deserialize_from_json,
    json::{FromJson, Place, ShapeError},
};

/// The version that [`OpenHold`] carries.
pub const VERSION: u32 = 1;

/// The most items in one batch of redemptions, outcomes or detached attempts, or on one page of the feed.
pub const MAX_BATCH: usize = 256;

/// The longest `agent_reason`, in bytes.
pub const MAX_AGENT_REASON: usize = 4096;

/// The longest `idempotency_key`, in bytes. The shortest has one.
pub const MAX_IDEMPOTENCY_KEY: usize = 255;

/// The largest body that a request may be held with, in bytes: no filter's `max_body` is above it.
pub const MAX_HELD_BODY: usize = 8 * 1024 * 1024;

/// The largest body of `POST /v1/holds`, in bytes: a captured body of [`MAX_HELD_BODY`] in base64, and 2 MiB for the rest
/// (the head, what redaction adds, names of rules and components).
pub const MAX_OPEN_HOLD: usize = MAX_HELD_BODY.div_ceil(3) * 4 + 2 * 1024 * 1024;

/// Where a hold stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HoldState {
    Pending,
    Approved,
    Denied,
    Expired,
    Cancelled,
    Used,
}

impl HoldState {
    /// The state's word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            HoldState::Pending => "pending",
            HoldState::Approved => "approved",
            HoldState::Denied => "denied",
            HoldState::Expired => "expired",
            HoldState::Cancelled => "cancelled",
            HoldState::Used => "used",
        }
    }
}

/// Body of `POST /v1/holds`: asks that a request be held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenHold {
    pub v: u32,
    /// base64url of 16 random bytes: the filter's name for this try.
    pub attempt: String,
    pub agent: Agent,
    pub digest: Hash,
    pub components: Vec<String>,
    pub policy: PolicyRef,
    pub rules: Vec<RuleRef>,
    /// Hash of the united requirement; the service unites the published ones itself and compares.
    pub requirement: Hash,
    pub request: CapturedRequest,
    /// What the agent says of its request: unverified text of at most [`MAX_AGENT_REASON`] bytes.
    pub agent_reason: Option<String>,
    /// The agent's own name for this request, of 1 to [`MAX_IDEMPOTENCY_KEY`] bytes: with another request it is
    /// answered by 409.
    pub idempotency_key: Option<String>,
    pub asked: Asked,
}

/// A request as the filter captured it, redacted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapturedRequest {
    pub method: String,
    pub scheme: String,
    pub authority: String,
    pub path: String,
    pub query: Option<String>,
    /// Names and values; Authorization and Cookie never leave the filter.
    pub fields: Vec<(String, String)>,
    pub body: CapturedBody,
}

/// A captured body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapturedBody {
    /// base64 of what a reviewer may see; `None` where that cannot be told from the rest.
    pub b64: Option<String>,
    /// Bytes of the body as it arrived.
    pub size: u64,
    /// What was replaced by an HMAC.
    pub redacted: Vec<Pointer>,
}

/// How the agent asked to be answered (RFC 7240).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    #[serde(rename = "async")]
    pub respond_async: bool,
    /// Seconds.
    pub wait: Option<u64>,
}

/// Answer to `POST /v1/holds`, with 200 (an earlier hold), 201 (a new one) or 403 (denied before). A 403 with another
/// body is an [`ErrorAnswer`]: `agent_suspended`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HoldAnswer {
    pub hold: String,
    pub state: HoldState,
    /// Feed items with a greater `seq` are news.
    pub seq: u64,
    /// The deadline of `state`, in Unix seconds; with `denied` the end of the cool-down, from which on the same request
    /// may be held anew.
    pub expires_at: u64,
    /// For MCP clients, which hand it back with their retry. It names hold and agent to nobody but the service, and
    /// nothing has to be done with it: a retry finds its hold by its digest.
    pub request_state: String,
}

/// The body of 429 to `POST /v1/holds`, an [`ErrorAnswer`] with more: too many holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaAnswer {
    /// `quota`
    pub error: String,
    pub detail: String,
    /// Which one: `agent.open`, `agent.hour`, `owner.open`, `owner.hour`, `rule.open`, `rule.hour`, `agent.joins` or
    /// `hold.waiting`.
    pub limit: String,
    /// Seconds, as in `Retry-After`.
    pub retry_after: u64,
}

/// The body of an answer with 4xx or 5xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// A word for programs: `unknown_rule`, `unknown_revision`, `requirement_mismatch`, ...
    pub error: String,
    /// A sentence for people.
    pub detail: String,
}

/// Body of `POST /v1/redemptions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redemptions {
    pub items: Vec<Redemption>,
}

/// One hold to be redeemed by one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redemption {
    pub hold: String,
    pub attempt: String,
    pub digest: Hash,
    pub agent: Agent,
    pub requirement: Hash,
}

/// Answer to `POST /v1/redemptions`; items stand in the order of the question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RedemptionAnswers {
    pub items: Vec<RedemptionAnswer>,
}

/// What became of one redemption: a grant, or the reason why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RedemptionAnswer {
    pub hold: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<RedemptionError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// Why a hold cannot be redeemed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RedemptionError {
    Used,
    Expired,
    Denied,
    Cancelled,
    NotApproved,
}

/// Body of `POST /v1/outcomes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcomes {
    pub items: Vec<Outcome>,
}

/// What became of a redeemed request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    pub hold: String,
    pub attempt: String,
    /// Whether the filter let the request go on.
    pub forwarded: bool,
    /// The upstream's status, if one came.
    pub status: Option<u16>,
}

/// Body of `POST /v1/detach`: agents that hung up while they waited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detach {
    pub items: Vec<DetachedAttempt>,
}

/// A try whose agent hung up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetachedAttempt {
    pub attempt: String,
}

/// Answer to `GET /v1/feed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FeedPage {
    /// What to ask for `after` next.
    pub next: u64,
    pub items: Vec<FeedItem>,
}

/// One piece of news. A type or a state that the reader does not know is [`FeedItem::Unknown`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum FeedItem {
    Hold {
        seq: u64,
        hold: String,
        state: HoldState,
        #[serde(skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
    },
    Agent {
        seq: u64,
        iss: String,
        sub: String,
        suspended: bool,
    },
    Policy {
        seq: u64,
        id: String,
        serial: u64,
        rev: Hash,
    },
    Unknown,
}

/// Answer to `GET /v1/state`: the snapshot from which the feed goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StateAnswer {
    pub seq: u64,
    pub suspended: Vec<Actor>,
    pub policy: Option<PolicyRef>,
    /// The service's clock, in Unix seconds.
    pub now: u64,
    /// The group that the credential belongs to, so that a gateway that was told another one says so at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The id of the key that signs grants, for the same reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant_key: Option<String>,
}

/// Answer to `GET /v1/tasks/{hold}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskAnswer {
    pub hold: String,
    pub state: HoldState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The deadline of `state`, in Unix seconds.
    pub expires_at: u64,
    pub seq: u64,
}

const STATES: [HoldState; 6] = [
    HoldState::Pending,
    HoldState::Approved,
    HoldState::Denied,
    HoldState::Expired,
    HoldState::Cancelled,
    HoldState::Used,
];

const REDEMPTION_ERRORS: [(&str, RedemptionError); 5] = [
    ("used", RedemptionError::Used),
    ("expired", RedemptionError::Expired),
    ("denied", RedemptionError::Denied),
    ("cancelled", RedemptionError::Cancelled),
    ("not_approved", RedemptionError::NotApproved),
];

impl FromJson for HoldState {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        place.word(&STATES.map(|state| (state.as_str(), state)))
    }
}

impl FromJson for HoldAnswer {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [hold, state, seq, expires_at, request_state] =
            place.known_members(&["hold", "state", "seq", "expires_at", "request_state"])?;
        Ok(HoldAnswer {
            hold: hold.read()?,
            state: state.read()?,
            seq: seq.whole()?,
            expires_at: expires_at.whole()?,
            request_state: request_state.read()?,
        })
    }
}

impl FromJson for RedemptionAnswers {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [items] = place.known_members(&["items"])?;
        Ok(RedemptionAnswers { items: items.list()? })
    }
}

impl FromJson for RedemptionAnswer {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [hold, grant, error, cause] = place.known_members(&["hold", "grant", "error", "cause"])?;
        // An error that this version does not know is one all the same: the hold is not approved.
        let known = |error: &Place<'_>| error.word(&REDEMPTION_ERRORS).unwrap_or(RedemptionError::NotApproved);
        Ok(RedemptionAnswer {
            hold: hold.read()?,
            grant: grant.optional()?,
            error: error.given().map(known),
            cause: cause.optional()?,
        })
    }
}

impl FromJson for FeedPage {
    /// Reads item by item: one that this version does not understand must not take the others with it.
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [next, items] = place.known_members(&["next", "items"])?;
        let items = items.items()?.map(|item| item.read().unwrap_or(FeedItem::Unknown)).collect();
        Ok(FeedPage { next: next.whole()?, items })
    }
}

impl FromJson for FeedItem {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [kind] = place.known_members(&["type"])?;
        match kind.text()? {
            "hold" => {
                let [seq, hold, state, cause] = place.known_members(&["seq", "hold", "state", "cause"])?;
                Ok(FeedItem::Hold {
                    seq: seq.whole()?,
                    hold: hold.read()?,
                    state: state.read()?,
                    cause: cause.optional()?,
                })
            }
            "agent" => {
                let [seq, iss, sub, suspended] = place.known_members(&["seq", "iss", "sub", "suspended"])?;
                Ok(FeedItem::Agent {
                    seq: seq.whole()?,
                    iss: iss.read()?,
                    sub: sub.read()?,
                    suspended: suspended.flag()?,
                })
            }
            "policy" => {
                let [seq, id, serial, rev] = place.known_members(&["seq", "id", "serial", "rev"])?;
                Ok(FeedItem::Policy { seq: seq.whole()?, id: id.read()?, serial: serial.whole()?, rev: rev.read()? })
            }
            _ => Ok(FeedItem::Unknown),
        }
    }
}

impl FromJson for StateAnswer {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [seq, suspended, policy, now, group, grant_key] =
            place.known_members(&["seq", "suspended", "policy", "now", "group", "grant_key"])?;
        // Actors and policies stand in requests too, where members that are not known are refused.
        let actor = |place: Place<'_>| {
            let [iss, sub] = place.known_members(&["iss", "sub"])?;
            Ok(Actor { iss: iss.read()?, sub: sub.read()? })
        };
        let in_force = |place: &Place<'_>| {
            let [id, rev, serial] = place.known_members(&["id", "rev", "serial"])?;
            Ok(PolicyRef { id: id.read()?, rev: rev.read()?, serial: serial.whole()? })
        };
        Ok(StateAnswer {
            seq: seq.whole()?,
            suspended: suspended.items()?.map(actor).collect::<Result<_, ShapeError>>()?,
            policy: policy.given().map(in_force).transpose()?,
            now: now.whole()?,
            group: group.optional()?,
            grant_key: grant_key.optional()?,
        })
    }
}

impl FromJson for TaskAnswer {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [hold, state, cause, expires_at, seq] =
            place.known_members(&["hold", "state", "cause", "expires_at", "seq"])?;
        Ok(TaskAnswer {
            hold: hold.read()?,
            state: state.read()?,
            cause: cause.optional()?,
            expires_at: expires_at.whole()?,
            seq: seq.whole()?,
        })
    }
}

deserialize_from_json!(
    HoldState,
    HoldAnswer,
    RedemptionAnswers,
    RedemptionAnswer,
    FeedPage,
    FeedItem,
    StateAnswer,
    TaskAnswer,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feed_items_of_a_newer_service_are_skipped() {
        let page = r#"{"next":9,"more":true,"items":[
            {"seq":7,"type":"hold","hold":"h","state":"approved","cause":null,"x":1},
            {"seq":8,"type":"weather","wind":3}, {"seq":8,"type":"hold","hold":"h","state":"paused"}, {"seq":9,"type":"agent","iss":"i","sub":"s","suspended":true}]}"#;
        let page: FeedPage = serde_json::from_str(page).unwrap();
        let approved = FeedItem::Hold { seq: 7, hold: "h".into(), state: HoldState::Approved, cause: None };
        let suspended = FeedItem::Agent { seq: 9, iss: "i".into(), sub: "s".into(), suspended: true };
        assert_eq!(page.items, [approved, FeedItem::Unknown, FeedItem::Unknown, suspended]);
        let answer: RedemptionAnswer = serde_json::from_str(r#"{"hold":"h","error":"postponed"}"#).unwrap();
        assert_eq!((answer.grant, answer.error), (None, Some(RedemptionError::NotApproved)));
    }

    #[test]
    fn a_newer_service_may_add_members_anywhere_in_its_snapshot() {
        let policy = PolicyRef { id: "p".into(), rev: Hash::of(b""), serial: 3 };
        let text = format!(
            r#"{{"seq":7,"suspended":[{{"iss":"i","sub":"s","since":1}}],"now":9,"more":{{}},
                "policy":{{"id":"p","rev":"{}","serial":3,"name":"x"}}}}"#,
            policy.rev
        );
        let state: StateAnswer = serde_json::from_str(&text).unwrap();
        assert_eq!(state.suspended, [Actor { iss: "i".into(), sub: "s".into() }]);
        assert_eq!((state.policy, state.group), (Some(policy), None));
        let nothing = r#"{"seq":7,"suspended":[],"now":9,"policy":null}"#;
        assert_eq!(serde_json::from_str::<StateAnswer>(nothing).unwrap().policy, None);
        assert!(serde_json::from_str::<StateAnswer>(&text.replace("\"id\"", "\"di\"")).is_err());
    }

    #[test]
    fn requests_refuse_members_that_they_do_not_know() {
        assert!(serde_json::from_str::<Detach>(r#"{"items":[{"attempt":"a"}]}"#).is_ok());
        assert!(serde_json::from_str::<Detach>(r#"{"items":[{"attempt":"a","x":1}]}"#).is_err());
        assert!(serde_json::from_str::<Outcomes>(r#"{"items":[],"x":1}"#).is_err());
    }
}
