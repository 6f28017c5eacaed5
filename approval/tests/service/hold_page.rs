//! What the page of a hold tells: who decided under what authority, after what look, and what of the request was seen.

use axum::{body::Body, http::Request};
use holdgate_approval::service::{Settings, who::Who};
use holdgate_protocol::{Escalation, Factor, Hash, Pointer};
use serde_json::json;

use crate::support::{World, agent, policy, requirement, send};

/// The page of a hold without its tags, in one line.
async fn told(world: &World, person: &str, hold: &str) -> String {
    plain(&world.sign_in(person).await.get(&format!("/holds/{hold}")).await.text)
}

fn plain(html: &str) -> String {
    let parts = html.split('<').enumerate();
    let text: Vec<&str> = parts.map(|(at, part)| if at == 0 { part } else { part.split_once('>').unwrap().1 }).collect();
    let words: Vec<&str> = text.iter().flat_map(|text| text.split_whitespace()).collect();
    words.join(" ")
}

#[tokio::test]
async fn who_stands_for_which_factor_is_shown_as_the_ledger_has_it() {
    let world = World::new().await;
    let (ask, hold) = world.held(&["two"], "a").await;
    let bob = world.sign_in("bob").await;
    bob.get(&format!("/holds/{hold}")).await;
    world.clock.advance(125);
    assert_eq!(bob.decide(&hold, "approve").await.json()["state"], "pending");
    let page = told(&world, "bob", &hold).await;
    assert!(page.contains("iam met by Bob Baker") && page.contains("sec 1 of 1 missing"), "{page}");
    world.sign_in("alice").await.decide(&hold, "approve").await;
    // Bob made room: what he said as `iam` counts as `sec`.
    for _ in 0..2 {
        let page = told(&world, "alice", &hold).await;
        assert!(page.contains("iam met by Alice Archer") && page.contains("sec met by Bob Baker"), "{page}");
        assert!(page.contains("Bob Baker (bob) approved as sec"), "{page}");
        assert!(page.contains("first opened 2 min 5 s before") && page.contains("decided without opening this page"));
        assert!(page.contains("with a password of this service"), "{page}");
        world.redeem(&hold, &ask, 1).await;
    }
    let detail = bob.get(&format!("/api/holds/{hold}")).await.json();
    assert_eq!(detail["filled"], json!([
        {"role": "sec", "person": "bob", "escalated": false}, {"role": "iam", "person": "alice", "escalated": false}
    ]));
    assert_eq!((&detail["missing"], &detail["decisions"][0]["looked"]), (&json!([]), &json!(125)));
    let page = told(&world, "alice", &hold).await;
    for line in [
        "held by policy guard (serial 1) 2026-09-21 14:13:20 UTC Bob Baker opened this page first",
        "Bob Baker approved as iam; others are missing looked at it",
        "Alice Archer approved as iam: all that is needed",
        "used: the one request was let through",
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }
    let seqs: Vec<_> = detail["history"].as_array().unwrap().iter().filter_map(|one| one["seq"].as_u64()).collect();
    assert!(seqs.len() == 4 && seqs.is_sorted() && seqs.iter().all(|seq| page.contains(&format!("#{seq}"))), "{page}");
}

