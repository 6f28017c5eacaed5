//! A verdict allocates nothing: a counting allocator proves it.
#![expect(unsafe_code, reason = "a global allocator cannot be written without it")]
#![expect(clippy::unwrap_used, reason = "test support")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use holdgate_engine::{Body, Caller, Field, Head, Mcp, Policy, Request, Verdict};
use holdgate_protocol::{Json, bundle::rule_hash};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system's allocator unchanged; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

/// One rule for each kind of atom and test, so that none of them can begin to allocate unseen.
fn policy() -> Policy {
    let entries = [
        r#"[{"value":{"of":"method","is":{"in":{"strings":["POST"]}}}},{"value":{"of":"path","is":{"template":"/iam/users/{user}/roles"}}},
            {"value":{"of":{"body":"/role"},"is":{"in":{"strings":["admin"]}}}}]"#,
        r#"[{"value":{"of":"path","is":{"template":"/iam/*.json"}}},{"value":{"of":"host","is":{"suffix":".example"}}},
            {"value":{"of":"agent_id","is":{"prefix":"bot-"}}}]"#,
        r#"[{"value":{"of":"path","is":{"template":"/a*b*c/**"}}},{"value":{"of":"agent_issuer","is":{"equals":{"string":"i"}}}},
            {"value":{"of":"agent_owner","is":{"contains":"x"}}}]"#,
        r#"[{"value":{"of":"agent","is":{"exists":true}}},{"value":{"of":{"claim":"/risk"},"is":{"gte":"0.70"}}},
            {"value":{"of":{"claim":"/risk"},"is":{"lt":"1e3"}}}]"#,
        r#"[{"value":{"of":{"body":"/a~1b/0"},"is":{"exists":true}}},{"value":{"of":{"body":"/n"},"is":{"not_in":{"numbers":["1","2.0"]}}}}]"#,
        r#"[{"value":{"of":{"body":"/n"},"is":{"gt":"3"}}},{"value":{"of":{"body":"/n"},"is":{"lte":"4"}}},
            {"value":{"of":{"body":"/t"},"is":{"equals":{"bool":true}}}}]"#,
        r#"[{"value":{"of":{"body":"/n"},"is":{"equals":{"number":"10e-1"}}}}]"#,
        r#"[{"value":{"of":{"query":"q"},"is":{"matches":{"source":"ab","classes":"CLASSES","table":"AAAAAQAAAAAAAQACAAIAAgAC","accepting":[2]}}}},
            {"value":{"of":{"header":"x-a"},"is":{"size":{"min":2,"max":9}}}}]"#,
        r#"[{"value":{"of":"mcp_tool","is":{"glob":"iam.*_*"}}},{"value":{"of":{"mcp_arg":"/roles"},"is":{"includes":{"string":"admin"}}}},
            {"value":{"of":"mcp_method","is":{"equals":{"string":"tools/call"}}}}]"#,
        r#"[{"value":{"of":{"tag":{"name":"risk","source":{"header":"x-risk"}}},"is":{"gt":"0.5"}}},
            {"compare":{"left":{"query":"q"},"is":"ne","right":{"header":"x-a"}}}]"#,
        r#"[{"rate":{"over":3,"per":60,"by":"agent"}},{"time":{"outside":true,"days":["mon","sat"],"from":60,"to":30,"zone":"UTC",
            "offsets":[{"from":0,"seconds":0}],"until":4000000000}}]"#,
    ];
    // The expression `ab` over three classes of bytes.
    let classes = holdgate_protocol::b64url(&std::array::from_fn::<u8, 256, _>(|byte| match byte {
        0x61 => 1,
        0x62 => 2,
        _ => 0,
    }));
    let entries = entries.map(|entry| entry.replace("CLASSES", &classes));
    let when = r#"{"any":[{"is_not":{"value":{"of":{"claim":"/risk"},"is":{"exists":true}}}},
        {"all":[{"is":{"value":{"of":"method","is":{"prefix":"P"}}}}]}]}"#;
    let rule = |(index, entry): (usize, &String)| {
        let conditions = format!(r#"{{"any":[{entry}],"when":{when}}}"#);
        let hash = rule_hash(&Json::parse(conditions.as_bytes()).unwrap());
        format!(
            r#"{{"id":"r{index}","effect":"deny","mode":"enforce","reason":null,"controls":[],"hash":"{hash}",
                "conditions":{conditions},"approval":null}}"#
        )
    };
    let rules: Vec<_> = entries.iter().enumerate().map(rule).collect();
    let bundle = format!(
        r#"{{"format":1,"id":"p","serial":1,"requirements":[],"rules":[{}],
            "needs":{{"body":true,"claims":["risk"],"headers":["x-a","x-risk"],"mcp":true,"query":["q"],"rates":true,"time":true}}}}"#,
        rules.join(",")
    );
    Policy::load(&Json::parse(bundle.as_bytes()).unwrap().to_jcs()).unwrap()
}

#[test]
fn evaluating_allocates_nothing() {
    let policy = policy();
    let claims = Json::parse(br#"{"risk":0.69999999999999999999,"owner":"x"}"#).unwrap();
    let bodies = [
        r#"{"role":"viewer","n":5,"t":true,"a/b":[]}"#,
        r#"{"role":"admin","n":1}"#,
        r#"{"role":7,"n":"1","t":null}"#,
        r#"[]"#,
    ];
    let bodies = bodies.map(|body| Json::parse(body.as_bytes()).unwrap());
    let agent = Caller { iss: "j", id: "bot-1", owner: Some("y"), claims: &claims };
    let args = Json::parse(br#"{"roles":["viewer","admin"]}"#).unwrap();
    let call = Mcp::Message { method: "tools/call", tool: Some("iam.grant_role"), args: Some(&args) };
    let calls =
        [(Mcp::None, Some(1_767_571_200), &[Some(2)][..]), (call, None, &[]), (Mcp::Unread, Some(0), &[Some(9)])];
    let fields = [("q", "xxab"), ("x-a", "ab"), ("x-a", "äöü"), ("x-risk", "0.40")]
        .map(|(name, value)| Field { name, value: Some(value) });
    let mut verdicts = [0; 2];
    let count = allocations(|| {
        for path in ["/iam/users/7/roles", "/iam/x.json", "/aXbYc/d", "/"] {
            for body in bodies.iter().map(Body::Json).chain([Body::Empty, Body::Unread]) {
                for agent in [Some(agent), None] {
                    for (method, (mcp, time, rates)) in
                        ["POST", "GET"].into_iter().flat_map(|method| calls.map(|call| (method, call)))
                    {
                        let line = Request::new(method, "api.example", path);
                        let request =
                            Request { agent, body, mcp, time, rates, query: &fields, headers: &fields, ..line };
                        let denied = policy.evaluate(&request) != Verdict::Deny(None);
                        verdicts[usize::from(denied)] += 1;
                        let _: Head = policy.evaluate_head(&request);
                    }
                }
            }
        }
    });
    assert_eq!(count, 0);
    assert!(verdicts[0] > 0 && verdicts[1] > 0, "both outcomes were seen: {verdicts:?}");
    assert!(allocations(|| drop(vec![1_u8])) > 0, "the counter counts");
}
