//! The steps of a scenario.

use std::collections::BTreeMap;

use holdgate_protocol::{Json, gateway::HoldState};

use super::{
    Act, Behaviour, Common, Decision, Expected, Hold, Named, Outcome, Restart, Scenario, Script, ServiceCall, Step,
    UpstreamAnswer, UpstreamBehaviour, Version, expect,
    request::{self, Requests, read_base64, read_literal},
    shapes::{ANSWER, CLOCK, DECISION, DOING, PUBLISH, SEND, SERVICE_CALLS, STEP, WHO},
};
use crate::{
    codes::Code,
    diagnostic::{Quoted, Span},
    example,
    node::{Member, Node, Value},
    reader::{DAY, Fields, Reader, Scalar},
};

/// The name of the one request that a case has under `request`.
const ONLY: &str = "request";

pub(super) const VERSIONS: [(&str, Version); 2] = [("http1", Version::Http1), ("http2", Version::Http2)];
pub(super) const OUTCOMES: [(&str, Outcome); 5] = [
    ("forwarded", Outcome::Forwarded),
    ("answered", Outcome::Answered),
    ("waiting", Outcome::Waiting),
    ("gone", Outcome::Gone),
    ("reset", Outcome::Reset),
];
pub(super) const STATES: [(&str, HoldState); 5] = [
    ("approved", HoldState::Approved),
    ("denied", HoldState::Denied),
    ("expired", HoldState::Expired),
    ("cancelled", HoldState::Cancelled),
    ("used", HoldState::Used),
];
pub(super) const CALLS: [(&str, ServiceCall); 9] = [
    ("holds", ServiceCall::Holds),
    ("redemptions", ServiceCall::Redemptions),
    ("outcomes", ServiceCall::Outcomes),
    ("detach", ServiceCall::Detach),
    ("feed", ServiceCall::Feed),
    ("state", ServiceCall::State),
    ("bundles", ServiceCall::Bundles),
    ("audit", ServiceCall::Audit),
    ("tasks", ServiceCall::Tasks),
];
pub(super) const BEHAVIOURS: [(&str, Word); 15] = [
    ("well", Word::Well),
    ("late", Word::Late),
    ("twice", Word::Twice),
    ("never", Word::Never),
    ("reset", Word::Reset),
    ("timeout", Word::Timeout),
    ("unreachable", Word::Unreachable),
    ("refused", Word::Refused),
    ("fail", Word::Fail),
    ("gone", Word::Gone),
    ("not-json", Word::NotJson),
    ("too-long", Word::TooLong),
    ("wrong-signature", Word::WrongSignature),
    ("wrong-digest", Word::WrongDigest),
    ("replayed", Word::Replayed),
];

/// A behaviour that a word says.
#[derive(Clone, Copy)]
pub(super) enum Word {
    Well,
    Late,
    Twice,
    Never,
    Reset,
    Timeout,
    Unreachable,
    Refused,
    Fail,
    Gone,
    NotJson,
    TooLong,
    WrongSignature,
    WrongDigest,
    Replayed,
}

/// Milliseconds by which an answer is late where a case does not say.
const LATE: u64 = 1_000;

/// Reads what a case says beside its name.
pub(super) fn read(reader: &mut Reader<'_>, fields: Fields<'_>, common: &Common<'_>) -> Option<Scenario> {
    let before = reader.found();
    let requests = requests(reader, fields, common)?;
    let policy =
        fields.get("policy").map_or(Some(None), |node| super::read_policy(reader, node, common.source).map(Some));
    let plugin = common.plugin.clone().into_iter().chain(super::read_plugin(reader, fields)).collect();
    let time = fields.get("time").map_or(Some(None), |node| example::read_time(reader, node).map(Some));
    let workers = fields.get("workers").map_or(Some(1), |node| reader.count(node, "`workers`"));
    let service = fields.get("service").map_or_else(|| Some(Vec::new()), |node| read_service(reader, node));
    let upstream = fields.get("upstream").map_or_else(|| Some(usual_answer()), |node| read_upstream(reader, node));
    let not_on = fields.get("not_on").map_or_else(|| Some(Vec::new()), |node| read_not_on(reader, node));
    let mut story = Story { requests, sent: Vec::new(), common };
    let mut steps = story.read_steps(reader, fields)?;
    let node = reader.require(fields, "expect")?;
    let end = expect::read(reader, node, &story.sent)?;
    steps.push(Step { at: node.span, act: Act::Expect(Box::new(end)) });
    let scenario = Scenario {
        policy: policy?,
        plugin,
        time: time?,
        workers: workers?,
        service: service?,
        upstream: upstream?,
        steps,
        not_on: not_on?,
    };
    (reader.found() == before).then_some(scenario)
}

