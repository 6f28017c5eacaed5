//! Notices: what is told, to whom, at least once, in order, and to nobody else.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use holdgate_approval::{
    service::{
        Service,
        suspend::{Resume, Suspend},
    },
    store::Database,
};
use holdgate_protocol::Actor;

use crate::{
    receiver::{Does, Receiver, deliver, hooks},
    support::{NOW, World},
};

const DAY: u64 = 24 * 60 * 60;

/// The service of a world with one hook.
fn told(world: &World, receiver: &Receiver) -> Service {
    world.service.clone().with_notices(hooks(&[("chat", &receiver.url)], ""))
}

async fn count(world: &World, state: &str) -> u64 {
    let answer = world.sign_in("audra").await.get(&format!("/api/notices?state={state}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["total"].as_u64().unwrap()
}

/// Waits until a number of notices is in a state.
async fn until(world: &World, state: &str, number: u64) {
    for _ in 0..1000 {
        let sql = format!("SELECT count(*) AS n FROM deliveries WHERE state = '{state}'");
        if world.number(sql).await == number {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{number} notices did not come to be {state}");
}

#[tokio::test]
async fn a_hook_is_told_in_order_signed_and_without_what_is_confidential() {
    let world = World::new().await;
    let receiver = Receiver::new([]).await;
    let service = told(&world, &receiver);
    let mut ask = world.ask(&["one"], "the body is confidential");
    ask.request.path = "/a\n<b>\u{202e}".into();
    ask.request.query = Some("token=confidential".into());
    ask.request.fields.push(("x-note".into(), "confidential".into()));
    ask.agent_reason = Some("confidential".into());
    let (_, opened) = world.open(&ask).await;
    world.sign_in("alice").await.decide(&opened.hold, "approve").await;
    world.redeem(&opened.hold, &ask, 1).await;
    let bot = Actor { iss: "https://idp.example".into(), sub: "bot".into() };
    world.service.store.write(Suspend { agent: bot.clone(), reason: "confidential".into(), now: NOW }).await.unwrap();
    world.service.store.write(Resume { agent: bot, reason: "confidential".into(), now: NOW }).await.unwrap();
    service.follow().await.unwrap();
    service.follow().await.unwrap();
    let delivering = deliver(&service);
    let got = receiver.wait(5).await;
    let events: Vec<String> = got.iter().map(|got| got.about().0).collect();
    assert_eq!(events, ["hold.opened", "hold.approved", "hold.used", "agent.suspended", "agent.resumed"]);
    assert!(got.iter().all(crate::receiver::Got::is_signed));
    assert_eq!(got.iter().map(crate::receiver::Got::id).collect::<BTreeSet<_>>().len(), 5);
    let body = got[0].json();
    assert_eq!(body["link"], format!("https://console.example/holds/{}", opened.hold));
    assert_eq!(body["hold"]["path"], "/a\\u{a}<b>\\u{202e}");
    assert_eq!((&body["hold"]["rules"][0]["id"], &body["agent"]["sub"]), (&"one".into(), &"bot".into()));
    assert_eq!(body["hold"]["rules"][0]["reason"], "Because of one");
    let all = got.iter().map(|got| got.body.as_str()).collect::<String>();
    assert!(!all.contains("confidential") && !all.contains("hg1."), "{all}");
    until(&world, "delivered", 5).await;
    delivering.stop.send(true).unwrap();
    delivering.task.await.unwrap();
    assert_eq!(receiver.got().len(), 5, "each came once");
}

#[tokio::test]
async fn an_outage_keeps_the_order_and_the_ids() {
    let world = World::new().await;
    let receiver = Receiver::new([Does::Answers(503), Does::Answers(429)]).await;
    let service = told(&world, &receiver);
    let mut holds = Vec::new();
    for number in 0..3 {
        holds.push(world.held(&["one"], &format!("{number}")).await.1);
    }
    service.follow().await.unwrap();
    let _delivering = deliver(&service);
    receiver.wait(1).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(receiver.got().len(), 1, "nothing comes before the pause is over");
    world.clock.advance(7);
    receiver.wait(2).await;
    world.clock.advance(13);
    let got = receiver.wait(5).await;
    assert_eq!(got[0].id(), got[2].id());
    let order: Vec<String> = got[2..].iter().map(|got| got.about().1).collect();
    assert_eq!(order, holds);
    assert!(got.iter().all(crate::receiver::Got::is_signed));
}

/// Waits until the oldest notice has failed so often, and lets time pass.
async fn failed(world: &World, times: u64, wait: u64) {
    let noted = format!("SELECT count(*) AS n FROM deliveries WHERE tries >= {times}");
    while world.number(noted.clone()).await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.clock.advance(wait);
}

#[tokio::test]
async fn a_notice_at_which_the_receiver_always_fails_holds_up_no_other_for_long() {
    let world = World::new().await;
    let receiver = Receiver::new((0..4).map(|_| Does::Answers(500))).await;
    let service = told(&world, &receiver);
    let (_, first) = world.held(&["one"], "a").await;
    let (_, second) = world.held(&["one"], "b").await;
    service.follow().await.unwrap();
    let _delivering = deliver(&service);
    for (times, wait) in [(1, 7), (2, 13), (3, 25)] {
        failed(&world, times, wait).await;
    }
    let got = receiver.wait(5).await;
    let about: Vec<String> = got.iter().map(|got| got.about().1).collect();
    assert_eq!(about, [&*first, &first, &first, &first, &second], "the first three could have been an outage");
    until(&world, "delivered", 1).await;
    // Nor does it hold up what comes later, and it is tried again itself.
    let (_, third) = world.held(&["one"], "c").await;
    service.follow().await.unwrap();
    assert_eq!(receiver.wait(6).await[5].about().1, third);
    world.clock.advance(50);
    assert_eq!(receiver.wait(7).await[6].about().1, first);
}

#[tokio::test]
async fn every_delivery_is_on_one_page() {
    let world = World::new().await;
    let receiver = Receiver::new([]).await;
    let ids: Vec<String> = (0..5).map(|number| format!("hook.{number}")).collect();
    let all: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), receiver.url.as_str())).collect();
    let service = world.service.clone().with_notices(hooks(&all, ""));
    for number in 0..2 {
        world.held(&["one"], &format!("{number}")).await;
    }
    service.follow().await.unwrap();
    let audra = world.sign_in("audra").await;
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = audra.get(&format!("/api/notices?state=pending&limit=3{after}")).await.json();
        found.extend(page["items"].as_array().unwrap().iter().map(|item| (item["id"].to_string(), item["hook"].to_string())));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!((found.len(), found.iter().collect::<BTreeSet<_>>().len()), (10, 10), "{found:?}");
    assert_eq!(audra.get("/api/notices?after=7").await.status, 400);
}

#[tokio::test]
async fn a_long_outage_keeps_the_order_too() {
    let world = World::new().await;
    let receiver = Receiver::new((0..5).map(|_| Does::Answers(503))).await;
    let service = told(&world, &receiver);
    let mut holds = Vec::new();
    for number in 0..3 {
        holds.push(world.held(&["one"], &format!("{number}")).await.1);
    }
    service.follow().await.unwrap();
    let _delivering = deliver(&service);
    for (times, wait) in [(1, 7), (2, 13), (3, 25)] {
        failed(&world, times, wait).await;
    }
    let got = receiver.wait(5).await;
    assert_eq!((got[3].about().1, got[4].about().1), (holds[0].clone(), holds[1].clone()), "the next one tells that it is one");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(receiver.got().len(), 5, "then all rest");
    world.clock.advance(50);
    let order: Vec<String> = receiver.wait(8).await[5..].iter().map(|got| got.about().1).collect();
    assert_eq!(order, holds);
}

#[tokio::test]
async fn a_notice_that_nobody_takes_fails_after_a_day_and_holds_up_no_other() {
    let world = World::new().await;
    let receiver = Receiver::new((0..3).map(|_| Does::Answers(400)).chain([Does::Answers(204), Does::Answers(400)])).await;
    let service = world.service.clone().with_notices(hooks(&[("chat", &receiver.url)], ", events: [hold.opened]"));
    let (_, hold) = world.held(&["one"], "a").await;
    service.follow().await.unwrap();
    let _delivering = deliver(&service);
    for (count, wait) in [(1, 7), (2, 13), (3, 0)] {
        receiver.wait(count).await;
        // The pause counts from when the failure was noted.
        let noted = format!("SELECT count(*) AS n FROM deliveries WHERE tries >= {count}");
        while world.number(noted.clone()).await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world.clock.advance(wait);
    }
    // The pending one rests; another passes it.
    world.held(&["one"], "b").await;
    service.follow().await.unwrap();
    assert_ne!(receiver.wait(4).await[3].about().1, hold);
    until(&world, "delivered", 1).await;
    assert_eq!((count(&world, "pending").await, count(&world, "failed").await), (1, 0));
    world.clock.advance(DAY);
    receiver.wait(5).await;
    until(&world, "failed", 1).await;
    let shown = world.sign_in("ann").await.get("/api/notices?state=failed").await.json();
    assert_eq!((&shown["items"][0]["hold"], &shown["items"][0]["hook"]), (&hold.as_str().into(), &"chat".into()));
    assert_eq!((&shown["items"][0]["tries"], &shown["items"][0]["error"]), (&4.into(), &"it answered 400".into()));
    assert_eq!(world.get("/api/notices", "").await.status, 401);
    // They are forgotten in the end; what no instance delivers any more is given up first.
    world.held(&["one"], "c").await;
    service.follow().await.unwrap();
    world.clock.advance(40 * DAY);
    service.forget().await.unwrap();
    assert_eq!(world.number("SELECT count(*) AS n FROM deliveries").await, 0);
    assert_eq!(world.number("SELECT count(*) AS n FROM notices").await, 0);
}

#[tokio::test]
async fn what_was_under_way_at_a_kill_comes_again() {
    let world = World::new().await;
    let receiver = Receiver::new([Does::Hangs]).await;
    let service = told(&world, &receiver);
    world.held(&["one"], "a").await;
    service.follow().await.unwrap();
    let first = deliver(&service);
    receiver.wait(1).await;
    // No farewell: the lease stays.
    first.task.abort();
    let _ = first.task.await;
    let world = world.reopened().await;
    let service = told(&world, &receiver);
    let second = deliver(&service);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(receiver.got().len(), 1, "the lease of the killed one is kept");
    world.clock.advance(61);
    let got = receiver.wait(2).await;
    assert_eq!((got[0].id(), got[0].about()), (got[1].id(), got[1].about()));
    until(&world, "delivered", 1).await;
    second.stop.send(true).unwrap();
    second.task.await.unwrap();
    assert_eq!(world.number("SELECT count(*) AS n FROM hooks WHERE lease_by IS NULL").await, 1, "it is left to others");
}

#[tokio::test]
async fn a_stop_leaves_what_is_under_way_to_others_at_once() {
    let world = World::new().await;
    let receiver = Receiver::new([Does::Hangs]).await;
    let service = told(&world, &receiver);
    world.held(&["one"], "a").await;
    service.follow().await.unwrap();
    let first = deliver(&service);
    receiver.wait(1).await;
    first.stop.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(2), first.task).await.unwrap().unwrap();
    let _second = deliver(&service);
    receiver.wait(2).await;
    until(&world, "delivered", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_follow_and_deliver_each_notice_once() {
    let world = World::new().await;
    let receiver = Receiver::new([]).await;
    let other = Database::open(&world.url, false).await.unwrap();
    let mut twin = world.service.clone();
    twin.store = other;
    let services = [told(&world, &receiver), twin.with_notices(hooks(&[("chat", &receiver.url)], ""))];
    let _delivering = services.each_ref().map(deliver);
    let mut holds = Vec::new();
    for number in 0..40 {
        holds.push(world.held(&["one"], &format!("{number}")).await.1);
        let (first, second) = tokio::join!(services[0].follow(), services[1].follow());
        first.unwrap();
        second.unwrap();
    }
    let got = receiver.wait(40).await;
    until(&world, "delivered", 40).await;
    assert_eq!(receiver.got().len(), 40, "none came twice");
    assert_eq!(got.iter().map(|got| got.about().1).collect::<Vec<_>>(), holds);
}

#[tokio::test]
async fn a_hook_that_hangs_holds_up_neither_others_nor_the_writer() {
    let world = World::new().await;
    let (hanging, well) = (Receiver::new((0..100).map(|_| Does::Hangs)).await, Receiver::new([]).await);
    let hooks = hooks(&[("bad", &hanging.url), ("good", &well.url)], "");
    let service = world.service.clone().with_notices(hooks);
    world.held(&["one"], "a").await;
    service.follow().await.unwrap();
    let _delivering = deliver(&service);
    hanging.wait(1).await;
    let begun = std::time::Instant::now();
    for number in 0..20 {
        world.held(&["one"], &format!("{number}")).await;
        service.follow().await.unwrap();
    }
    well.wait(21).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(hanging.got().len(), 1);
}

#[tokio::test]
async fn no_redirect_is_followed_and_no_address_outside_the_list_is_asked() {
    let world = World::new().await;
    let secret = Receiver::new([]).await;
    let receiver = Receiver::new([Does::RedirectsTo(secret.url.clone())]).await;
    let service = told(&world, &receiver);
    world.held(&["one"], "a").await;
    service.follow().await.unwrap();
    let delivering = deliver(&service);
    receiver.wait(1).await;
    let error = "SELECT count(*) AS n FROM deliveries WHERE error LIKE '%redirects are not followed'";
    while world.number(error).await == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    delivering.task.abort();
    // A name that leads to this machine once the file was read: the list has it not, or only by the end of its name.
    for hosts in [BTreeSet::new(), BTreeSet::from(["*.0.0.1".to_owned()])] {
        let mut guarded = hooks(&[("other", &secret.url)], "");
        guarded.hosts = Arc::new(hosts);
        let service = world.service.clone().with_notices(guarded);
        world.held(&["one"], "b").await;
        service.follow().await.unwrap();
        let delivering = deliver(&service);
        let error = "SELECT count(*) AS n FROM deliveries WHERE error LIKE '%which `hosts` does not allow'";
        while world.number(error).await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        delivering.task.abort();
    }
    assert!(secret.got().is_empty());
}

#[tokio::test]
async fn hooks_get_only_the_events_and_rules_that_they_name() {
    let world = World::new().await;
    let receiver = Receiver::new([]).await;
    let service = world
        .service
        .clone()
        .with_notices(hooks(&[("chat", &receiver.url)], ", events: ['hold.opened', 'agent.*'], rules: ['tw*']"));
    let (_, two) = world.held(&["two"], "a").await;
    world.held(&["one"], "b").await;
    let (_, both) = world.held(&["one", "two"], "c").await;
    world.sign_in("bob").await.decide(&two, "deny").await;
    let bot = Actor { iss: "https://idp.example".into(), sub: "other".into() };
    world.service.store.write(Suspend { agent: bot, reason: String::new(), now: NOW }).await.unwrap();
    service.follow().await.unwrap();
    let _delivering = deliver(&service);
    let got = receiver.wait(2).await;
    until(&world, "delivered", 2).await;
    assert_eq!(got.iter().map(|got| got.about().1).collect::<Vec<_>>(), [two, both]);
    assert_eq!(world.number("SELECT count(*) AS n FROM deliveries").await, 2);
}

#[tokio::test]
async fn the_link_of_a_notice_decides_nothing() {
    let world = World::new().await;
    let (_, hold) = world.held(&["one"], "a").await;
    let entries = world.number("SELECT count(*) AS n FROM ledger").await;
    let alice = world.sign_in("alice").await;
    let signed_in = world.number("SELECT count(*) AS n FROM ledger").await;
    for path in [format!("/holds/{hold}"), format!("/holds/{hold}?verdict=approve"), format!("/api/holds/{hold}")] {
        assert!(world.get(&path, "").await.status.as_u16() >= 300, "{path}");
        assert_eq!(alice.get(&path).await.status, 200, "{path}");
    }
    for path in [format!("/holds/{hold}/decisions?verdict=approve"), format!("/api/holds/{hold}/decisions")] {
        assert_eq!(alice.get(&path).await.status, 405, "{path}");
    }
    assert_eq!(world.number("SELECT count(*) AS n FROM holds WHERE state = 'pending'").await, 1);
    assert_eq!(world.number("SELECT count(*) AS n FROM decisions").await, 0);
    assert!(entries <= signed_in && world.number("SELECT count(*) AS n FROM ledger").await == signed_in);
}

#[tokio::test]
async fn slack_gets_a_message_into_which_an_agent_cannot_write() {
    let world = World::new().await;
    let receiver = Receiver::new([]).await;
    let service = world.service.clone().with_notices(hooks(&[("chat", &receiver.url)], ", format: slack"));
    let mut ask = world.ask(&["one"], "a");
    ask.request.path = "/<https://evil.test|Approve here>/<!channel>/&lt;!here&gt;".into();
    ask.agent.sub = "<@U123>".into();
    let (_, opened) = world.open(&ask).await;
    service.follow().await.unwrap();
    let _delivering = deliver(&service);
    let got = receiver.wait(1).await.remove(0);
    let message = got.json();
    assert_eq!(message["text"], "A request waits for approval");
    assert_eq!((&message["parse"], &message["link_names"]), (&"none".into(), &false.into()));
    let link = format!("<https://console.example/holds/{}|Look at it in Holdgate>", opened.hold);
    assert_eq!(message["blocks"][2]["text"]["text"], link);
    let rest = got.body.replace(&link, "");
    assert!(!rest.contains(['<', '>']), "{rest}");
    assert!(rest.contains("&amp;lt;!here&amp;gt;"), "{rest}");
}
