//! The section `identity` of the configuration: whose tokens and certificates count.

use holdgate_protocol::{
    json::{Place, ShapeError},
    jws::{Algorithm, IssuerKeys},
};

use super::{EMPTY, is_lower_case, milliseconds, not_empty, not_empty_or};

/// How agents are identified.
#[derive(Debug)]
pub struct Identity {
    /// The header that carries the token; in `authorization` it stands behind `Bearer `.
    pub header: String,
    /// Whether the upstream gets the token.
    pub forward: bool,
    pub untagged: Untagged,
    /// The most verified tokens that are remembered; 0 remembers none.
    pub token_cache: usize,
    pub issuers: Vec<Issuer>,
    /// `None`: no certificate is looked at.
    pub spiffe: Option<Spiffe>,
}

/// An issuer of agents' tokens that is trusted.
#[derive(Debug)]
pub struct Issuer {
    pub iss: String,
    /// A token must be for one of them.
    pub audiences: Vec<String>,
    pub algorithms: Vec<Algorithm>,
    pub keys: KeySource,
    pub owner_claim: String,
    /// The claim that rules see as `team`.
    pub team_claim: String,
    /// Seconds from `iat` for which a token counts at most.
    pub max_token_age: Option<u64>,
    /// Seconds for which the credential behind a token counts, from the time in `credential_claim`.
    pub max_credential_age: Option<u64>,
    pub credential_claim: String,
}

/// Where the keys of an issuer come from.
#[derive(Debug)]
pub enum KeySource {
    Pinned(IssuerKeys),
    Fetched(KeyPlace),
}

/// Where a key set is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPlace {
    pub cluster: String,
    pub authority: String,
    pub path: String,
    /// Milliseconds after which it is fetched again.
    pub refresh: u64,
}

/// Whose certificates name an agent.
#[derive(Debug)]
pub struct Spiffe {
    pub trust_domains: Vec<String>,
    /// Who answers for these agents: `group/NAME`.
    pub owner: Option<String>,
}

/// What happens to a request without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untagged {
    Deny,
    Evaluate,
}

const UNTAGGED: [(&str, Untagged); 2] = [("deny", Untagged::Deny), ("evaluate", Untagged::Evaluate)];

const ALGORITHMS: [(&str, Algorithm); 3] =
    [("EdDSA", Algorithm::EdDsa), ("ES256", Algorithm::Es256), ("RS256", Algorithm::Rs256)];

impl Identity {
    pub(super) fn read(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [header, forward, untagged, token_cache, issuers, spiffe] =
            place.members(&["header", "forward", "untagged", "token_cache", "issuers", "spiffe"])?;
        let mut trusted = Vec::<Issuer>::new();
        if issuers.exists() || !spiffe.exists() {
            for place in issuers.items()? {
                let issuer = read_issuer(&place)?;
                if trusted.iter().any(|other| other.iss == issuer.iss) {
                    return Err(place.error(&format!("the issuer `{}` stands there twice", issuer.iss)));
                }
                trusted.push(issuer);
            }
        }
        if trusted.is_empty() && !spiffe.exists() {
            return Err(issuers.error(EMPTY));
        }
        Ok(Identity {
            header: header.given().map_or_else(|| Ok("authorization".to_owned()), token_header)?,
            forward: forward.given().map_or(Ok(true), Place::flag)?,
            untagged: untagged.given().map_or(Ok(Untagged::Deny), |untagged| untagged.word(&UNTAGGED))?,
            token_cache: token_cache.given().map_or(Ok(4_096), Place::whole)?,
            issuers: trusted,
            spiffe: spiffe.given().map(read_spiffe).transpose()?,
        })
    }
}

fn token_header(place: &Place<'_>) -> Result<String, ShapeError> {
    let name = place.text()?;
    // The digest does not cover the header that carries the token: it must mean nothing else to anybody.
    let prefixes = ["holdgate-", "x-envoy-", "content-", "accept", "mcp-", "x-forwarded-", "x-http-", "if-", "sec-"];
    let names = ["", "host", "cookie", "connection", "te", "transfer-encoding", "expect", "prefer", "upgrade", "range"];
    let taken = prefixes.iter().any(|prefix| name.starts_with(prefix))
        || names.contains(&name)
        || ["forwarded", "idempotency-key", "origin", "referer", "traceparent", "tracestate"].contains(&name);
    if taken || !is_lower_case(name) {
        let mend = "cannot carry a token; use `authorization` or a lower-case name of your own";
        return Err(place.error(&format!("`{name}` {mend}")));
    }
    Ok(name.to_owned())
}

