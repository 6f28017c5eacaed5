//! `kill -9` at random moments under load: nothing that was answered is lost, nothing is redeemed twice, and the ledger holds.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use holdgate_approval::random;
use holdgate_protocol::gateway::OpenHold;
use serde_json::{Value, json};

use crate::{
    database,
    process::{Serving, ask, ask_whole, made, run, serve_with},
    support::{PASSWORD, World, agent, attempt, policy, redemption},
};

/// Kills of each database, unless `HOLDGATE_KILLS` says otherwise.
const KILLS: u64 = 100;

/// The longest life of a process that has begun to serve, in milliseconds.
const LIFE: u64 = 250;

/// What was answered of one hold.
#[derive(Clone, Debug, Default)]
struct Answered {
    approved: bool,
    /// By attempt.
    grants: BTreeMap<u64, String>,
    /// Attempts that were told `used`.
    used: Vec<u64>,
}

/// All that is known of what was answered, by the hold's id.
type Known = Arc<Mutex<BTreeMap<String, (OpenHold, Answered)>>>;

pub struct Load {
    pub serving: Serving,
    world: Arc<World>,
    next: u64,
    stop: Arc<AtomicBool>,
    gateway: String,
    cookie: String,
    csrf: String,
    known: Known,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_answered_is_lost_by_kills() {
    let kills = std::env::var("HOLDGATE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let folder = tempfile::tempdir().unwrap();
    let data = made(folder.path()).await;
    let mut load = Load::new(&data).await;
    for _ in 0..kills {
        let [moment] = random::bytes::<1>().unwrap();
        let life = Duration::from_millis(20 + u64::from(moment) * LIFE / 256);
        let tasks = load.tasks();
        tokio::time::sleep(life).await;
        load.serving.child.start_kill().unwrap();
        load.serving.child.wait().await.unwrap();
        for task in tasks {
            task.await.unwrap();
        }
        load.serving = serve_again(&data).await;
    }
    let (answered, redeemed) = load.check(&data).await;
    eprintln!("{kills} kills, {answered} holds answered, {redeemed} redeemed");
    assert!(answered > kills && redeemed > kills / 4, "there was little load");
}

/// As a browser does; gives the cookie and the token for writes.
async fn sign_in(people: &str) -> (String, String) {
    let page = ask_whole(people, "GET", "/signin", &[], "").await.unwrap();
    let cookie = |answer: &str| {
        let line = answer.lines().find(|line| line.to_lowercase().starts_with("set-cookie: holdgate_")).unwrap();
        line.split_once(": ").unwrap().1.split(';').next().unwrap().to_owned()
    };
    let form_cookie = cookie(&page);
    let csrf = page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let form = format!("csrf={csrf}&person=alice&password={}", PASSWORD.replace(' ', "+"));
    let headers =
        [("cookie", form_cookie.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    let signed = ask_whole(people, "POST", "/signin", &headers, &form).await.unwrap();
    let set = signed.lines().rfind(|line| line.to_lowercase().starts_with("set-cookie: holdgate_session="));
    let session = set.unwrap_or_else(|| panic!("{signed}")).split_once(": ").unwrap().1.split(';').next().unwrap().to_owned();
    let told = ask(people, "GET", "/api/session", &[("cookie", session.as_str())], "").await.unwrap().1;
    (session, serde_json::from_str::<Value>(&told).unwrap()["csrf"].as_str().unwrap().to_owned())
}

/// Serves with quotas that do not stop the load.
pub async fn serve_again(data: &Path) -> Serving {
    let names = ["agent.open", "agent.hour", "owner.open", "owner.hour", "rule.open", "rule.hour"];
    let most = names.map(|name| format!("--quota={name}=1000000"));
    serve_with(data, &most.each_ref().map(String::as_str)).await
}

impl Load {
    /// A service on a data folder that was just made, and nothing asked of it yet.
    pub async fn new(data: &Path) -> Self {
        let gateway = run(data, &["gateway", "add", "edge"], "").await.1.trim().to_owned();
        let publisher = run(data, &["publisher", "add", "ci"], "").await.1;
        run(data, &["person", "set-password", "alice"], &format!("{PASSWORD}\n")).await;
        let serving = serve_again(data).await;
        let (signed, reference) = policy(1, |_| {});
        let bearer = format!("Bearer {}", publisher.trim());
        let path = format!("/api/bundles/{}", reference.rev);
        let headers = [("authorization", bearer.as_str())];
        assert_eq!(ask(&serving.people, "PUT", &path, &headers, &json!(signed).to_string()).await.unwrap().0, 201);
        let (cookie, csrf) = sign_in(&serving.people).await;
        let (world, stop) = (Arc::new(World::new().await), Arc::default());
        Load { serving, world, next: 0, stop, gateway, cookie, csrf, known: Known::default() }
    }

    /// All that is asked at once, until the service is gone or the load is stopped.
    pub fn tasks(&mut self) -> Vec<tokio::task::JoinHandle<()>> {
        self.next += 10_000;
        vec![self.opening(self.next), self.approving(), self.redeeming(0), self.redeeming(1)]
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// How many requests were answered by a hold.
    pub fn answered(&self) -> usize {
        self.known.lock().unwrap().len()
    }

    /// Whether the service answers, and can write.
    pub async fn is_well(&self) -> bool {
        let body = json!(self.world.ask(&["one"], "well?"));
        let answer = post(&self.serving.gateways, "/v1/holds", &self.gateway, &body).await;
        answer.is_some_and(|(status, _)| status == 200 || status == 201)
    }

    /// Asks for new holds, one after the other, until the service is gone.
    fn opening(&self, first: u64) -> tokio::task::JoinHandle<()> {
        let (address, gateway, known, world) =
            (self.serving.gateways.clone(), self.gateway.clone(), self.known.clone(), self.world.clone());
        let stop = self.stop.clone();
        tokio::spawn(async move {
            for number in (first..).take_while(|_| !stop.load(Ordering::SeqCst)) {
                let body = world.ask(&["one"], &format!("{number}"));
                let Some((status, text)) = post(&address, "/v1/holds", &gateway, &json!(body)).await else { return };
                assert!(status == 201 || status == 503, "{status} {text}");
                if status == 201 {
                    let hold = serde_json::from_str::<Value>(&text).unwrap()["hold"].as_str().unwrap().to_owned();
                    known.lock().unwrap().insert(hold, (body, Answered::default()));
                }
            }
        })
    }

    /// Approves what is not known to be approved.
    fn approving(&self) -> tokio::task::JoinHandle<()> {
        let (address, known) = (self.serving.people.clone(), self.known.clone());
        let (cookie, csrf, stop) = (self.cookie.clone(), self.csrf.clone(), self.stop.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                let open: Vec<String> = of(&known, |answered| !answered.approved).into_iter().map(|(id, _)| id).collect();
                for hold in &open {
                    let path = format!("/api/holds/{hold}/decisions");
                    let headers = [("cookie", cookie.as_str()), ("x-csrf-token", csrf.as_str())];
                    let body = json!({"verdict": "approve", "reason": "load"}).to_string();
                    let Some((status, text)) = ask(&address, "POST", &path, &headers, &body).await else { return };
                    // 409: it was approved already, and the answer was lost.
                    assert!([200, 409, 503].contains(&status), "{status} {text}");
                    if status != 503 {
                        known.lock().unwrap().get_mut(hold).unwrap().1.approved = true;
                    }
                }
                if open.is_empty() && ask(&address, "GET", "/healthz", &[], "").await.is_none() {
                    return;
                }
            }
        })
    }

    /// Redeems what is approved; each of two does so with an attempt of its own.
    fn redeeming(&self, number: u64) -> tokio::task::JoinHandle<()> {
        let (address, gateway, known) = (self.serving.gateways.clone(), self.gateway.clone(), self.known.clone());
        let stop = self.stop.clone();
        tokio::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                let unknown = |answered: &Answered| {
                    answered.approved && !answered.grants.contains_key(&number) && !answered.used.contains(&number)
                };
                let open = of(&known, unknown);
                for (hold, body) in &open {
                    let asked = redemption(hold, body, number);
                    let Some((status, text)) = post(&address, "/v1/redemptions", &gateway, &asked).await else { return };
                    assert!(status == 200 || status == 503, "{status} {text}");
                    if status == 200 {
                        note(&known, hold, number, &text);
                    }
                }
                if open.is_empty() && ask(&address, "GET", "/healthz", &[], "").await.is_none() {
                    return;
                }
            }
        })
    }

