//! Which addresses secrets may be sent to.

use openidconnect::url::{Host, Url};

/// Reads an address that is `https`, or `http` on this machine.
pub(super) fn read(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("`{text}` is no address: {error}"))?;
    let local = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && local) {
        return Err(format!("`{text}` must begin with `https://`; `http://` is for this machine only"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(format!("`{text}` must have neither a user nor a fragment"));
    }
    Ok(url)
}
