//! The page of people: every form of it, by the rules that the API has.

use holdgate_approval::service::Settings;
use serde_json::Value;

use crate::support::{Answer, Reviewer, World};

/// Sends a form of the page.
async fn send(world: &World, who: &Reviewer<'_>, form: &str) -> Answer {
    world.post_form("/people", &who.cookie, &format!("csrf={}&{form}", who.csrf)).await
}

/// The eligibility of a person, as the API has it.
async fn eligibility(ann: &Reviewer<'_>, person: &str) -> Vec<Value> {
    ann.get(&format!("/api/eligibility?person={person}")).await.json()["items"].as_array().unwrap().clone()
}

async fn id(ann: &Reviewer<'_>, person: &str) -> String {
    eligibility(ann, person).await[0]["id"].as_str().unwrap().to_owned()
}

/// How often something was recorded that is no sign-in.
async fn recorded(world: &World) -> u64 {
    world.number("SELECT count(*) AS n FROM ledger WHERE kind <> 'person.signed_in'").await
}

#[tokio::test]
async fn administrators_see_who_may_decide_on_what_and_auditors_read_it() {
    let world = World::new().await;
    let (ann, audra) = (world.sign_in("ann").await, world.sign_in("audra").await);
    for (reader, changes) in [(&ann, true), (&audra, false)] {
        let page = reader.get("/people").await;
        assert_eq!(page.status, 200);
        for shown in ["Alice Archer", "Carol Chen", "everything", "policy other", "until 2021-01-02 00:00:00 UTC", "gives nothing now: over", "due in 90 d"] {
            assert!(page.text.contains(shown), "{shown} in {}", page.text);
        }
        assert_eq!(page.text.contains("action=\"/people\" class=\"stack\""), changes, "an auditor changes nothing");
        assert!(!page.text.contains("Waiting for a second person"));
    }
    let narrowed = ann.get("/people?person=carol&role=iam").await.text;
    assert!(narrowed.contains("Carol Chen") && !narrowed.contains("Bob Baker"), "{narrowed}");
    let soon = async || ann.get("/people?due=30d").await.text.contains("Alice Archer</bdi><br>");
    assert!(!soon().await);
    assert_eq!(ann.get("/people?after=x").await.status, 400);
    assert_eq!(ann.get("/people?x=1").await.status, 400);
    // Beyond the time of a certification nothing is given any more, and that is said.
    world.clock.advance(61 * 24 * 3600);
    let ann = world.sign_in("ann").await;
    assert!(ann.get("/people?due=30d").await.text.contains("due in 29 d"));
    let carol = world.sign_in("carol").await;
    let refused = carol.get("/people").await;
    assert!(refused.status == 403 && refused.text.contains("for administrators and auditors"), "{}", refused.text);
}

#[tokio::test]
async fn each_form_makes_the_change_that_it_names() {
    let world = World::new().await;
    let ann = world.sign_in("ann").await;
    let grant = "what=grant&person=lena&role=iam&rules=one%2C+iam.*&groups=edge&policy=guard&reason=stands+in\
                 &agents=https%3A%2F%2Fidp.example+bot%0D%0A&from=&until=2027-01-31T12%3A30";
    assert_eq!(send(&world, &ann, grant).await.status, 303);
    let granted = eligibility(&ann, "lena").await.pop().unwrap();
    assert_eq!(granted["scope"], serde_json::json!({
        "rules": ["one", "iam.*"], "groups": ["edge"], "policy": "guard", "agents": [{"iss": "https://idp.example", "sub": "bot"}]
    }));
    assert_eq!((&granted["until"], &granted["granted_by"]), (&serde_json::json!(1_801_398_600_u64), &"ann".into()));
    let sql = "SELECT count(*) AS n FROM ledger WHERE kind = 'eligibility.granted' AND data LIKE '%\"reason\":\"stands in\"%'";
    assert_eq!(world.number(sql).await, 1);
    let page = ann.get("/people?person=lena").await.text;
    assert!(page.contains("rules one, iam.*; gateway groups edge; agents bot at https://idp.example; policy guard"), "{page}");

    world.clock.advance(100);
    let alice = id(&ann, "alice").await;
    let certify = send(&world, &ann, &format!("what=certify&id={alice}&reason=still+needed&at_due=30d")).await;
    assert_eq!((certify.status.as_u16(), certify.header("location")), (303, "/people?due=30d"));
    let certified = &eligibility(&ann, "alice").await[0]["certified_at"];
    assert_eq!(certified, &serde_json::json!(crate::support::NOW + 100));
    assert_eq!(send(&world, &ann, &format!("what=end&id={alice}&reason=left")).await.status, 303);
    assert!(eligibility(&ann, "alice").await.is_empty());

    let bob = world.sign_in("bob").await;
    assert_eq!(send(&world, &ann, "what=suspend&person=bob&reason=on+leave").await.status, 303);
    assert_eq!(bob.get("/api/session").await.status, 401, "and the sessions end");
    assert!(ann.get("/people").await.text.contains("suspended</span>"));
    assert_eq!(send(&world, &ann, "what=resume&person=bob&reason=back").await.status, 303);
    world.sign_in("bob").await;
}

