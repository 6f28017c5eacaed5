//! What people are told: attributes by the names that rule files give them.

use holdgate_engine::Attribute;

/// The attribute as `when` writes it.
pub(crate) fn attribute(attribute: &Attribute) -> String {
    let within = |name: &str, steps: &[String]| {
        let step = |step: &String| {
            let plain = step.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                && step.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if plain { format!(".{step}") } else { format!("[{step:?}]") }
        };
        format!("{name}{}", steps.iter().map(step).collect::<String>())
    };
    match attribute {
        Attribute::Method => "http.method".into(),
        Attribute::Host => "http.host".into(),
        Attribute::Path => "http.path".into(),
        Attribute::Agent => "agent".into(),
        Attribute::AgentId => "agent.id".into(),
        Attribute::AgentIssuer => "agent.issuer".into(),
        Attribute::AgentOwner => "agent.owner".into(),
        Attribute::Claim(pointer) => within("agent.claims", pointer.steps()),
        Attribute::Body(pointer) => within("body", pointer.steps()),
        Attribute::Query(name) => within("http.query", std::slice::from_ref(name)),
        Attribute::Header(name) => within("http.headers", std::slice::from_ref(name)),
        Attribute::Tag(tag) => within("tags", std::slice::from_ref(&tag.name)),
        Attribute::McpMethod => "mcp.method".into(),
        Attribute::McpTool => "mcp.tool".into(),
        Attribute::McpArg(pointer) => within("mcp.args", pointer.steps()),
    }
}