/// Requests of the case and of the file, by name. Those of the case are read here once, so that a mistake in one shows
/// though it is not sent.
fn requests<'n>(reader: &mut Reader<'_>, fields: Fields<'n>, common: &Common<'n>) -> Option<Requests<'n>> {
    let mut requests = BTreeMap::new();
    put_requests(reader, common.requests, &mut requests)?;
    let mut own = Vec::new();
    own.extend(put_requests(reader, fields.get("requests"), &mut requests)?);
    if let Some(node) = fields.get(ONLY) {
        requests.insert(ONLY, node);
        own.push((ONLY, node.span));
    }
    check_requests(reader, &requests, own)?;
    Some(requests)
}

/// Reads the requests of a file, for the mistakes in them.
pub(super) fn check_common(reader: &mut Reader<'_>, node: Option<&Node>) -> Option<()> {
    let mut requests = BTreeMap::new();
    let all = put_requests(reader, node, &mut requests)?;
    check_requests(reader, &requests, all)
}

fn put_requests<'n>(
    reader: &mut Reader<'_>,
    node: Option<&'n Node>,
    requests: &mut Requests<'n>,
) -> Option<Vec<(&'n str, Span)>> {
    let Some(node) = node else { return Some(Vec::new()) };
    let members = reader.members(node, "`requests`")?;
    requests.extend(members.iter().map(|member| (member.key.as_str(), &member.value)));
    Some(members.iter().map(|member| (member.key.as_str(), member.at)).collect())
}

fn check_requests(reader: &mut Reader<'_>, all: &Requests<'_>, names: Vec<(&str, Span)>) -> Option<()> {
    let sound = names.into_iter().filter(|(name, at)| request::read(reader, all, name, *at).is_none()).count() == 0;
    sound.then_some(())
}

/// What a case has told so far.
struct Story<'n> {
    requests: Requests<'n>,
    /// The names of requests that have been sent.
    sent: Vec<String>,
    common: &'n Common<'n>,
}