#[tokio::test]
async fn what_is_wrong_with_a_form_is_said_on_the_page() {
    let world = World::new().await;
    let ann = world.sign_in("ann").await;
    let (alice, own) = (id(&ann, "alice").await, id(&ann, "ann").await);
    let before = recorded(&world).await;
    for (form, status, says) in [
        (format!("what=certify&id={alice}&reason="), 422, "needs a reason"),
        (format!("what=end&id={alice}"), 422, "needs a reason"),
        ("what=end&id=999&reason=x".to_owned(), 404, "no eligibility `999`"),
        (format!("what=certify&id={own}&reason=x"), 403, "nobody changes their own authority"),
        ("what=resume&person=alice&reason=x".to_owned(), 409, "not suspended"),
        ("what=suspend&person=nobody%0A&reason=x".to_owned(), 404, "no person has the id"),
        ("what=grant&person=lena&role=iam&rules=*x*&reason=x".to_owned(), 422, "neither a rule"),
        ("what=grant&person=lena&role=iam&agents=bot&reason=x".to_owned(), 422, "is no agent"),
        ("what=grant&person=lena&role=iam&until=soon&reason=x".to_owned(), 422, "is a moment such as"),
        ("what=grant&person=lena&role=iam&until=2020-01-01T00%3A00&reason=x".to_owned(), 422, "has passed already"),
        ("what=grant&person=lena&role=&reason=x".to_owned(), 422, "`role` has"),
        ("what=grant&person=lena&role=holdgate-admin&rules=one&reason=x".to_owned(), 422, "has no scope"),
        ("what=grant&person=ann&role=iam&reason=x".to_owned(), 403, "nobody changes their own authority"),
        ("what=confirm&id=1&reason=".to_owned(), 404, "no change `1` waits"),
        ("what=nonsense&reason=x".to_owned(), 400, "names no change"),
        (String::new(), 400, "names no change"),
    ] {
        let answer = send(&world, &ann, &form).await;
        assert_eq!(answer.status.as_u16(), status, "{form}");
        let shown = answer.text.contains("Not changed:") && answer.text.contains(says);
        assert!(shown && answer.header("content-type").starts_with("text/html"), "{form}: {}", answer.text);
    }
    let typed = send(&world, &ann, "what=grant&person=lena&role=iam&rules=*x*&reason=because+of+%3Cthat%3E").await.text;
    assert!(typed.contains("value=\"*x*\"") && typed.contains("because of &#60;that&#62;</textarea>"), "{typed}");
    assert_eq!(recorded(&world).await, before, "and nothing is recorded");
}