#[tokio::test]
async fn the_page_of_what_has_ended_stays_as_it_was() {
    let world = World::new().await;
    let (ask, hold) = world.held(&["one"], "a").await;
    let alice = world.sign_in("alice").await;
    alice.decide(&hold, "approve").await;
    assert!(world.redeem(&hold, &ask, 1).await.grant.is_some());
    // What Alice may do ends, and the policy changes its mind.
    let ann = world.sign_in("ann").await;
    let person = ann.get("/api/people/alice").await.json();
    let id = person["eligibility"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(ann.post(&format!("/api/eligibility/{id}/end"), json!({"reason": "left"})).await.status, 200);
    let (signed, next) = policy(2, |bundle| {
        for rule in &mut bundle.rules {
            rule.reason = Some("Another reason".into());
        }
    });
    assert_eq!(world.publish(&signed, &next.rev).await.status, 201);
    for person in ["alice", "audra"] {
        let page = told(&world, person, &hold).await;
        assert!(page.contains("iam met by Alice Archer") && !page.contains("missing"), "{page}");
        assert!(page.contains("Because of one") && !page.contains("Another reason"), "{page}");
    }
    let detail = alice.get(&format!("/api/holds/{hold}")).await.json();
    assert_eq!((&detail["rules"][0]["reason"], &detail["missing"]), (&json!("Because of one"), &json!([])));
    assert_eq!(detail["filled"][0]["person"], "alice");

    // Of what nobody approved nothing is missing any more either, and who approved is still told.
    let (_, both) = world.held(&["two"], "b").await;
    world.sign_in("bob").await.decide(&both, "approve").await;
    world.sign_in("olivia").await;
    world.clock.advance(1800);
    let page = told(&world, "bob", &both).await;
    assert!(page.contains("iam met by Bob Baker") && page.contains("sec not met"), "{page}");
    assert!(page.contains("not all who were asked decided in time") && !page.contains("of 1 missing"), "{page}");
}

#[tokio::test]
async fn who_took_it_back_and_why_is_told() {
    let world = World::new().await;
    let (_, hold) = world.held(&["one"], "a").await;
    let (alice, bob) = (world.sign_in("alice").await, world.sign_in("bob").await);
    alice.decide(&hold, "approve").await;
    bob.post(&format!("/api/holds/{hold}/revoke"), json!({"reason": "wrong <account>"})).await;
    let html = alice.get(&format!("/holds/{hold}")).await.text;
    let page = plain(&html);
    assert!(page.contains("Cancelled just now : Bob Baker took it back. wrong &lt;account&gt;"), "{page}");
    assert!(page.contains("Bob Baker took it back as iam"), "{page}");
    let history = alice.get(&format!("/api/holds/{hold}")).await.json()["history"].clone();
    let last = history.as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["kind"], &last["person"], &last["reason"]), (&json!("hold.cancelled"), &json!("bob"), &json!("wrong <account>")));

    let (_, two) = world.held(&["two"], "b").await;
    alice.decide(&two, "approve").await;
    alice.post(&format!("/api/holds/{two}/withdraw"), json!({"reason": "had not read it"})).await;
    let html = bob.get(&format!("/holds/{two}")).await.text;
    assert!(html.contains("decision void"), "what was withdrawn is not shown as an approval");
    let page = plain(&html);
    assert!(page.contains("it does not count. had not read it") && page.contains("iam 1 of 1 missing"), "{page}");
    let decision = bob.get(&format!("/api/holds/{two}")).await.json()["decisions"][0].clone();
    assert_eq!(decision["withdrawn_reason"], "had not read it");
    // The figures count the one approval that was not withdrawn.
    let figures = world.sign_in("audra").await.get("/api/figures").await.json();
    assert_eq!((figures["reviewers"].as_array().unwrap().len(), &figures["reviewers"][0]["approvals"]), (1, &json!(1)));
}

#[tokio::test]
async fn before_deciding_a_reviewer_reads_by_what_authority() {
    let world = World::new().await;
    let (_, hold) = world.held(&["two"], "a").await;
    let page = told(&world, "erin", &hold).await;
    assert!(page.contains("You decide as iam (granted by init 2026-09-21 14:13:20 UTC, until 2026-09-21 14:33:20 UTC)"), "{page}");
    let page = told(&world, "bob", &hold).await;
    assert!(page.contains("You decide as iam") && page.contains("You have sec too"), "{page}");
    assert!(page.contains("Answer for it Olivia Owens (olivia)"), "{page}");
    world.sign_in("bob").await.decide(&hold, "approve").await;
    assert_eq!(world.sign_in("alice").await.decide(&hold, "approve").await.json()["state"], "approved");

    // An approval that would not count is not offered; a denial is.
    let (_, hold) = world.held(&["two"], "b").await;
    world.sign_in("alice").await.decide(&hold, "approve").await;
    let erin = world.sign_in("erin").await;
    let html = erin.get(&format!("/holds/{hold}")).await.text;
    assert!(plain(&html).contains("An approval of yours would not count"), "{html}");
    assert!(html.contains("class=\"approve\" disabled") && html.contains("class=\"deny\">Deny"), "{html}");
    let list = erin.get("/holds").await.text;
    assert!(list.contains("you can only deny"), "{list}");

    // The owner's group by name, and the escalation.
    let (signed, next) = policy(2, |bundle| {
        bundle.requirements[0].escalate = Some(Escalation { role: "lead".into(), after: 50 });
        bundle.requirements[0].factors = vec![Factor { role: "sec".into(), approvals: 1 }];
    });
    assert_eq!(world.publish(&signed, &next.rev).await.status, 201);
    let mut ask = world.ask(&["one"], "c");
    ask.agent = holdgate_protocol::Agent { owner: Some("group/platform".into()), ..agent() };
    let hold = world.open(&ask).await.1.hold;
    let page = told(&world, "lena", &hold).await;
    assert!(page.contains("your role may step in later"), "{page}");
    world.clock.advance(901);
    let page = told(&world, "lena", &hold).await;
    assert!(page.contains("You decide as sec , by escalation as lead"), "{page}");
    assert!(page.contains("group/platform (Platform team)") && page.contains("Alice Archer (alice), Olivia Owens (olivia)"), "{page}");
    let page = told(&world, "alice", &hold).await;
    assert!(page.contains("You cannot decide here: nobody decides on a request of their own agent."), "{page}");
}