fn read_issuer(place: &Place<'_>) -> Result<Issuer, ShapeError> {
    let [iss, aud, algs, jwks, owner_claim, owner_issuer, team_claim, ages @ ..] = place.members(&[
        "iss",
        "aud",
        "algs",
        "jwks",
        "owner_claim",
        "owner_issuer",
        "team_claim",
        "max_token_age",
        "max_credential_age",
        "credential_claim",
    ])?;
    let [max_token_age, max_credential_age, credential_claim] = ages;
    let mut algorithms = Vec::new();
    for algorithm in algs.items()? {
        algorithms.push(algorithm.word(&ALGORITHMS)?);
    }
    if algorithms.is_empty() {
        return Err(algs.error(EMPTY));
    }
    let seconds = |place: &Place<'_>| milliseconds(place, 0).map(|milliseconds| milliseconds / 1000);
    let issuer = Issuer {
        iss: not_empty(&iss)?,
        audiences: texts(&aud)?,
        keys: read_keys(&jwks, &algorithms)?,
        algorithms,
        owner_claim: not_empty_or(&owner_claim, "owner")?,
        team_claim: not_empty_or(&team_claim, "team")?,
        max_token_age: max_token_age.given().map(seconds).transpose()?,
        max_credential_age: max_credential_age.given().map(seconds).transpose()?,
        credential_claim: not_empty_or(&credential_claim, "auth_time")?,
    };
    // On the wire an owner is resolved at the token's issuer: any other would be ignored.
    if owner_issuer.optional::<String>()?.is_some_and(|other| other != issuer.iss) {
        return Err(owner_issuer.error("owners are resolved at `iss` itself; leave it out"));
    }
    Ok(issuer)
}

fn read_keys(place: &Place<'_>, algorithms: &[Algorithm]) -> Result<KeySource, ShapeError> {
    let jwks = place.json()?;
    if jwks.as_object().is_some_and(|jwks| jwks.get("keys").is_some()) {
        let keys = IssuerKeys::pinned(jwks, algorithms).map_err(|error| place.error(&error.to_string()))?;
        return Ok(KeySource::Pinned(keys));
    }
    let [cluster, authority, path, refresh] = place.members(&["cluster", "authority", "path", "refresh"])?;
    let target = path.text()?;
    if !target.starts_with('/') || !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(path.error("must begin with `/` and have no blank or fragment"));
    }
    Ok(KeySource::Fetched(KeyPlace {
        cluster: not_empty(&cluster)?,
        authority: not_empty(&authority)?,
        path: target.to_owned(),
        refresh: milliseconds(&refresh, 600)?,
    }))
}

fn read_spiffe(place: &Place<'_>) -> Result<Spiffe, ShapeError> {
    let [domains, owner] = place.members(&["trust_domains", "owner"])?;
    let trust_domains = texts(&domains)?;
    if !trust_domains.iter().all(|domain| crate::identity::is_trust_domain(domain)) {
        return Err(domains.error("name them as in `spiffe://NAME/...`, without the scheme"));
    }
    let name = owner.given().map(not_empty).transpose()?;
    // The issuer of such an agent is its trust domain, to which no person is linked.
    if name.as_ref().is_some_and(|name| !name.starts_with("group/")) {
        return Err(owner.error("must be `group/NAME`"));
    }
    Ok(Spiffe { trust_domains, owner: name })
}

/// One text, or a list of them that is not empty.
fn texts(place: &Place<'_>) -> Result<Vec<String>, ShapeError> {
    if place.text().is_ok() {
        return Ok(vec![not_empty(place)?]);
    }
    let mut texts = Vec::new();
    for text in place.items()? {
        texts.push(not_empty(&text)?);
    }
    if texts.is_empty() { Err(place.error(EMPTY)) } else { Ok(texts) }
}