#[tokio::test]
async fn nobody_else_changes_anything_by_the_page() {
    let world = World::new().await;
    let ann = world.sign_in("ann").await;
    let alice = id(&ann, "alice").await;
    let forms = [
        format!("what=certify&id={alice}&reason=x"),
        format!("what=end&id={alice}&reason=x"),
        "what=suspend&person=bob&reason=x".to_owned(),
        "what=resume&person=bob&reason=x".to_owned(),
        "what=grant&person=lena&role=iam&reason=x".to_owned(),
        "what=suspend-agent&iss=https%3A%2F%2Fidp.example&sub=bot&reason=x".to_owned(),
        "what=confirm&id=1&reason=x".to_owned(),
        "what=reject&id=1&reason=x".to_owned(),
    ];
    let before = recorded(&world).await;
    for person in ["alice", "carol", "audra", "olivia"] {
        let signed = world.sign_in(person).await;
        for form in &forms {
            let answer = send(&world, &signed, form).await;
            assert_eq!(answer.status, 403, "{person}: {form}");
            assert!(answer.text.contains("administrators"), "{person}: {}", answer.text);
        }
    }
    let bob = world.sign_in("bob").await;
    for form in &forms {
        for csrf in ["", "x", &bob.csrf] {
            let answer = world.post_form("/people", &ann.cookie, &format!("csrf={csrf}&{form}")).await;
            assert_eq!(answer.status, 403, "{form}");
        }
    }
    // A change needs a recent sign-in; the page says where to get one.
    world.clock.advance(901);
    for form in &forms {
        let answer = send(&world, &ann, form).await;
        assert_eq!(answer.status, 403, "{form}");
        assert!(answer.text.contains("/signin?again=1&amp;next=/people"), "{}", answer.text);
    }
    assert_eq!(recorded(&world).await, before);
}

#[tokio::test]
async fn a_second_administrator_confirms_what_they_read() {
    let world = World::with(Settings { second_person: true, ..Settings::default() }).await;
    let (ann, abe) = (world.sign_in("ann").await, world.sign_in("abe").await);
    let grant = "what=grant&person=lena&role=sec&policy=guard&until=2027-01-31T00%3A00&reason=stands+in+for+%3CBob%3E";
    let proposed = send(&world, &ann, grant).await;
    assert_eq!((proposed.status.as_u16(), proposed.header("location")), (303, "/people#waiting"));
    let page = abe.get("/people").await.text;
    for shown in ["make `lena` eligible for `sec`", "for policy guard; from now until 2027-01-31 00:00:00 UTC", "stands in for &lt;Bob&gt;", "Ann Admin"] {
        assert!(page.contains(shown), "{shown} in {page}");
    }
    assert!(page.contains("value=\"confirm\""));
    let own = ann.get("/people").await.text;
    assert!(!own.contains("value=\"confirm\"") && own.contains("Take it back"), "{own}");
    let audra = world.sign_in("audra").await.get("/people").await.text;
    assert!(audra.contains("make `lena` eligible") && !audra.contains("value=\"reject\""));
    let refused = send(&world, &ann, "what=confirm&id=1&reason=").await;
    assert!(refused.status == 403 && refused.text.contains("another administrator"), "{}", refused.text);
    assert_eq!(eligibility(&ann, "lena").await.len(), 1);
    assert_eq!(send(&world, &abe, "what=confirm&id=1&reason=").await.status, 303);
    assert_eq!(eligibility(&ann, "lena").await.len(), 2);
    // To certify needs a second person too, who reads what it is about; what takes away does not wait.
    let alice = id(&ann, "alice").await;
    send(&world, &ann, &format!("what=certify&id={alice}&reason=x")).await;
    assert!(abe.get("/people").await.text.contains("`alice` as `iam` for everything"));
    assert_eq!(send(&world, &abe, "what=reject&id=2&reason=no").await.status, 303);
    assert!(!abe.get("/people").await.text.contains("Waiting for a second person"));
    assert_eq!(send(&world, &ann, &format!("what=end&id={alice}&reason=x")).await.header("location"), "/people");
    assert!(eligibility(&ann, "alice").await.is_empty());
}

#[tokio::test]
async fn an_agent_whose_suspension_is_proposed_is_suspended_there() {
    let world = World::with(Settings { propose_suspension: 2, deny_cooldown: 0, ..Settings::default() }).await;
    let alice = world.sign_in("alice").await;
    for body in ["a", "b"] {
        let (_, hold) = world.held(&["one"], body).await;
        alice.decide(&hold, "deny").await;
    }
    let ann = world.sign_in("ann").await;
    let page = ann.get("/people").await.text;
    assert!(page.contains("Agents whose suspension is proposed") && page.contains("https://idp.example"), "{page}");
    let form = "what=suspend-agent&iss=https%3A%2F%2Fidp.example&sub=bot&reason=many+denials";
    assert_eq!(send(&world, &ann, form).await.status, 303);
    assert!(!ann.get("/people").await.text.contains("Agents whose suspension is proposed"));
    let (status, error) = world.refused(&world.ask(&["one"], "c")).await;
    assert_eq!((status, error.as_str()), (403, "agent_suspended"));
}
