//! `holdgate serve`, driven over HTTP as curl would.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use crate::place::Place;

const RULES: &str = "\
format: 1
policy: things
owner: team@example.com
approvers: {approver: {description: May approve.}}
rules:
  - {id: read, effect: allow, match: [{http: {methods: [GET], path: /**}}]}
  - {id: secret, effect: deny, reason: It is secret., match: [{http: {path: /secret/**}}]}
  - id: delete
    effect: hold
    match: [{http: {methods: [DELETE], path: '/things/{thing}'}}]
    approval: {factors: [{role: approver, approvals: 1}], decide_within: 1h, use_within: 10m}
tests:
  - {name: a read, request: {agent: {}, http: {method: GET, path: /things}}, expect: {effect: allow}}
  - {name: a secret, request: {agent: {}, http: {method: GET, path: /secret/x}}, expect: {effect: deny}}
  - {name: a deletion, request: {agent: {}, http: {method: DELETE, path: /things/7}}, expect: {effect: hold}}
";

/// How long anything may take, the compilation of the filter included.
const LIMIT: Duration = Duration::from_secs(240);

/// A running command; dropped, it ends.
struct Serving {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

impl Serving {
    fn start(place: &Place, options: &[&str]) -> Serving {
        place.write("things.yaml", RULES);
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdgate"));
        command.args(["serve", "things.yaml", "--listen", "127.0.0.1:0", "--wasm"]);
        command.arg(holdgate_host::plugin::built(env!("CARGO_MANIFEST_DIR").as_ref()).unwrap()).args(options);
        command.current_dir(place.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Serving { child, lines, said: Vec::new() }
    }

    /// Waits for a line with this part.
    fn line(&mut self, part: &str) -> String {
        if let Some(line) = self.said.iter().find(|line| line.contains(part)) {
            return line.clone();
        }
        let begun = Instant::now();
        while let Ok(line) = self.lines.recv_timeout(LIMIT.saturating_sub(begun.elapsed())) {
            self.said.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
        panic!("no line with `{part}`: {:#?}", self.said);
    }

    /// Sends what a line of curl behind this heading would; the status and the answer.
    fn paste(&mut self, heading: &str) -> (u16, String) {
        self.line("# held");
        self.line("-X 'DELETE'");
        let place = self.said.iter().position(|line| line.starts_with(heading)).unwrap();
        request(&self.said[place + 1])
    }
}

fn request(curl: &str) -> (u16, String) {
    let words: Vec<&str> = curl.split('\'').collect();
    let url = words.iter().find_map(|word| word.strip_prefix("http://")).unwrap();
    let (address, path) = url.split_once('/').unwrap();
    let method = if curl.contains("-X 'DELETE'") { "DELETE" } else { "GET" };
    let mut head = format!("{method} /{path} HTTP/1.1\r\nconnection: close\r\n");
    for field in words.iter().filter(|word| word.starts_with("host: ") || word.starts_with("authorization: ")) {
        head.push_str(&format!("{field}\r\n"));
    }
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

#[test]
fn rules_are_tried_by_the_lines_that_it_prints() {
    let place = Place::new();
    let mut serving = Serving::start(&place, &["--approve-after", "200ms"]);
    let (status, answer) = serving.paste("# allowed");
    assert!(status == 200 && answer.contains("\"target\": \"/things\""), "{answer}");
    assert!(!answer.contains("Bearer"), "{answer}");
    let (status, answer) = serving.paste("# denied");
    assert!(status == 403 && answer.contains("It is secret."), "{answer}");
    let begun = Instant::now();
    let (status, answer) = serving.paste("# held");
    assert!(status == 200 && answer.contains("\"method\": \"DELETE\""), "{answer}");
    assert!(begun.elapsed() >= Duration::from_millis(150));
    for line in ["GET /things: allow; 200", "GET /secret/x: denied by secret; 403", "h1 is approved", "granted; 200"] {
        serving.line(line);
    }

    // Another rule file counts as soon as it is there, and a wrong one changes nothing.
    fs::write(place.path().join("things.yaml"), RULES.replace("path: /secret/**", "path: /things/**")).unwrap();
    serving.line("serial 2");
    let (status, answer) = until(|| serving.paste("# allowed"), 403);
    assert_eq!(status, 403, "{answer}");
    fs::write(place.path().join("things.yaml"), "format: 9").unwrap();
    serving.line("the rules stay as they were");
    assert_eq!(serving.paste("# allowed").0, 403);
}

#[test]
fn reviewer_at_the_terminal_decides_and_the_upstream_is_asked() {
    let place = Place::new();
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", upstream.local_addr().unwrap());
    let mut serving = Serving::start(&place, &["--ask", "--upstream", &url]);
    let asked = thread::spawn(move || {
        let (mut stream, _) = upstream.accept().unwrap();
        let mut head = [0; 4096];
        let count = stream.read(&mut head).unwrap();
        stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 4\r\nx-own: 1\r\n\r\nmine").unwrap();
        String::from_utf8(head[..count].to_vec()).unwrap()
    });
    serving.line("-X 'DELETE'");
    let mut input = serving.child.stdin.take().unwrap();
    let held = serving.said.iter().rfind(|line| line.contains("-X 'DELETE'")).unwrap().clone();
    let waiting = thread::spawn(move || request(&held));
    serving.line("held as h1");
    assert!(!asked.is_finished());
    input.write_all(b"y h1\n").unwrap();
    let (status, answer) = waiting.join().unwrap();
    assert!(status == 202 && answer.ends_with("mine") && answer.contains("x-own: 1"), "{answer}");
    let head = asked.join().unwrap();
    assert!(head.starts_with("DELETE /things/7 HTTP/1.1\r\n"), "{head}");
}

#[test]
fn other_machines_are_not_served() {
    let place = Place::new();
    place.write("things.yaml", RULES);
    let outcome = place.run("serve things.yaml --listen 0.0.0.0:0");
    assert_eq!(outcome.code, 2);
    assert!(outcome.stderr.contains("is not on this machine"), "{}", outcome.stderr);
}

/// Asks until the status is the wanted one; at last says what it is.
fn until(mut ask: impl FnMut() -> (u16, String), wanted: u16) -> (u16, String) {
    let begun = Instant::now();
    loop {
        let answer = ask();
        if answer.0 == wanted || begun.elapsed() > Duration::from_secs(10) {
            return answer;
        }
    }
}
