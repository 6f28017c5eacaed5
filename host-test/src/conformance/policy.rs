//! The snapshot and the bundles.

use holdgate_protocol::{
    Hash, Json,
    bundle::{self, SignedBundle},
    from_b64url,
    gateway::StateAnswer,
};
use serde_json::Value;

use super::{
    Check, checks,
    expect::{Expect as _, Trouble, Verdict, fail, holds, same},
    target::Target,
};

/// How far the service's clock may be from ours, in seconds.
const CLOCKS: u64 = 120;

pub(super) const CHECKS: &[Check] = checks! {
    "state.form" (0, 0) form: "GET /v1/state -> {seq, suspended: [{iss, sub}], policy: {id, serial, rev} | null, now}";
    "state.clock" (0, 0) clock: "`now` is the service's clock, in Unix seconds; filters judge grants by it";
    "state.feed" (0, 0) feed: "the snapshot is one from which the feed goes on: its `seq` is a cursor";
    "bundle.served" (0, 0) served: "GET /v1/bundles/{rev} -> the signed bundle: revision and signature cover its bytes";
    "bundle.unknown" (0, 0) unknown: "a revision that was not published, or that is none: 404";
};

async fn state(target: &Target) -> Verdict<StateAnswer> {
    target.get("/v1/state").await?.json(&[200], "at /v1/state")
}

async fn form(target: &Target) -> Verdict {
    let answer = target.get("/v1/state").await?;
    let _: StateAnswer = answer.json(&[200], "at /v1/state")?;
    let raw: Value = answer.json(&[200], "at /v1/state")?;
    for name in ["seq", "suspended", "policy", "now"] {
        holds(raw.get(name).is_some(), &format!("the member `{name}`"), answer.told())?;
    }
    Ok(())
}

async fn clock(target: &Target) -> Verdict {
    let (ours, theirs) = (holdgate_host::clock::now() / 1000, state(target).await?.now);
    holds(ours.abs_diff(theirs) <= CLOCKS, &format!("about {ours}"), theirs)
}

async fn feed(target: &Target) -> Verdict {
    let seq = state(target).await?.seq;
    target.get(format!("/v1/feed?after={seq}")).await?.status(&[200], "to the `seq` of the snapshot as cursor")
}

async fn served(target: &Target) -> Verdict {
    let missing = || Trouble::NotRun("no policy is published".to_owned());
    let policy = state(target).await?.policy.ok_or_else(missing)?;
    let answer = target.get(format!("/v1/bundles/{}", policy.rev)).await?;
    let signed: SignedBundle = answer.json(&[200], "to the revision in force")?;
    let Some(bytes) = from_b64url(&signed.bundle) else { return fail("base64url without padding", answer.told()) };
    same("revision", &policy.rev, &bundle::revision(&bytes))?;
    let parts: Vec<&str> = signed.jws.split('.').collect();
    holds(
        matches!(parts.as_slice(), [head, "", signature] if !head.is_empty() && !signature.is_empty()),
        "a detached JWS `<header>..<signature>`",
        &signed.jws,
    )?;
    match bundle::read::<Json>(&bytes) {
        Ok(bundle) => same("id and serial", &(&policy.id, policy.serial), &(&bundle.id, bundle.serial)),
        Err(error) => fail("a bundle in canonical form", error),
    }
}

async fn unknown(target: &Target) -> Verdict {
    let other = Hash::of(b"no bundle has this revision");
    for rev in [other.to_string(), "current".to_owned()] {
        target.get(format!("/v1/bundles/{rev}")).await?.problem(
            404,
            "not_found",
            &format!("to the revision `{rev}`"),
        )?;
    }
    Ok(())
}
