//! Who sees which holds, and what an eligibility is for.

use axum::http::StatusCode;
use holdgate_approval::{
    domain::{AuthorityChange, Grant, Lasting, Quotas, Scope},
    service::{Settings, change::Operate},
};
use holdgate_protocol::{Actor, Agent, gateway::OpenHold};
use serde_json::{Value, json};

use crate::{
    process::{made, run},
    support::{NOW, World, agent, requirement},
};

const DAY: u64 = 24 * 60 * 60;

/// Gives a person a role as the operator does.
pub async fn grant(world: &World, person: &str, role: &str, scope: Value) -> String {
    let scope: Scope = serde_json::from_value(scope).unwrap();
    let grant = Grant { person: person.into(), role: role.into(), scope, from: None, until: None };
    operate(world, AuthorityChange::Grant(grant)).await.unwrap()
}

pub async fn operate(world: &World, change: AuthorityChange) -> Option<String> {
    let operate = Operate { change, reason: "a test".into(), now: world.service.now() };
    world.service.store.write(operate).await.unwrap()
}

async fn sees(world: &World, person: &str, hold: &str) -> bool {
    let reader = world.sign_in(person).await;
    let detail = reader.get(&format!("/api/holds/{hold}")).await.status;
    let page = reader.get(&format!("/holds/{hold}")).await.status;
    let mut listed = false;
    for state in ["pending", "approved", "denied", "cancelled", "used"] {
        let list = reader.get(&format!("/api/holds?state={state}")).await.json();
        let has = list["items"].as_array().unwrap().iter().any(|item| item["id"] == hold);
        assert_eq!(reader.get(&format!("/holds?state={state}")).await.text.contains(hold), has, "{person}");
        listed |= has;
    }
    assert_eq!((detail, page), if listed { (StatusCode::OK, StatusCode::OK) } else { (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND) });
    listed
}

#[tokio::test]
async fn a_hold_is_seen_by_those_it_concerns_and_nobody_else() {
    let world = World::new().await;
    let (_, hold) = world.held(&["one"], "a").await;
    // Carol's scope is another policy, Dave's time is over; administrators have no business with holds.
    for (person, seen) in [
        ("alice", true), ("bob", true), ("olivia", true), ("audra", true),
        ("carol", false), ("dave", false), ("ann", false), ("abe", false),
    ] {
        assert_eq!(sees(&world, person, &hold).await, seen, "{person}");
    }
    // An unknown hold and one that is not theirs are told apart by nothing.
    let carol = world.sign_in("carol").await;
    let (there, nowhere) = (carol.get(&format!("/api/holds/{hold}")).await, carol.get("/api/holds/nowhere").await);
    assert_eq!((there.status, there.text.replace(&hold, "nowhere")), (nowhere.status, nowhere.text));
    assert_eq!(carol.get("/api/holds").await.json(), json!({"items": [], "next": null, "total": 0}));
}

#[tokio::test]
async fn who_answers_for_the_agent_sees_its_holds_and_who_decided_sees_them_after_their_time() {
    let world = World::new().await;
    operate(&world, AuthorityChange::AddPerson { person: "otto".into(), name: "Otto".into() }).await;
    let link = AuthorityChange::Link { person: "otto".into(), iss: "https://idp.example".into(), sub: "otto".into() };
    operate(&world, link).await;
    let sql = "UPDATE persons SET password_hash = (SELECT password_hash FROM persons WHERE id = 'alice') WHERE id = 'otto'";
    crate::store::execute(&world, sql).await;
    let owned = Agent { owner: Some("otto".into()), ..agent() };
    let (_, owned) = world.open(&OpenHold { agent: owned, ..world.ask(&["one"], "a") }).await;
    let (_, other) = world.held(&["one"], "b").await;
    assert!(sees(&world, "otto", &owned.hold).await && !sees(&world, "otto", &other).await);
    let otto = world.sign_in("otto").await;
    assert_eq!(otto.decide(&owned.hold, "approve").await.error(), "own_agent");
    operate(&world, AuthorityChange::AddMember { group: "platform".into(), person: "otto".into() }).await;
    let grouped = Agent { owner: Some("group/platform".into()), ..agent() };
    let (_, grouped) = world.open(&OpenHold { agent: grouped, ..world.ask(&["one"], "c") }).await;
    assert!(sees(&world, "otto", &grouped.hold).await);

    let bob = world.sign_in("bob").await;
    bob.decide(&other, "deny").await;
    for one in bob_is_eligible_for(&world).await {
        operate(&world, AuthorityChange::EndEligibility { id: one }).await;
    }
    assert!(sees(&world, "bob", &other).await && !sees(&world, "bob", &grouped.hold).await);
}

