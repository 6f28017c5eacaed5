//! The bundle: compiled policy as it is signed, published and loaded.
//!
//! The conditions of a rule are a parameter: the engine knows their form, the approval service reads the rest only.

use serde::Serialize;

use crate::{
    Hash, Json, Requirement, RuleRef, b64url, deserialize_from_json, from_b64url,
    json::{FromJson, Place, ShapeError},
    jws::{JwsError, Keys, PrivateKey},
};

/// The format that this version writes and reads.
pub const FORMAT: u32 = 1;

/// The `typ` of a bundle's signature.
pub const JWS_TYPE: &str = "holdgate-bundle+jws";

/// What a rule does with a request that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    Allow,
    Hold,
    Deny,
}

/// Whether a rule acts (`enforce`) or only records what it would have done (`shadow`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Enforce,
    Shadow,
}

/// A compiled policy. `C` is the form of a rule's conditions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bundle<C> {
    pub format: u32,
    pub id: String,
    pub serial: u64,
    pub needs: Needs,
    /// What approvals need; a rule that holds names its place in this list.
    pub requirements: Vec<Requirement>,
    pub rules: Vec<Rule<C>>,
}

/// What the rules look at, so that the filter copies no more than that out of the host. Lists are sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Needs {
    pub body: bool,
    pub claims: Vec<String>,
    pub headers: Vec<String>,
    pub mcp: bool,
    pub query: Vec<String>,
    pub rates: bool,
    pub time: bool,
}

/// One compiled rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rule<C> {
    pub id: String,
    pub effect: Effect,
    pub mode: Mode,
    pub reason: Option<String>,
    pub controls: Vec<String>,
    /// SHA-256 of the JCS of `conditions`.
    pub hash: Hash,
    pub conditions: C,
    /// Present in rules that hold, and only there.
    pub approval: Option<Approval>,
}

/// How a rule that holds is approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Approval {
    /// The place in [`Bundle::requirements`], from 0.
    pub requirement: usize,
    /// Seconds for which the stream waits before the agent gets a ticket.
    pub wait: u64,
}

impl<C> Rule<C> {
    pub fn reference(&self) -> RuleRef {
        RuleRef { id: self.id.clone(), hash: self.hash }
    }
}

impl<C> Bundle<C> {
    /// The united requirement of these rules; `None` if one is unknown, does not hold, or the list is empty.
    pub fn united(&self, ids: &[&str]) -> Option<Requirement> {
        let requirement = |id: &&str| {
            let rule = self.rules.iter().find(|rule| rule.id == **id)?;
            self.requirements.get(rule.approval?.requirement).cloned()
        };
        let all: Vec<_> = ids.iter().map(requirement).collect::<Option<_>>()?;
        all.into_iter().reduce(Requirement::union).map(Requirement::normalise)
    }
}

/// A policy by name, revision and rising number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct PolicyRef {
    pub id: String,
    pub rev: Hash,
    pub serial: u64,
}

/// A bundle as it stands in a file and travels: its bytes and the signature over them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignedBundle {
    /// base64url of the JCS bytes, which are never written anew.
    pub bundle: String,
    /// `<header>..<signature>`
    pub jws: String,
}

