//! A verdict allocates nothing: a counting allocator proves it.
#![expect(unsafe_code, reason = "a global allocator cannot be written without it")]
#![expect(clippy::unwrap_used, reason = "test support")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use holdgate_engine::{Body, Caller, Head, Policy, Request, Verdict};
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
    let conditions = [
        r#"[{"value":{"of":"method","is":{"in":{"strings":["POST"]}}}},{"value":{"of":"path","is":{"template":"/iam/users/{user}/roles"}}},{"value":{"of":{"body":"/role"},"is":{"in":{"strings":["admin"]}}}}]"#,
        r#"[{"value":{"of":"path","is":{"template":"/iam/*.json"}}},{"value":{"of":"host","is":{"suffix":".example"}}},{"value":{"of":"agent_id","is":{"prefix":"bot-"}}}]"#,
        r#"[{"value":{"of":"path","is":{"template":"/a*b*c/**"}}},{"value":{"of":"agent_issuer","is":{"equals":{"string":"i"}}}},{"value":{"of":"agent_owner","is":{"contains":"x"}}}]"#,
        r#"[{"value":{"of":"agent","is":{"exists":true}}},{"value":{"of":{"claim":"/risk"},"is":{"gte":"0.70"}}},{"value":{"of":{"claim":"/risk"},"is":{"lt":"1e3"}}}]"#,
        r#"[{"value":{"of":{"body":"/a~1b/0"},"is":{"exists":true}}},{"value":{"of":{"body":"/n"},"is":{"not_in":{"numbers":["1","2.0"]}}}}]"#,
        r#"[{"value":{"of":{"body":"/n"},"is":{"gt":"3"}}},{"value":{"of":{"body":"/n"},"is":{"lte":"4"}}},{"value":{"of":{"body":"/t"},"is":{"equals":{"bool":true}}}}]"#,
        r#"[{"value":{"of":{"body":"/n"},"is":{"equals":{"number":"10e-1"}}}}]"#,
    ];
    let rule = |(index, entry): (usize, &&str)| {
        let conditions = format!(r#"{{"any":[{entry}]}}"#);
        let hash = rule_hash(&Json::parse(conditions.as_bytes()).unwrap());
        format!(
            r#"{{"id":"r{index}","effect":"deny","mode":"enforce","reason":null,"controls":[],"hash":"{hash}",
                "conditions":{conditions},"approval":null}}"#
        )
    };
    let rules: Vec<_> = conditions.iter().enumerate().map(rule).collect();
    let bundle = format!(
        r#"{{"format":1,"id":"p","serial":1,"requirements":[],"rules":[{}],
            "needs":{{"body":true,"claims":["risk"],"headers":[],"mcp":false,"query":false,"rates":false,"time":false}}}}"#,
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
    let mut verdicts = [0; 2];
    let count = allocations(|| {
        for path in ["/iam/users/7/roles", "/iam/x.json", "/aXbYc/d", "/"] {
            for body in bodies.iter().map(Body::Json).chain([Body::Empty, Body::Unread]) {
                for agent in [Some(agent), None] {
                    let request = Request { agent, body, ..Request::new("POST", "api.example", path) };
                    let denied = policy.evaluate(&request) != Verdict::Deny(None);
                    verdicts[usize::from(denied)] += 1;
                    let _: Head = policy.evaluate_head(&request);
                }
            }
        }
    });
    assert_eq!(count, 0);
    assert!(verdicts[0] > 0 && verdicts[1] > 0, "both outcomes were seen: {verdicts:?}");
    assert!(allocations(|| drop(vec![1_u8])) > 0, "the counter counts");
}
