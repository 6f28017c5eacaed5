//! `holdgate publish`.

use std::{path::Path, time::Duration};

use holdgate_protocol::{
    bundle::{BundleError, revision},
    from_b64url,
    gateway::ErrorAnswer,
};

use crate::{bundles, failure::Failure, files};

/// The environment variable with the publisher's credential.
const CREDENTIAL: &str = "HOLDGATE_PUBLISHER_CREDENTIAL";

const TIMEOUT: Duration = Duration::from_secs(30);

/// Whether an address is `http://` and loopback. The credential does not cross a network in clear text.
fn is_on_this_machine(address: &str) -> bool {
    let Some(rest) = address.strip_prefix("http://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Hands a signed bundle to the service.
pub(crate) fn publish(file: &Path, to: &str) -> Result<String, Failure> {
    let signed = bundles::read_signed(file)?;
    let encoding = || Failure::Bundle { file: file.to_owned(), problem: BundleError::Encoding };
    let rev = revision(&from_b64url(&signed.bundle).ok_or_else(encoding)?);
    let credential = std::env::var(CREDENTIAL).ok().filter(|credential| !credential.is_empty());
    let credential = credential.ok_or(Failure::NoCredential)?;
    if !is_on_this_machine(to) {
        return Err(Failure::Address(to.to_owned()));
    }
    let url = format!("{}/api/bundles/{rev}", to.trim_end_matches('/'));
    let unreachable = |problem: String| Failure::Unreachable { url: to.to_owned(), problem };

    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        // The credential goes to the address that was named, and nowhere else.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .build()
        .new_agent();
    let request = agent
        .put(&url)
        .header("authorization", format!("Bearer {credential}"))
        .header("content-type", "application/json");
    let mut answer = request.send(files::read(file)?).map_err(|error| unreachable(error.to_string()))?;
    let status = answer.status().as_u16();
    if matches!(status, 200 | 201) {
        let said = if status == 201 { "published" } else { "published before; nothing changed" };
        return Ok(format!("{said}\nrevision {rev}\n"));
    }
    let body = answer.body_mut().read_to_vec().map_err(|error| unreachable(error.to_string()))?;
    match serde_json::from_slice::<ErrorAnswer>(&body) {
        Ok(ErrorAnswer { detail, .. }) if (400..500).contains(&status) => Err(Failure::Refused { status, detail }),
        _ => Err(unreachable(format!("it answered with status {status}"))),
    }
}