#[tokio::test]
async fn what_a_reviewer_does_not_see_stands_beside_the_decision() {
    let world = World::new().await;
    let (signed, next) = policy(2, |bundle| {
        bundle.requirements[0].show = Some(vec!["/columns".parse::<Pointer>().unwrap(), "/format".parse().unwrap()]);
    });
    assert_eq!(world.publish(&signed, &next.rev).await.status, 201);
    let mut ask = world.ask(&["one"], r#"{"columns":[],"x":"hmac"}"#);
    ask.components = vec!["@path".into(), "content-digest".into(), "content-type".into(), "cookie".into(), "x-token".into()];
    ask.request.body.size = 300;
    ask.request.body.redacted = vec!["/x".parse().unwrap()];
    let hold = world.open(&ask).await.1.hold;
    let page = told(&world, "alice", &hold).await;
    for text in [
        "The policy shows only /columns, /format; of all else an HMAC stands here, 25 bytes in all.",
        "Body shown only /columns, /format",
        "Part of the request and not shown: cookie x-token",
        "The policy shows only /columns, /format of the body. Headers that are not shown: cookie, x-token. Deny Approve",
    ] {
        assert!(page.contains(text), "{text} in {page}");
    }
    assert!(!page.contains("after redaction"));
    let mut ask = world.ask(&["two"], "x");
    ask.request.body.b64 = None;
    ask.request.body.size = 77;
    let hold = world.open(&ask).await.1.hold;
    assert!(told(&world, "alice", &hold).await.contains("The body is not shown. Deny"));
}

#[tokio::test]
async fn a_decision_is_on_the_request_that_was_shown() {
    let world = World::new().await;
    let (ask, hold) = world.held(&["one"], "a").await;
    let alice = world.sign_in("alice").await;
    let page = alice.get(&format!("/holds/{hold}")).await.text;
    assert!(page.contains(&format!("name=\"digest\" value=\"{}\"", ask.digest)));
    let path = format!("/holds/{hold}/decisions");
    let form = |digest: &str| format!("csrf={}&verdict=approve&digest={digest}", alice.csrf);
    let other = world.post_form(&path, &alice.cookie, &form(&Hash::of(b"other").to_string())).await;
    assert!(other.status == 409 && other.text.contains("another request"), "{}", other.text);
    assert_eq!(world.post_form(&path, &alice.cookie, &form("nonsense")).await.status, 400);
    let own = world.post_form(&path, &alice.cookie, &form(&ask.digest.to_string())).await;
    assert_eq!(own.status, 303);
}

#[tokio::test]
async fn what_was_typed_is_kept_where_it_still_fits() {
    let world = World::with(Settings::default()).await;
    let (signed, next) = policy(2, |bundle| {
        bundle.requirements[0].codes = vec!["ticket".into(), "incident".into()];
        bundle.requirements[0] = bundle.requirements[0].clone().normalise();
    });
    assert_eq!(world.publish(&signed, &next.rev).await.status, 201);
    let (_, hold) = world.held(&["one"], "a").await;
    let alice = world.sign_in("alice").await;
    let path = format!("/holds/{hold}/decisions");
    let post = async |csrf: &str, more: &str| {
        world.post_form(&path, &alice.cookie, &format!("csrf={csrf}&verdict=deny&{more}")).await
    };
    let kept = |page: &str| page.contains(">line one\nline two</textarea>") && page.contains("<option selected>ticket</option>");
    // A form of an earlier sign-in decides nothing, and keeps what was typed.
    let typed = "reason=line+one%0D%0Aline+two&code=ticket";
    let old = post("x", typed).await;
    assert!(old.status == 403 && kept(&old.text), "{}", old.text);
    world.clock.advance(901);
    let stale = post(&alice.csrf, typed).await;
    assert!(stale.status == 403 && kept(&stale.text), "{}", stale.text);
    assert!(stale.text.contains(&format!("/signin?again=1&amp;next=/holds/{hold}")), "{}", stale.text);
    let list = alice.get("/holds").await.text;
    assert!(list.contains("/signin?again=1&amp;next=/holds") && !list.contains("Deny selected"), "{list}");
    // Somebody else was faster: the reason for a denial is none for a revocation.
    let bob = world.sign_in("bob").await;
    let again = world.sign_in("alice").await;
    let body = json!({"verdict": "approve", "code": "incident"});
    assert_eq!(bob.post(&format!("/api/holds/{hold}/decisions"), body).await.status, 200);
    let form = format!("csrf={}&verdict=deny&{typed}", again.csrf);
    let late = world.post_form(&path, &again.cookie, &form).await;
    assert!(late.status == 409 && late.text.contains("Revoke the approval") && !late.text.contains("line one"), "{}", late.text);
    // A line break of a browser is one.
    let revoke = format!("csrf={}&reason=a%0D%0Ab", again.csrf);
    world.post_form(&format!("/holds/{hold}/revoke"), &again.cookie, &revoke).await;
    let page = again.get(&format!("/holds/{hold}")).await.text;
    assert!(page.contains("a\nb</blockquote>") && !page.contains("\\u{d}"), "{page}");
}

#[tokio::test]
async fn many_are_decided_after_being_asked_once_more() {
    let world = World::new().await;
    let (signed, next) = policy(2, |bundle| {
        bundle.requirements[1] = holdgate_protocol::Requirement { codes: vec!["ticket".into()], ..requirement(&[("iam", 1)]) }.normalise();
    });
    assert_eq!(world.publish(&signed, &next.rev).await.status, 201);
    let (_, plain_one) = world.held(&["one"], "a").await;
    let (_, coded) = world.held(&["two"], "b").await;
    let mut ask = world.ask(&["one"], "unseen");
    ask.request.path = "/a\"onfocus=x \u{202e}b".into();
    world.open(&ask).await;
    let mut ask = world.ask(&["one"], "c");
    ask.agent = holdgate_protocol::Agent { sub: "alices".into(), owner: Some("alice".into()), ..agent() };
    let own = world.open(&ask).await.1.hold;
    let alice = world.sign_in("alice").await;
    let list = alice.get("/holds").await.text;
    assert!(list.contains("not yours: nobody decides on a request of their own agent"), "{list}");
    assert!(list.contains("aria-label=\"Select POST iam.example/a&#34;onfocus=x \\u{202e}b\""), "{list}");
    let ticks = |hold: &str| list.contains(&format!("name=\"hold\" value=\"{hold}\""));
    assert!(ticks(&plain_one) && ticks(&coded) && !ticks(&own));
    assert!(list.contains("<textarea id=\"reason\"") && list.contains("<option>ticket</option>"), "{list}");
    let holds = format!("hold={plain_one}&hold={coded}&hold={own}&hold=nowhere");
    let form = format!("csrf={}&verdict=deny&reason=all&code=ticket&{holds}", alice.csrf);
    let asked = world.post_form("/holds/decisions", &alice.cookie, &form).await;
    assert_eq!(asked.status, 200);
    assert!(asked.text.contains("Deny these 2 requests?") && asked.text.contains("2 of the selected are left out"), "{}", asked.text);
    assert!(asked.text.contains("iam.example/iam/users/7/roles") && !asked.text.contains(&own));
    let state = async |hold: &str| alice.get(&format!("/api/holds/{hold}")).await.json()["state"].clone();
    assert_eq!(state(&plain_one).await, "pending", "asking decides nothing");
    let form = format!("csrf={}&confirmed=yes&verdict=deny&reason=all&code=ticket&hold={plain_one}&hold={coded}", alice.csrf);
    let done = world.post_form("/holds/decisions", &alice.cookie, &form).await;
    assert!(done.status == 200 && done.text.contains("<h1>2 denied</h1>"), "{}", done.text);
    assert_eq!([state(&plain_one).await, state(&coded).await, state(&own).await], ["denied", "denied", "pending"]);
    // Who cannot decide on anything is offered nothing.
    let audra = world.sign_in("audra").await;
    let list = audra.get("/holds").await.text;
    assert!(list.contains(">not yours</span>") && !list.contains("type=\"checkbox\"") && !list.contains("Deny selected"));
    let denied = audra.get("/holds?state=denied").await.text;
    assert!(plain(&denied).contains("Alice Archer denied"), "{denied}");
    // What is asked about is shown to those only who see it.
    let carol = world.sign_in("carol").await;
    let form = format!("csrf={}&verdict=deny&hold={own}", carol.csrf);
    let hidden = world.post_form("/holds/decisions", &carol.cookie, &form).await;
    assert!(hidden.status == 200 && !hidden.text.contains("/iam/users/7/roles"), "{}", hidden.text);
}

#[tokio::test]
async fn what_narrows_the_list_stays_with_it() {
    let world = World::new().await;
    for body in ["a", "b", "c"] {
        world.held(&["one"], body).await;
    }
    world.held(&["two"], "d").await;
    let alice = world.sign_in("alice").await;
    let page = alice.get("/holds?state=pending&limit=2&rule=one&sub=&group=&path=%2Fiam%2F").await.text;
    assert_eq!(page.matches("name=\"hold\"").count(), 2);
    assert!(page.contains("name=\"rule\" value=\"one\"") && page.contains("Narrowed:"), "{page}");
    let next = page.split("<a href=\"").filter_map(|link| link.split_once("\">Next page")).next().unwrap().0;
    let next = next.replace("&#38;", "&").replace("&amp;", "&");
    assert!(next.contains("rule=one&path=%2Fiam%2F"), "{next}");
    let second = alice.get(&next).await.text;
    assert_eq!(second.matches("name=\"hold\"").count(), 1, "{second}");
    assert!(page.contains("/holds?state=denied&#38;rule=one") || page.contains("/holds?state=denied&amp;rule=one"), "{page}");
    let used = alice.get("/holds?state=used&rule=nothing").await.text;
    assert!(used.contains("Nothing fits."), "{used}");
}

#[tokio::test]
async fn a_browser_that_asks_for_pages_gets_pages() {
    let world = World::new().await;
    let (_, hold) = world.held(&["one"], "a").await;
    let alice = world.sign_in("alice").await;
    let ask = async |method: &str, path: &str, accept: &str| {
        let request = Request::builder().method(method).uri(path).header("cookie", &alice.cookie).header("accept", accept);
        send(&world.people, request.body(Body::empty()).unwrap()).await
    };
    let html = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";
    let decisions = format!("/holds/{hold}/decisions");
    for (method, path, status) in [
        ("GET", "/nowhere", 404),
        ("GET", decisions.as_str(), 405),
        ("GET", "/holds?state=nonsense", 400),
        ("GET", "/people?nonsense=1", 400),
        ("GET", "/holds/nowhere", 404),
        ("POST", "/holds/decisions", 415),
    ] {
        let answer = ask(method, path, html).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}");
        assert!(answer.header("content-type").starts_with("text/html"), "{path}: {}", answer.text);
        assert!(answer.header("content-security-policy").contains("default-src 'none'"), "{path}");
    }
    assert_eq!(ask("GET", "/nowhere", "*/*").await.error(), "not_found");
    assert_eq!(ask("GET", "/api/nowhere", html).await.error(), "not_found");
    let page = alice.get(&format!("/holds/{hold}")).await.text;
    assert!(!page.contains("href=\"\""), "{page}");
}

#[tokio::test]
async fn only_those_see_the_way_to_figures_and_people_whose_they_are() {
    let world = World::new().await;
    let menu = async |person: &str| world.sign_in(person).await.get("/holds").await.text.contains("href=\"/people\"");
    assert_eq!([menu("alice").await, menu("ann").await, menu("audra").await], [false, true, true]);
    // A session that has ended leads back to where its form was.
    let alice = world.sign_in("alice").await;
    world.service.sign_out(&Who::with_token(alice.cookie.split_once('=').unwrap().1)).await.unwrap();
    let answer = world.post_form("/people", &alice.cookie, "what=grant").await;
    assert_eq!(answer.header("location"), "/signin?next=/people");
}