async fn bob_is_eligible_for(world: &World) -> Vec<String> {
    let ann = world.sign_in("ann").await;
    let found = ann.get("/api/eligibility?person=bob").await.json();
    found["items"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_scope_says_for_which_rules_groups_and_agents() {
    let bot = json!({"iss": agent().iss, "sub": "bot"});
    // Carol with each scope: for a hold of `one` by the bot at `edge`, and one of `one` and `why`.
    for (scope, one, both) in [
        (json!({}), true, true),
        (json!({"policy": "guard"}), true, true),
        (json!({"policy": "other"}), false, false),
        (json!({"rules": ["one"]}), true, false),
        (json!({"rules": ["one", "w*"]}), true, true),
        (json!({"rules": ["*"]}), true, true),
        (json!({"rules": ["on"]}), false, false),
        (json!({"groups": ["edge"]}), true, true),
        (json!({"groups": ["other"]}), false, false),
        (json!({"agents": [bot]}), true, true),
        (json!({"agents": [bot], "groups": ["other"]}), false, false),
        (json!({"agents": [{"iss": agent().iss, "sub": "tool"}]}), false, false),
    ] {
        let world = World::new().await;
        let (_, first) = world.held(&["one"], "a").await;
        let (_, second) = world.held(&["one", "why"], "b").await;
        grant(&world, "carol", "iam", scope.clone()).await;
        for (hold, expected) in [(&first, one), (&second, both)] {
            assert_eq!(sees(&world, "carol", hold).await, expected, "{scope}");
            let status = world.sign_in("carol").await.decide(hold, "approve").await.status;
            assert_eq!(status == StatusCode::OK, expected, "{scope}: {status}");
        }
    }
}

#[tokio::test]
async fn an_agent_in_a_scope_is_the_one_that_asks_itself() {
    let world = World::new().await;
    let tool = Actor { iss: "i".into(), sub: "tool".into() };
    grant(&world, "carol", "iam", json!({"agents": [tool]})).await;
    let acting = Agent { sub: "olivia".into(), act: vec![tool], ..agent() };
    let (_, acting) = world.open(&OpenHold { agent: acting, ..world.ask(&["one"], "a") }).await;
    let (_, own) = world.held(&["one"], "b").await;
    assert!(sees(&world, "carol", &acting.hold).await && !sees(&world, "carol", &own).await);
}

#[tokio::test]
async fn an_eligibility_that_nobody_certified_in_time_counts_no_more() {
    let world = World::new().await;
    let decide_within = |bundle: &mut holdgate_protocol::bundle::Bundle<Value>| {
        bundle.requirements[0].decide_within = 200 * DAY;
        bundle.requirements.truncate(1);
        bundle.rules.retain(|rule| rule.approval.as_ref().is_none_or(|approval| approval.requirement == 0));
    };
    let (signed, policy) = crate::support::policy(2, decide_within);
    assert_eq!(world.publish(&signed, &policy.rev).await.status, StatusCode::CREATED);
    let (_, hold) = world.held(&["one"], "a").await;
    let ann = world.sign_in("ann").await;
    let due = async |reader: &crate::support::Reviewer<'_>, due: &str| {
        let found = reader.get(&format!("/api/eligibility?due={due}&person=alice")).await.json();
        found["items"].as_array().unwrap().len()
    };
    assert_eq!((due(&ann, "30d").await, due(&ann, "90d").await), (0, 1));
    world.clock.advance(90 * DAY - 1);
    assert!(sees(&world, "alice", &hold).await);
    // The administrators' own is certified by each other, so they may go on.
    let ann = world.sign_in("ann").await;
    let of = async |person: &str| {
        let found = ann.get(&format!("/api/eligibility?person={person}")).await.json();
        found["items"][0].clone()
    };
    let abes = of("abe").await;
    assert_eq!(abes["certify_by"], NOW + 90 * DAY);
    let certify = format!("/api/eligibility/{}/certify", abes["id"].as_str().unwrap());
    assert_eq!(ann.post(&certify, json!({"reason": "still an admin"})).await.status, StatusCode::OK);
    let alices = of("alice").await["id"].as_str().unwrap().to_owned();
    world.clock.advance(1);
    assert!(!sees(&world, "alice", &hold).await);
    assert_eq!(world.sign_in("alice").await.decide(&hold, "approve").await.error(), "not_found");
    assert_eq!(ann.get("/api/people").await.error(), "not_administrator", "hers ended too");

    let abe = world.sign_in("abe").await;
    assert_eq!(due(&abe, "0d").await, 1);
    let certified = abe.post(&format!("/api/eligibility/{alices}/certify"), json!({"reason": "still needed"})).await;
    assert_eq!(certified.status, StatusCode::OK, "{}", certified.text);
    assert_eq!(due(&abe, "0d").await, 0);
    assert_eq!(world.sign_in("alice").await.decide(&hold, "approve").await.status, StatusCode::OK);
}

#[tokio::test]
async fn where_nothing_has_to_be_certified_eligibility_lasts() {
    let lasting = Lasting { recertify_within: u64::MAX, ..Lasting::default() };
    let world = World::with(Settings { lasting, ..Settings::default() }).await;
    world.clock.advance(1000 * DAY);
    let (_, hold) = world.held(&["one"], "a").await;
    assert!(sees(&world, "alice", &hold).await);
    let ann = world.sign_in("ann").await;
    let all = ann.get("/api/eligibility?due=9999d").await.json();
    assert_eq!(all, json!({"items": [], "next": null}));
    assert_eq!(ann.get("/api/eligibility?person=alice").await.json()["items"][0]["certify_by"], Value::Null);
}

/// Few of many are Carol's: pages may be short, but nothing is left out and none is read without end.
#[tokio::test]
async fn a_list_stays_paged_where_most_of_it_is_not_the_readers() {
    let most = ["agent.open", "agent.hour", "owner.open", "owner.hour", "rule.open", "rule.hour"];
    let quotas = most.map(|name| format!("{name}=100000").parse().unwrap()).into_iter().fold(Quotas::default(), Quotas::with);
    let world = World::with(Settings { quotas, ..Settings::default() }).await;
    grant(&world, "carol", "iam", json!({"agents": [{"iss": agent().iss, "sub": "rare"}]})).await;
    let mut own = Vec::new();
    for number in 0..6 {
        let rare = Agent { sub: "rare".into(), ..agent() };
        let (_, opened) = world.open(&OpenHold { agent: rare, ..world.ask(&["one"], &format!("rare {number}")) }).await;
        own.push(opened.hold);
        for other in 0..100 {
            world.held(&["one"], &format!("{number} {other}")).await;
        }
        world.clock.advance(1);
    }
    // As many again as are read for one page, all of others.
    let copies = "INSERT INTO holds (id, grp, agent, agent_key, digest, components, requirement, requirement_hash, rules,
                  policy_id, policy_rev, policy_serial, method, authority, path, opened_at, state, since, deadline)
                  SELECT n.id || h.id, n.id, h.agent, h.agent_key, h.digest, h.components, h.requirement, h.requirement_hash,
                  h.rules, h.policy_id, h.policy_rev, h.policy_serial, h.method, h.authority, h.path, h.opened_at, h.state,
                  h.since, h.deadline FROM holds h
                  CROSS JOIN (SELECT substr(id, 1, 16) AS id FROM holds ORDER BY id LIMIT 12) n
                  WHERE h.agent NOT LIKE '%rare%'";
    crate::store::execute(&world, copies).await;
    let carol = world.sign_in("carol").await;
    let (mut found, mut pages, mut after) = (Vec::new(), 0, String::new());
    loop {
        let page = carol.get(&format!("/api/holds?limit=4{after}")).await.json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 4, "a page is no longer than asked for");
        found.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        pages += 1;
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(found, own);
    assert!((2..=6).contains(&pages), "{pages}");
    let audra = world.sign_in("audra").await.get("/api/holds?limit=4").await.json();
    assert_eq!((audra["items"].as_array().unwrap().len(), audra["total"].as_u64()), (4, Some(6 + 600 * 13)));
}