    /// Asks for all of it once more, and reads the ledger; gives how many requests were answered by a hold, and how many passed.
    pub async fn check(&self, data: &Path) -> (u64, u64) {
        self.stop();
        assert!(self.is_well().await, "it does not serve in the end");
        let known = self.known.lock().unwrap().clone();
        for (hold, (body, answered)) in known {
            let path = format!("/v1/tasks/{hold}?agent={}", agent().key());
            let (status, task) = post_or_get(&self.serving.gateways, "GET", &path, &self.gateway, "").await.unwrap();
            assert_eq!(status, 200, "{hold} was answered, and is lost");
            let state = serde_json::from_str::<Value>(&task).unwrap()["state"].as_str().unwrap().to_owned();
            assert!(!answered.approved || state != "pending", "an approval was answered, and is lost");
            assert!(answered.grants.len() <= 1, "{hold} was redeemed twice");
            for number in 0..2 {
                let asked = redemption(&hold, &body, number);
                let text = post(&self.serving.gateways, "/v1/redemptions", &self.gateway, &asked).await.unwrap().1;
                if answered.approved {
                    // A grant may have run out since; it is never another one.
                    note(&self.known, &hold, number, &text);
                }
            }
            let after = self.known.lock().unwrap()[&hold].1.clone();
            assert!(after.grants.len() <= 1, "{hold} was redeemed twice");
            for (number, grant) in &answered.grants {
                assert_eq!(after.grants.get(number), Some(grant), "another grant for the same attempt");
            }
        }
        crate::ledger::verify(&database::url(data).await).await;
        let answered = self.answered() as u64;
        let known = self.known.lock().unwrap();
        let redeemed = known.values().filter(|(_, answered)| !answered.grants.is_empty()).count();
        (answered, redeemed as u64)
    }
}