impl Story<'_> {
    fn read_steps(&mut self, reader: &mut Reader<'_>, fields: Fields<'_>) -> Option<Vec<Step>> {
        let Some(node) = fields.get("steps") else {
            // Those of the case, in the order in which they stand there.
            let named = fields.get("requests").map(|node| reader.members(node, "`requests`")).unwrap_or_default();
            let named = named.unwrap_or_default().iter().map(|member| (member.key.as_str(), member.at));
            let only = fields.get(ONLY).map(|node| (ONLY, node.span));
            let sends = only.into_iter().chain(named).map(|(name, at)| {
                let act = Act::Send(vec![self.send(reader, name, name, at, 1, None)?]);
                Some(Step { at, act })
            });
            return sends.collect();
        };
        let nodes = reader.filled_list(node, "`steps`")?;
        nodes.iter().map(|node| Some(Step { at: node.span, act: self.read_step(reader, node)? })).collect()
    }

    fn read_step(&mut self, reader: &mut Reader<'_>, node: &Node) -> Option<Act> {
        let fields = reader.fields(node, &STEP)?;
        let given: Vec<&str> = STEP.names().into_iter().filter(|key| fields.get(key).is_some()).collect();
        let (key, node) = match given.as_slice() {
            [key] => (*key, fields.get(key)?),
            [] => return reader.error(node.span, Code::Empty, "a step says what happens; this one is empty"),
            [_, second, ..] => {
                let message = format!("a step is one thing that happens, and here are {}", crate::reader::list(&given));
                let help = "write each behind a `- ` of its own, in the order in which they happen";
                return reader.error_with_help(fields.at(second), Code::EitherOr, message, help);
            }
        };
        Some(match key {
            "send" => Act::Send(self.read_sends(reader, node)?),
            "wait" => Act::Wait(reader.time(node, "`wait`")?),
            "expect" => Act::Expect(Box::new(self.read_expected(reader, node)?)),
            "service" => Act::Service(read_service(reader, node)?),
            "clock" => Act::Clock(read_clock(reader, node)?),
            "decide" => Act::Decide(self.read_decisions(reader, node)?),
            "publish" => self.read_publish(reader, node)?,
            "suspend" => read_suspend(reader, node, true)?,
            "reinstate" => read_suspend(reader, node, false)?,
            "hang_up" => Act::HangUp(self.read_names(reader, node, "`hang_up`")?),
            "reconfigure" => {
                reader.members(node, "`reconfigure`")?;
                Act::Reconfigure(reader.json(node, "`reconfigure`")?)
            }
            "restart" => Act::Restart(read_restart(reader, node)?),
            _ => Act::Upstream(read_upstream(reader, node)?),
        })
    }

    fn read_expected(&self, reader: &mut Reader<'_>, node: &Node) -> Option<Expected> {
        expect::read(reader, node, &self.sent)
    }

    fn read_sends(&mut self, reader: &mut Reader<'_>, node: &Node) -> Option<Vec<Named>> {
        if let Value::Map(_) = node.value {
            let fields = reader.fields(node, &SEND)?;
            let at = fields.at("request");
            let request = reader.require(fields, "request").and_then(|node| reader.text(node, "`request`"))?;
            let name = fields.get("as").map_or_else(|| Some(request.clone()), |node| reader.text(node, "`as`"))?;
            let times = fields.get("times").map_or(Some(1), |node| reader.count(node, "`times`"))?;
            let worker = fields.get("worker").map_or(Some(None), |node| reader.count(node, "`worker`").map(Some))?;
            return Some(vec![self.send(reader, &request, &name, at, times, worker)?]);
        }
        let items = match &node.value {
            Value::List(_) => reader.filled_list(node, "`send`")?,
            _ => std::slice::from_ref(node),
        };
        let mut sends = Vec::new();
        for item in items {
            let name = reader.text(item, "the name of a request")?;
            sends.push(self.send(reader, &name, &name, item.span, 1, None)?);
        }
        Some(sends)
    }

    fn send(
        &mut self,
        reader: &mut Reader<'_>,
        request: &str,
        name: &str,
        at: Span,
        times: usize,
        worker: Option<usize>,
    ) -> Option<Named> {
        if self.sent.iter().any(|sent| sent == name) {
            let message = format!("{} has been sent already", Quoted(name));
            let help = format!("give this try a name of its own: `send: {{request: {request}, as: again}}`");
            return reader.error_with_help(at, Code::DuplicateTest, message, help);
        }
        let request = request::read(reader, &self.requests, request, at)?;
        self.sent.push(name.to_owned());
        Some(Named { name: name.to_owned(), times, worker, request })
    }

    /// Names of requests that have been sent.
    fn read_names(&self, reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Vec<String>> {
        let items = match &node.value {
            Value::List(_) => reader.filled_list(node, what)?,
            _ => std::slice::from_ref(node),
        };
        let mut names = Vec::new();
        for item in items {
            let name = reader.text(item, what)?;
            self.known(reader, &name, item.span)?;
            names.push(name);
        }
        Some(names)
    }

    fn known(&self, reader: &mut Reader<'_>, name: &str, at: Span) -> Option<()> {
        if self.sent.iter().any(|sent| sent == name) {
            return Some(());
        }
        let known: Vec<&str> = self.sent.iter().map(String::as_str).collect();
        request::unknown(reader, name, at, &known)
    }

    fn read_decisions(&self, reader: &mut Reader<'_>, node: &Node) -> Option<Vec<Decision>> {
        if let Value::Scalar { .. } = node.value {
            let state = reader.word(node, "a state", &STATES)?;
            return Some(vec![Decision { hold: Hold::Last, state, cause: None }]);
        }
        let mut decisions = Vec::new();
        for Member { key, at, value } in reader.members(node, "`decide`")? {
            self.known(reader, key, *at)?;
            let hold = Hold::Of(key.clone());
            if let Value::Scalar { .. } = value.value {
                let state = reader.word(value, "a state", &STATES)?;
                decisions.push(Decision { hold, state, cause: None });
                continue;
            }
            let fields = reader.fields(value, &DECISION)?;
            let state = reader.require(fields, "state").and_then(|node| reader.word(node, "a state", &STATES))?;
            let cause = fields.get("cause").map_or(Some(None), |node| reader.text(node, "`cause`").map(Some))?;
            decisions.push(Decision { hold, state, cause });
        }
        Some(decisions)
    }

    fn read_publish(&self, reader: &mut Reader<'_>, node: &Node) -> Option<Act> {
        if let Value::Scalar { .. } = node.value {
            return Some(Act::Publish { serial: reader.count(node, "a serial")?, policy: None });
        }
        let fields = reader.fields(node, &PUBLISH)?;
        let serial = reader.require(fields, "serial").and_then(|node| reader.count(node, "a serial"));
        let policy = fields.get("policy");
        let policy = policy.map_or(Some(None), |node| super::read_policy(reader, node, self.common.source).map(Some));
        Some(Act::Publish { serial: serial?, policy: policy? })
    }
}

