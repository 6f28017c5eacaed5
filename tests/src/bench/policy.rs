//! Policies of any size for measuring, of the kinds of rules that companies with many services have.

use std::fmt::Write as _;

/// The name of the policy.
pub const ID: &str = "bench";

/// A path whose `GET` the first rule allows, whatever the policy's size.
pub const ALLOWED: &str = "/service-0/items/42";

/// A path whose `DELETE` a rule denies.
pub const DENIED: &str = "/service-1/items/42";

/// A path whose `POST` a rule holds.
pub const HELD: &str = "/service-2/orders";

/// The path of an MCP server, and the tool that may be called there.
pub const MCP: &str = "/mcp";
pub const TOOL: &str = "search";

/// The text of a rule file with so many rules (4 or more): in turn allow by path and method, deny by a claim, hold by
/// path, allow by host and path.
pub fn text(rules: usize) -> String {
    let mut text = format!(
        "format: 1\npolicy: {ID}\nowner: team@example.com\ncontrols: [nist-csf-2.0/PR.AA-05]\n\
         approvers: {{iam-approver: {{}}}}\nrules:\n"
    );
    for index in 0..rules {
        let rule = match index % 4 {
            0 => format!(
                "    effect: allow\n    match:\n      - http: {{methods: [GET], path: \"/service-{index}/items/{{id}}\"}}\n"
            ),
            1 => format!(
                "    effect: deny\n    match:\n      - http: {{methods: [DELETE], path: /service-{index}/**}}\n        \
                 agent: {{claims: {{team: {{notIn: [team-{index}]}}}}}}\n"
            ),
            2 => format!(
                "    effect: hold\n    match:\n      - http: {{methods: [POST], path: \"/service-{index}/**\"}}\n    \
                 approval: {{factors: [{{role: iam-approver, approvals: 1}}], decide_within: 1h, use_within: 10m, \
                 wait: 10m}}\n"
            ),
            _ => format!(
                "    effect: allow\n    match:\n      - http: {{methods: [GET, HEAD], host: service-{index}.example, \
                 path: /public/**}}\n"
            ),
        };
        // Writing to a String does not fail.
        let _ = write!(text, "  - id: rule-{index}\n{rule}");
    }
    text + TESTS
}

/// The text of a rule file of ten rules, and of one that allows a tool by its name and an argument.
pub fn with_tool() -> String {
    let rule = format!(
        "  - id: tool\n    effect: allow\n    match:\n      - http: {{path: {MCP}}}\n        \
         mcp: {{tool: {TOOL}, args: {{/limit: {{lte: 100}}}}}}\n"
    );
    text(10).replace(TESTS, &format!("{rule}{TESTS}"))
}

const TESTS: &str = "tests:\n  - name: a read\n    request: {agent: {}, http: {method: GET, path: /service-0/items/1}}\n    \
            expect: {effect: allow, rule: rule-0}\n";
