//! `tools/list`: an agent sees what it could call.

use holdgate_engine::{Head as HeadVerdict, Verdict};
use holdgate_protocol::{Json, json::Object};

/// The most tools of one list that are judged. A server that has more of them gives them in pages; those beyond are left
/// out, since nobody has judged them.
const MAX_TOOLS: usize = 4_096;

/// The answer to `tools/list` without the tools of which no call would pass, and with a mark on those of which every call
/// is held. `verdict` says what is decided about a tool, whatever its arguments.
///
/// `None` where nothing changes, or where the answer is none that is understood: it goes on as it came.
pub(crate) fn filter(body: &[u8], mut verdict: impl FnMut(&str) -> HeadVerdict) -> Option<Vec<u8>> {
    let mut message = Json::parse(body).ok()?;
    let mut result = message.remove(&["result"])?;
    let Json::Array(tools) = result.remove(&["tools"])? else { return None };
    let (Json::Object(mut message), Json::Object(mut result)) = (message, result) else { return None };
    let mut kept = Vec::with_capacity(tools.len().min(MAX_TOOLS));
    let mut changed = tools.len() > MAX_TOOLS;
    for tool in tools.into_iter().take(MAX_TOOLS) {
        let name = tool.member(&["name"]).and_then(Json::as_str);
        match name.map(&mut verdict) {
            Some(HeadVerdict::Decided(Verdict::Deny(_))) => changed = true,
            Some(HeadVerdict::Decided(Verdict::Hold(_))) => {
                changed = true;
                kept.push(marked(tool));
            }
            Some(HeadVerdict::Decided(Verdict::Allow(_)) | HeadVerdict::NeedsBody) | None => kept.push(tool),
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
fn marked(mut tool: Json) -> Json {
    let mut meta = match tool.remove(&["_meta"]) {
        Some(Json::Object(meta)) => meta,
        _ => Object::default(),
    };
    meta.set("holdgate/checkpoint".into(), "held".into());
    if let Json::Object(members) = &mut tool {
        members.set("_meta".into(), Json::Object(meta));
    }
    tool
}