fn read_clock(reader: &mut Reader<'_>, node: &Node) -> Option<i64> {
    let fields = reader.fields(node, &CLOCK)?;
    let mut seconds = |key: &str| {
        let given = fields.get(key);
        given.map_or(Some(0), |node| reader.duration(node, &format!("`{key}`"), DAY)?.try_into().ok())
    };
    let (ahead, behind): (i64, i64) = (seconds("ahead")?, seconds("behind")?);
    Some(ahead - behind)
}

fn read_suspend(reader: &mut Reader<'_>, node: &Node, suspended: bool) -> Option<Act> {
    let issuer = example::ISSUER.to_owned();
    if let Value::Scalar { .. } = node.value {
        return Some(Act::Suspend { issuer, id: reader.text(node, "an agent")?, suspended });
    }
    let fields = reader.fields(node, &WHO)?;
    let id = reader.require(fields, "id").and_then(|node| reader.text(node, "`id`"));
    let issuer = fields.get("issuer").map_or(Some(issuer), |node| reader.text(node, "`issuer`"));
    Some(Act::Suspend { issuer: issuer?, id: id?, suspended })
}

fn read_restart(reader: &mut Reader<'_>, node: &Node) -> Option<Restart> {
    match reader.scalar(node, "`restart`")? {
        Scalar::Number(_) => reader.count(node, "the number of a worker").map(Restart::Worker),
        _ => reader.word(node, "something that starts again", &[("proxy", Restart::Proxy)]),
    }
}

fn read_service(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<Script>> {
    let fields = reader.fields(node, &SERVICE_CALLS)?;
    let calls = std::iter::once(("all", None)).chain(CALLS.iter().map(|(word, call)| (*word, Some(*call))));
    let mut scripts = Vec::new();
    for (word, call) in calls {
        let Some(node) = fields.get(word) else { continue };
        let (does, times) = read_behaviour(reader, node)?;
        scripts.push(Script { call, does, times });
    }
    Some(scripts)
}

fn read_behaviour(reader: &mut Reader<'_>, node: &Node) -> Option<(Behaviour, Option<u64>)> {
    if let Value::Scalar { .. } = node.value {
        return Some((behaviour(reader.word(node, "what a service does", &BEHAVIOURS)?, LATE), None));
    }
    let fields = reader.fields(node, &DOING)?;
    let times = fields.get("times").map_or(Some(None), |node| reader.count(node, "`times`").map(Some))?;
    let by = fields.get("by").map_or(Some(LATE), |node| reader.time(node, "`by`"))?;
    let said: Vec<&str> =
        ["does", "status", "claims", "patch"].into_iter().filter(|key| fields.get(key).is_some()).collect();
    if let [_, second, ..] = said.as_slice() {
        let message = format!("a service does one thing, and here are {}", crate::reader::list(&said));
        return reader.error(fields.at(second), Code::EitherOr, message);
    }
    let object = |reader: &mut Reader<'_>, key: &str| {
        let node = reader.require(fields, key)?;
        reader.members(node, &format!("`{key}`"))?;
        reader.json(node, &format!("`{key}`"))
    };
    let does = match said.first() {
        Some(&"status") => {
            let status = fields.get("status").and_then(|node| reader.count(node, "a status"))?;
            let body = fields.get("body").map_or(Some(Json::object([])), |node| reader.json(node, "`body`"))?;
            Behaviour::Answer { status, body: body.to_jcs() }
        }
        Some(&"claims") => Behaviour::Forged(object(reader, "claims")?),
        Some(&"patch") => Behaviour::Patched(object(reader, "patch")?),
        Some(_) => {
            let word = fields.get("does").and_then(|node| reader.word(node, "what a service does", &BEHAVIOURS))?;
            behaviour(word, by)
        }
        None => {
            let message = "this does not say what the service does";
            return reader.error_with_help(
                fields.span,
                Code::MissingKey,
                message,
                "add `does`, `status`, `claims` or `patch`",
            );
        }
    };
    Some((does, times))
}