#[tokio::test]
async fn no_administrator_is_exempt() {
    let world = World::new().await;
    let (_, hold) = world.held(&["one"], "a").await;
    // Without a role of the requirement an administrator neither sees nor decides nor takes back.
    let ann = world.sign_in("ann").await;
    for verdict in ["approve", "deny"] {
        assert_eq!(ann.decide(&hold, verdict).await.error(), "not_found");
    }
    assert_eq!(ann.post(&format!("/api/holds/{hold}/revoke"), json!({})).await.error(), "not_found");
    // With the role, the agent's owner stays its owner.
    grant(&world, "ann", "iam", json!({})).await;
    let owned = Agent { owner: Some("ann".into()), ..agent() };
    let (_, owned) = world.open(&OpenHold { agent: owned, ..world.ask(&["one"], "b") }).await;
    let answer = ann.decide(&owned.hold, "approve").await;
    assert_eq!((answer.status.as_u16(), answer.error().as_str()), (403, "own_agent"));
    assert_eq!(ann.decide(&hold, "approve").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_policy_that_asks_for_the_services_own_roles_is_met_by_nobody() {
    let world = World::new().await;
    let (signed, policy) = crate::support::policy(2, |bundle| {
        bundle.requirements = vec![requirement(&[("holdgate-admin", 1)]), requirement(&[("holdgate-auditor", 1)])];
        bundle.rules.retain(|rule| ["one", "two"].contains(&rule.id.as_str()));
    });
    assert_eq!(world.publish(&signed, &policy.rev).await.status, StatusCode::CREATED);
    for (rule, person) in [("one", "ann"), ("two", "audra")] {
        let (_, hold) = world.held(&[rule], "a").await;
        assert_eq!(world.sign_in(person).await.decide(&hold, "approve").await.error(), "not_eligible", "{person}");
    }
}

/// The operator's way: on the data folder, without an administrator, and recorded all the same.
#[tokio::test]
async fn the_operator_sets_up_people_and_takes_them_out_while_the_service_runs() {
    let folder = tempfile::tempdir().unwrap();
    let data = made(folder.path()).await;
    let good = async |arguments: &[&str]| {
        let (code, output, error) = run(&data, arguments, "").await;
        assert_eq!((code, error.as_str()), (0, ""), "{arguments:?}");
        output
    };
    let bad = async |arguments: &[&str], words: &str| {
        let (code, output, error) = run(&data, arguments, "").await;
        assert!(code > 0 && output.is_empty() && error.contains(words), "{arguments:?}: {error}");
    };
    good(&["person", "add", "eve", "--name", "Eve Example"]).await;
    bad(&["person", "add", "eve", "--name", "Eve"], "the id `eve` is taken").await;
    bad(&["person", "add", "e v e", "--name", "Eve"], "an id has 1 to 64").await;
    good(&["person", "link", "eve", "https://idp.example", "eve"]).await;
    bad(&["person", "link", "alice", "https://idp.example", "eve"], "belongs to a person already").await;
    let id = good(&["eligibility", "grant", "eve", "holdgate-admin", "--reason", "first"]).await;
    bad(&["eligibility", "grant", "eve", "holdgate-admin", "--group", "edge"], "has no scope").await;
    bad(&["eligibility", "grant", "eve", "iam", "--rule", "a*b"], "`a*b` is neither a rule's id").await;
    bad(&["eligibility", "grant", "eve", "iam", "--until", "soon"], "`soon` is neither a date").await;
    good(&["eligibility", "grant", "alice", "iam", "--rule", "iam-*", "--agent", "https://idp.example", "bot", "--until", "2999-12-31"]).await;
    good(&["eligibility", "certify", id.trim()]).await;
    let listed = good(&["eligibility", "list"]).await;
    let lines = listed.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.filter(|line: &Value| line["granted_by"] == "operator").collect();
    let who: Vec<_> = lines.iter().map(|line| (&line["person"], &line["role"], &line["granted_by"])).collect();
    assert_eq!(who, [(&json!("eve"), &json!("holdgate-admin"), &json!("operator")), (&json!("alice"), &json!("iam"), &json!("operator"))]);
    let agents = json!([{"iss": "https://idp.example", "sub": "bot"}]);
    assert_eq!(lines[1]["scope"], json!({"rules": ["iam-*"], "groups": null, "agents": agents, "policy": null}));
    good(&["group", "add", "team", "--name", "Team"]).await;
    good(&["group", "member", "team", "eve"]).await;
    good(&["group", "member", "team", "eve", "--remove"]).await;
    bad(&["group", "member", "team", "eve", "--remove"], "`eve` is no member of `team`").await;

    let store = holdgate_approval::store::Database::open(&crate::database::url(&data).await, false).await.unwrap();
    let counts = async || {
        let mut connection = store.read().await.unwrap();
        holdgate_approval::store::people::eligibilities(&mut connection, "eve").await.unwrap().len()
    };
    assert_eq!(counts().await, 1);
    good(&["person", "suspend", "eve", "--reason", "left"]).await;
    assert_eq!(counts().await, 0);
    good(&["person", "resume", "eve"]).await;
    assert_eq!(counts().await, 1);
    good(&["eligibility", "end", id.trim()]).await;
    bad(&["eligibility", "end", id.trim()], "there is no eligibility").await;
    assert_eq!(counts().await, 0);
}

#[tokio::test]
async fn a_directory_file_adds_and_changes_and_takes_nothing_away() {
    let folder = tempfile::tempdir().unwrap();
    let data = made(folder.path()).await;
    let file = folder.path().join("new.yaml");
    let import = async |text: &str, yes: bool| {
        std::fs::write(&file, text).unwrap();
        let arguments = ["directory", "import", file.to_str().unwrap(), "--yes"];
        let (code, output, error) = run(&data, &arguments[..if yes { 4 } else { 3 }], "").await;
        // What every data folder of the tests has from its first start stays, too.
        let first = |line: &&str| !line.starts_with("stays: eligibility 1 ") && *line != "stays: person `olivia`";
        (code, output.lines().filter(first).map(|line| format!("{line}\n")).collect::<String>(), error)
    };
    let text = "format: 1
people:
  - {id: alice, name: Alice Baker, links: [{iss: i, sub: alice}], eligibility: [{role: iam, scope: {rules: [one]}}]}
  - {id: eve, name: Eve, eligibility: [{role: holdgate-auditor}]}
groups: [{id: team, name: Team, members: [alice]}]
";
    let (code, shown, error) = import(text, false).await;
    assert_eq!((code, error.as_str()), (0, ""));
    let expected = "call person `alice` Alice Baker
give `alice` the identity `alice` at `i`
make `alice` eligible for `iam`
add person `eve`, Eve
make `eve` eligible for `holdgate-auditor`
add group `team`, Team
add `alice` to group `team`
";
    assert_eq!(shown, format!("{expected}nothing was written; add `--yes` to do this\n"));
    assert_eq!(import(text, true).await.1, format!("{expected}done: 7\n"));
    assert_eq!(import(text, true).await.1, "nothing to add or change\n");
    let less = "format: 1\npeople: [{id: alice, name: Alice Baker}]\ngroups: [{id: team, name: Team, members: []}]";
    let kept = "stays: identity `alice` at `i` of `alice`
stays: eligibility 2 of `alice` for `iam`
stays: member `alice` of `team`
stays: person `eve`
nothing to add or change
";
    assert_eq!(import(less, true).await.1, kept);
    let other = "format: 1\npeople: [{id: carl, name: Carl}, {id: mallory, name: M, links: [{iss: i, sub: alice}]}]";
    let (code, _, error) = import(other, true).await;
    assert!(code == 1 && error.contains("the identity `alice` at `i` belongs to a person already"), "{error}");
    let (_, listed, _) = run(&data, &["eligibility", "list", "--person", "carl"], "").await;
    assert_eq!(listed, "", "all or nothing");
    assert!(import(less, true).await.1.lines().all(|line| !line.contains("carl")), "all or nothing");
}

#[test]
fn a_directory_file_says_where_a_scope_is_wrong_and_what_to_mend() {
    let check = |eligibility: &str, words: &str| {
        let text = format!("format: 1\npeople: [{{id: a, name: A, eligibility: [{{role: r, scope: '*'}}, {eligibility}]}}]");
        let found = holdgate_approval::directory::Directory::parse(&text).unwrap_err().to_string();
        assert!(found.starts_with("people[0] `a`: eligibility[1]: ") && found.contains(words), "{found}");
    };
    check("{role: r}", "`scope` is `*` (all), a policy's id, or {rules, groups, agents, policy}");
    check("{role: r, scope: 7}", "`scope` is `*`");
    check("{role: r, scope: ''}", "`scope` is `*`");
    check("{role: r, scope: {rule: [a]}}", "unknown field `rule`");
    check("{role: r, scope: {rules: ['a*b']}}", "`a*b` is neither a rule's id");
    check("{role: r, scope: {rules: []}}", "`scope.rules` has 1 to 256 entries");
    check("{role: r, scope: {groups: ['']}}", "`scope.groups` has 1 to 512 bytes");
    check("{role: '', scope: '*'}", "`role` has 1 to 512 bytes");
    check("{role: holdgate-admin, scope: guard}", "`holdgate-admin` has no scope; leave it out");
    check("{role: r, scope: '*', from: 2026-02-01, until: 2026-01-01}", "ends before it begins");
}

/// What stood in the databases before eligibility had scopes means the same afterwards.
#[tokio::test]
async fn a_scope_of_an_older_database_keeps_its_meaning() {
    let world = World::new().await;
    let migration = crate::database::AUTHORITY;
    let line = migration.lines().find(|line| line.contains("nullif(scope, '*')")).unwrap();
    let converted = line.trim().trim_end_matches(',');
    let sql = format!("SELECT {converted} AS scope FROM (SELECT 'guard' AS scope UNION ALL SELECT '*') AS old ORDER BY 1");
    let rows = world.service.store.read().await.unwrap().rows(sql, vec![]).await.unwrap();
    let scopes: Vec<Scope> = rows.iter().map(|row| row.json("scope").unwrap()).collect();
    let policy = |policy: Option<&str>| Scope { policy: policy.map(ToOwned::to_owned), ..Scope::default() };
    assert_eq!(scopes, [policy(Some("guard")), policy(None)]);
}