/// Why a bundle is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    #[error("`bundle` is not base64url without padding")]
    Encoding,
    #[error("the signature does not count: {0}")]
    Signature(#[from] JwsError),
    #[error("not JSON with a single reading: {0}")]
    Json(#[from] crate::json::JsonError),
    #[error("the bytes are not in canonical form (JCS)")]
    NotCanonical,
    #[error("not a bundle that this version reads: {0}")]
    Shape(#[from] ShapeError),
    #[error("format {0} is not known; this version reads format {FORMAT}")]
    Format(u32),
    #[error("rule `{0}`: its hash is not that of its conditions")]
    RuleHash(String),
    #[error("rule id `{0}` stands there twice")]
    DuplicateRule(String),
    #[error("rule `{0}`: `approval` belongs to rules that hold, and names a requirement of this bundle")]
    Approval(String),
    #[error("requirement {0} is not sorted or repeats itself")]
    Requirement(usize),
    #[error("the bundle has no rules")]
    NoRules,
}

impl SignedBundle {
    /// Signs the bytes of a bundle.
    pub fn sign(bytes: &[u8], key: &PrivateKey) -> Self {
        SignedBundle { bundle: b64url(bytes), jws: key.sign_detached(JWS_TYPE, bytes) }
    }

    /// Verifies the signature and returns the bytes that it covers.
    pub fn open(&self, keys: &Keys) -> Result<Vec<u8>, BundleError> {
        let bytes = from_b64url(&self.bundle).ok_or(BundleError::Encoding)?;
        keys.verify_detached(&self.jws, &bytes, JWS_TYPE)?;
        Ok(bytes)
    }
}

/// The revision of a bundle: SHA-256 of its bytes.
pub fn revision(bytes: &[u8]) -> Hash {
    Hash::of(bytes)
}

/// Reads the bytes of a bundle and checks all that does not depend on the form of conditions.
pub fn read<C: FromJson>(bytes: &[u8]) -> Result<Bundle<C>, BundleError> {
    let json = Json::parse(bytes)?;
    if json.to_jcs() != bytes {
        return Err(BundleError::NotCanonical);
    }
    let place = Place::of(&json);
    let [format] = place.known_members(&["format"])?;
    let format = format.whole()?;
    if format != FORMAT {
        return Err(BundleError::Format(format));
    }
    let bundle: Bundle<C> = place.read()?;
    if bundle.rules.is_empty() {
        return Err(BundleError::NoRules);
    }
    let Some(Json::Array(sources)) = json.as_object().and_then(|bundle| bundle.get("rules")) else {
        return Err(BundleError::NoRules);
    };
    let mut ids = std::collections::HashSet::new();
    for (rule, source) in bundle.rules.iter().zip(sources) {
        let conditions = source.as_object().and_then(|rule| rule.get("conditions"));
        if conditions.map(rule_hash) != Some(rule.hash) {
            return Err(BundleError::RuleHash(rule.id.clone()));
        }
        if !ids.insert(rule.id.as_str()) {
            return Err(BundleError::DuplicateRule(rule.id.clone()));
        }
        let sound = match rule.approval {
            Some(approval) => rule.effect == Effect::Hold && approval.requirement < bundle.requirements.len(),
            None => rule.effect != Effect::Hold,
        };
        if !sound {
            return Err(BundleError::Approval(rule.id.clone()));
        }
    }
    let unsorted = |requirement: &Requirement| requirement.clone().normalise() != *requirement;
    match bundle.requirements.iter().position(unsorted) {
        Some(index) => Err(BundleError::Requirement(index)),
        None => Ok(bundle),
    }
}

/// SHA-256 of the JCS of a rule's conditions.
pub fn rule_hash(conditions: &Json) -> Hash {
    Hash::of(&conditions.to_jcs())
}

impl FromJson for Effect {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        place.word(&[("allow", Effect::Allow), ("hold", Effect::Hold), ("deny", Effect::Deny)])
    }
}

impl FromJson for Mode {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        place.word(&[("enforce", Mode::Enforce), ("shadow", Mode::Shadow)])
    }
}

impl<C: FromJson> FromJson for Bundle<C> {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [format, id, serial, needs, requirements, rules] =
            place.members(&["format", "id", "serial", "needs", "requirements", "rules"])?;
        Ok(Bundle {
            format: format.whole()?,
            id: id.read()?,
            serial: serial.whole()?,
            needs: needs.read()?,
            requirements: requirements.list()?,
            rules: rules.list()?,
        })
    }
}

impl FromJson for Needs {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [body, claims, headers, mcp, query, rates, time] =
            place.members(&["body", "claims", "headers", "mcp", "query", "rates", "time"])?;
        Ok(Needs {
            body: body.flag()?,
            claims: claims.list()?,
            headers: headers.list()?,
            mcp: mcp.flag()?,
            query: query.list()?,
            rates: rates.flag()?,
            time: time.flag()?,
        })
    }
}

impl<C: FromJson> FromJson for Rule<C> {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [id, effect, mode, reason, controls, hash, conditions, approval] =
            place.members(&["id", "effect", "mode", "reason", "controls", "hash", "conditions", "approval"])?;
        Ok(Rule {
            id: id.read()?,
            effect: effect.read()?,
            mode: mode.read()?,
            reason: reason.optional()?,
            controls: controls.list()?,
            hash: hash.read()?,
            conditions: conditions.read()?,
            approval: approval.optional()?,
        })
    }
}

impl FromJson for Approval {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [requirement, wait] = place.members(&["requirement", "wait"])?;
        Ok(Approval { requirement: requirement.whole()?, wait: wait.whole()? })
    }
}

impl FromJson for PolicyRef {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [id, rev, serial] = place.members(&["id", "rev", "serial"])?;
        Ok(PolicyRef { id: id.read()?, rev: rev.read()?, serial: serial.whole()? })
    }
}

impl FromJson for SignedBundle {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [bundle, jws] = place.members(&["bundle", "jws"])?;
        Ok(SignedBundle { bundle: bundle.read()?, jws: jws.read()? })
    }
}

deserialize_from_json!(Effect, Mode, PolicyRef, SignedBundle);
