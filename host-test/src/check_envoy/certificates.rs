//! Agents that are named by their certificates (`identity.spiffe`): a Lua filter before Holdgate says whether Envoy has
//! validated the certificate, and the listener says by what.

use super::{codes::Code, filters::kind, holdgate::Holdgate, node::Node, report::Report};

/// What makes the script one that speaks of certificates, and what it must ask.
const WRITES: [&str; 2] = ["dynamicMetadata", "holdgate"];
const ASKS: &str = "peerCertificateValidated";

const HELP: &str = "put the Lua filter of envoy/CONFIGURATION.md (`identity.spiffe`) before Holdgate";

pub(super) fn check(filters: &[Node], listener: &Node, holdgate: &Holdgate<'_>, report: &mut Report<'_>) {
    if !holdgate.settings.by_certificate {
        return;
    }
    let mut is_said = false;
    let before = filters.iter().take_while(|filter| !std::ptr::eq(*filter, holdgate.filter));
    for filter in before.filter(|filter| kind(filter).is_some_and(|kind| kind == "lua")) {
        let at = filter.get("name").map_or(filter.span, |name| name.span);
        match source(filter) {
            None => {
                is_said = true;
                let message = "the script of this filter is not in this file and was not looked at: it must ask whether a \
                               certificate was validated";
                report.add(Code::NotLookedAt, at, message, HELP);
            }
            Some(script) if WRITES.iter().all(|word| script.contains(word)) => {
                is_said = true;
                if !script.contains(ASKS) {
                    let message = "this script names agents by certificates, and does not ask whether they were validated: \
                                   whoever makes a certificate of its own can be any agent";
                    report.add(Code::Unvalidated, at, message, HELP);
                }
            }
            Some(_) => {}
        }
    }
    if !is_said {
        let message = "`identity.spiffe` is there, and no filter before Holdgate says which certificates were validated: none \
                       counts";
        report.add(Code::NoCertificates, holdgate.at, message, HELP);
    }
    let chains = listener.list("filter_chains").iter().chain(listener.get("default_filter_chain"));
    for chain in chains {
        let context = chain.at(&["transport_socket", "typed_config"]).and_then(Node::typed).map(|(_, context)| context);
        let common = context.and_then(|context| context.get("common_tls_context"));
        let validates = ["validation_context", "combined_validation_context", "validation_context_sds_secret_config"];
        if !common.is_some_and(|common| validates.iter().any(|name| common.get(name).is_some())) {
            let message = "`identity.spiffe` is there, and nothing on this listener validates a client's certificate: none counts";
            let help = "write `validation_context: {trusted_ca: {filename: ...}}` in the `common_tls_context` of its \
                        `DownstreamTlsContext`";
            report.add(Code::NoCertificates, chain.span, message, help);
        }
    }
}

/// The script of a Lua filter, where it stands in the file.
fn source(filter: &Node) -> Option<&str> {
    let (_, message) = filter.get("typed_config")?.typed()?;
    let inline = message.at(&["default_source_code", "inline_string"]).or_else(|| message.get("inline_code"));
    match inline {
        Some(inline) => inline.text(),
        // A filter without a script does nothing.
        None if message.get("default_source_code").is_none() => Some(""),
        None => None,
    }
}