fn behaviour(word: Word, by: u64) -> Behaviour {
    let error = |status, error: &str| {
        let body = Json::object([("detail", "As the case says.".into()), ("error", error.into())]);
        Behaviour::Answer { status, body: body.to_jcs() }
    };
    match word {
        Word::Well => Behaviour::Well,
        Word::Late => Behaviour::Late(by),
        Word::Twice => Behaviour::Twice,
        Word::Never => Behaviour::Never,
        Word::Reset => Behaviour::Reset,
        Word::Timeout => Behaviour::Timeout,
        Word::Unreachable => Behaviour::Unreachable,
        Word::Refused => Behaviour::Refused,
        Word::Fail => error(500, "internal"),
        Word::Gone => error(410, "gone"),
        Word::NotJson => Behaviour::NotJson,
        Word::TooLong => Behaviour::TooLong,
        Word::WrongSignature => Behaviour::WrongSignature,
        Word::WrongDigest => Behaviour::WrongDigest,
        Word::Replayed => Behaviour::Replayed,
    }
}

fn usual_answer() -> UpstreamBehaviour {
    UpstreamBehaviour::Answer(UpstreamAnswer { status: 200, headers: Vec::new(), body: Vec::new(), after: 0 })
}

fn read_upstream(reader: &mut Reader<'_>, node: &Node) -> Option<UpstreamBehaviour> {
    if let Value::Scalar { .. } = node.value {
        let words = [("reset", true), ("never", false)];
        let reset = reader.word(node, "what an upstream does", &words)?;
        return Some(if reset { UpstreamBehaviour::Reset } else { UpstreamBehaviour::Never });
    }
    let fields = reader.fields(node, &ANSWER)?;
    let status = fields.get("status").map_or(Some(200), |node| reader.count(node, "a status"))?;
    let after = fields.get("after").map_or(Some(0), |node| reader.time(node, "`after`"))?;
    let mut headers = Vec::new();
    if let Some(node) = fields.get("headers") {
        for Member { key, value, .. } in reader.members(node, "`headers`")? {
            let values = match &value.value {
                Value::List(items) => items.as_slice(),
                _ => std::slice::from_ref(value),
            };
            for value in values {
                headers.push((key.clone(), read_literal(reader, value, "a header")?));
            }
        }
    }
    let body = match (fields.get("body"), fields.get("text"), fields.get("base64")) {
        (None, None, None) => Vec::new(),
        (Some(body), None, None) => {
            if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
                headers.push(("content-type".to_owned(), "application/json".to_owned()));
            }
            reader.json(body, "`body`")?.to_jcs()
        }
        (None, Some(text), None) => reader.text(text, "`text`")?.into_bytes(),
        (None, None, Some(base64)) => read_base64(reader, base64)?,
        _ => return reader.error(fields.span, Code::EitherOr, "an answer has one of `body`, `text` and `base64`"),
    };
    Some(UpstreamBehaviour::Answer(UpstreamAnswer { status, headers, body, after }))
}

fn read_not_on(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<(String, String)>> {
    const PLACES: [&str; 7] = ["native", "harness", "envoy", "envoy-without-headers-stop", "ngx-wasm", "strict", "all"];
    let mut not_on = Vec::new();
    for Member { key, at, value } in reader.members(node, "`not_on`")? {
        if !PLACES.contains(&key.as_str()) {
            let help = format!("write one of {}", crate::reader::list(&PLACES));
            let message = format!("{} is no driver and no profile", Quoted(key));
            return reader.error_with_help(*at, Code::UnknownWord, message, help);
        }
        not_on.push((key.clone(), reader.text(value, "a reason")?));
    }
    Some(not_on)
}
