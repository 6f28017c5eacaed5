//! `tools/list`: an agent sees what it could call.

use holdgate_engine::{Head as HeadVerdict, Verdict};
use holdgate_protocol::{Json, json::Object};

/// The answer to `tools/list` without the tools of which no call would pass, and with a mark on those of which every call
/// is held. `verdict` says what is decided about a tool, whatever its arguments.
///
/// `None` where nothing changes, or where the answer is none that is understood: it goes on as it came.
pub(crate) fn filter(body: &[u8], mut verdict: impl FnMut(&str) -> HeadVerdict) -> Option<Vec<u8>> {
    let Ok(Json::Object(mut message)) = Json::parse(body) else { return None };
    let Some(Json::Object(result)) = message.get("result") else { return None };
    let mut result = result.clone();
    let Some(Json::Array(tools)) = result.get("tools") else { return None };
    let mut kept = Vec::with_capacity(tools.len());
    let mut changed = false;
    for tool in tools {
        let name = tool.member(&["name"]).and_then(Json::as_str);
        match name.map(&mut verdict) {
            Some(HeadVerdict::Decided(Verdict::Deny(_))) => changed = true,
            Some(HeadVerdict::Decided(Verdict::Hold(_))) => {
                changed = true;
                kept.push(marked(tool));
            }
            Some(HeadVerdict::Decided(Verdict::Allow(_)) | HeadVerdict::NeedsBody) | None => kept.push(tool.clone()),
        }
    }
    // The list is this agent's: nobody else is to get it from a cache.
    if result.get("cacheScope").and_then(Json::as_str) == Some("public") {
        result.set("cacheScope".into(), "private".into());
        changed = true;
    }
    if !changed {
        return None;
    }
    result.set("tools".into(), Json::Array(kept));
    message.set("result".into(), Json::Object(result));
    Some(Json::Object(message).to_jcs())
}

/// The tool with `_meta["holdgate/checkpoint"]: "held"`.
fn marked(tool: &Json) -> Json {
    let Some(members) = tool.as_object() else { return tool.clone() };
    let mut members = members.clone();
    let mut meta = match members.get("_meta") {
        Some(Json::Object(meta)) => meta.clone(),
        _ => Object::default(),
    };
    meta.set("holdgate/checkpoint".into(), "held".into());
    members.set("_meta".into(), Json::Object(meta));
    Json::Object(members)
}