fn of(known: &Known, wanted: impl Fn(&Answered) -> bool) -> Vec<(String, OpenHold)> {
    let known = known.lock().unwrap();
    let wanted = known.iter().filter(|(_, (_, answered))| wanted(answered));
    wanted.map(|(hold, (body, _))| (hold.clone(), body.clone())).collect()
}

/// Notes what an attempt was told.
fn note(known: &Known, hold: &str, number: u64, text: &str) {
    let answer = serde_json::from_str::<Value>(text).unwrap()["items"][0].clone();
    let mut known = known.lock().unwrap();
    let answered = &mut known.get_mut(hold).unwrap().1;
    match (answer["grant"].as_str(), answer["error"].as_str()) {
        (Some(grant), _) => {
            let first = answered.grants.entry(number).or_insert_with(|| grant.to_owned());
            assert_eq!(first, grant, "attempt {} has two grants", attempt(number));
        }
        (None, Some("used")) => answered.used.push(number),
        // The approval or the grant has run out.
        (None, Some("expired")) => {}
        _ => panic!("{text}"),
    }
}

async fn post(address: &str, path: &str, credential: &str, body: &Value) -> Option<(u16, String)> {
    post_or_get(address, "POST", path, credential, &body.to_string()).await
}

async fn post_or_get(address: &str, method: &str, path: &str, credential: &str, body: &str) -> Option<(u16, String)> {
    let bearer = format!("Bearer {credential}");
    ask(address, method, path, &[("authorization", bearer.as_str())], body).await
}
