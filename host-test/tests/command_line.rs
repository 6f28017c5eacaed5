//! The real `holdgate` binary, as its users see it: exit codes, what it says, and the files that it leaves.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test support")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    thread,
};

use holdgate_protocol::bundle::{SignedBundle, revision};
use tempfile::TempDir;

const POLICY: &str = "\
format: 1
policy: demo
rules:
  - id: read
    effect: allow
    match:
      - http: {methods: [GET], path: /**}
tests:
  - name: a read passes
    request: {agent: {}, http: {method: GET, path: /x}}
    expect: {effect: allow, rule: read}
";

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

/// A folder of its own for each test; the binary runs in it, so that its messages have short paths.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Place(TempDir::new().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) -> &Self {
        fs::write(self.path().join(name), text).unwrap();
        self
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path().join(name)).unwrap()
    }

    fn run(&self, arguments: &str) -> Outcome {
        self.run_with(arguments, None)
    }

    fn run_with(&self, arguments: &str, credential: Option<&str>) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdgate"));
        command.args(arguments.split(' ')).current_dir(self.path()).env_remove("HOLDGATE_PUBLISHER_CREDENTIAL");
        command.envs(credential.map(|credential| ("HOLDGATE_PUBLISHER_CREDENTIAL", credential)));
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Outcome { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    #[track_caller]
    fn succeeds(&self, arguments: &str) -> String {
        let outcome = self.run(arguments);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{arguments}");
        outcome.stdout
    }

    #[track_caller]
    fn fails(&self, arguments: &str, code: i32, stderr: &str) {
        let outcome = self.run(arguments);
        assert_eq!((outcome.stderr.as_str(), outcome.code), (stderr, code), "{arguments}");
        assert_eq!(outcome.stdout, "", "{arguments}");
    }

    /// No temporary file stays behind.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn kid(said: &str) -> &str {
    said.lines().next().unwrap().strip_prefix("key ").unwrap()
}

#[test]
fn a_policy_is_built_signed_and_verified() {
    let place = Place::new();
    place.write("demo.yaml", POLICY);
    let said = place.succeeds("keygen --out keys/authors");
    let kid = kid(&said).to_owned();
    assert_eq!(
        said,
        format!("key {kid}\nprivate: keys/authors.jwk (keep it secret)\npublic:  keys/authors.jwks.json\n")
    );
    let mode = |name: &str| fs::metadata(place.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("keys/authors.jwk"), mode("keys/authors.jwks.json")), (0o600, 0o644));
    let public = String::from_utf8(place.read("keys/authors.jwks.json")).unwrap();
    assert!(!public.contains("\"d\""), "{public}");

    let said = place.succeeds("build demo.yaml --out demo.json --serial 7 --sign keys/authors.jwk");
    let signed: SignedBundle = serde_json::from_slice(&place.read("demo.json")).unwrap();
    let rev = revision(&holdgate_protocol::from_b64url(&signed.bundle).unwrap());
    let expected = format!("policy demo, serial 7\nrevision {rev}\n1 rule, signed with key {kid}\nwrote demo.json\n");
    assert_eq!(said, expected);
    let said = place.succeeds("verify demo.json --keys keys/authors.jwks.json");
    assert_eq!(said, format!("policy demo, serial 7\nrevision {rev}\nthe signature is good\n"));
    assert_eq!(place.names(), ["demo.json", "demo.yaml", "keys"]);
}

#[test]
fn the_same_files_give_the_same_bytes() {
    let place = Place::new();
    let other = POLICY.replace("policy: demo", "policy: other").replace("id: read", "id: other.read");
    place.write("demo.yaml", POLICY).write("other.yaml", &other);
    place.succeeds("keygen --out k");
    place.succeeds("build demo.yaml other.yaml --id both --out one.json --sign k.jwk");
    place.succeeds("build other.yaml demo.yaml --id both --out two.json --sign k.jwk");
    place.succeeds("build . ./demo.yaml --id both --out folder.json --sign k.jwk");
    assert_eq!(place.read("one.json"), place.read("two.json"));
    assert_eq!(place.read("one.json"), place.read("folder.json"));
}

#[test]
fn an_unsigned_bundle_is_its_canonical_bytes() {
    let place = Place::new();
    place.write("demo.yaml", POLICY);
    let said = place.succeeds("build demo.yaml --out demo.jcs");
    assert!(said.contains("1 rule, not signed: no gateway will take it"), "{said}");
    let bytes = place.read("demo.jcs");
    assert!(bytes.starts_with(b"{\"format\":1,\"id\":\"demo\""));
    assert!(said.contains(&revision(&bytes).to_string()), "{said}");
    place.succeeds("keygen --out k");
    let outcome = place.run("verify demo.jcs --keys k.jwks.json");
    assert_eq!(outcome.code, 2);
    let start = "`demo.jcs` is not a signed bundle (make one with `holdgate build --sign`): ";
    assert!(outcome.stderr.starts_with(start), "{}", outcome.stderr);
}

#[test]
fn a_changed_bundle_and_a_strangers_signature_are_refused() {
    let place = Place::new();
    place.write("demo.yaml", POLICY);
    let kid = kid(&place.succeeds("keygen --out mine")).to_owned();
    place.succeeds("keygen --out other");
    place.succeeds("build demo.yaml --out demo.json --sign mine.jwk");
    place.fails(
        "verify demo.json --keys other.jwks.json",
        1,
        &format!("demo.json: the signature does not count: no trusted key has the id `{kid}`\n"),
    );
    let mut signed: SignedBundle = serde_json::from_slice(&place.read("demo.json")).unwrap();
    let bytes = holdgate_protocol::from_b64url(&signed.bundle).unwrap();
    let text = String::from_utf8(bytes).unwrap().replace("\"allow\"", "\"deny\"");
    signed.bundle = holdgate_protocol::b64url(text.as_bytes());
    place.write("changed.json", &serde_json::to_string(&signed).unwrap());
    let expected = "changed.json: the signature does not count: the signature does not fit\n";
    place.fails("verify changed.json --keys mine.jwks.json", 1, expected);
    let expected = "`mine.jwk` is not a set of public keys (JWKS): missing field `keys` at line 1 column";
    let outcome = place.run("verify demo.json --keys mine.jwk");
    assert!(outcome.stderr.starts_with(expected), "{}", outcome.stderr);
}

#[test]
fn a_signed_bundle_that_cannot_be_loaded_is_refused() {
    let place = Place::new();
    place.succeeds("keygen --out k");
    let jwk = serde_json::from_slice(&place.read("k.jwk")).unwrap();
    let key = holdgate_protocol::jws::PrivateKey::from_jwk(&jwk).unwrap();
    let bytes = br#"{"format":9,"id":"x"}"#;
    place.write("new.json", &serde_json::to_string(&SignedBundle::sign(bytes, &key)).unwrap());
    let expected = "new.json: format 9 is not known; this version reads format 1\n";
    place.fails("verify new.json --keys k.jwks.json", 1, expected);
}

#[test]
fn a_key_is_never_overwritten() {
    let place = Place::new();
    place.succeeds("keygen --out k");
    let before = place.read("k.jwk");
    let expected = "`k.jwk` exists and is not overwritten; choose another name, or move the old key away\n";
    place.fails("keygen --out k", 2, expected);
    fs::remove_file(place.path().join("k.jwk")).unwrap();
    let expected = "`k.jwks.json` exists and is not overwritten; choose another name, or move the old key away\n";
    place.fails("keygen --out k", 2, expected);
    assert!(!place.path().join("k.jwk").exists());
    place.write("k.jwk", &String::from_utf8(before).unwrap());
    place.fails("keygen --out /", 2, "`/` does not name a file\n");
    // A link that leads nowhere is a name that is taken, too.
    std::os::unix::fs::symlink("elsewhere", place.path().join("link.jwk")).unwrap();
    let expected = "`link.jwk` exists and is not overwritten; choose another name, or move the old key away\n";
    place.fails("keygen --out link", 2, expected);
}

#[test]
fn files_that_cannot_be_read_or_written_are_named() {
    let place = Place::new();
    place.write("demo.yaml", POLICY);
    place.fails("check no.yaml", 2, "cannot read `no.yaml`: No such file or directory (os error 2)\n");
    let expected = "cannot write `no/x.json`: No such file or directory (os error 2)";
    let outcome = place.run("build demo.yaml --out no/x.json");
    assert!(outcome.stderr.starts_with(expected), "{}", outcome.stderr);
    assert_eq!(outcome.code, 2);
    fs::create_dir(place.path().join("folder")).unwrap();
    place.fails("check folder", 2, "`folder` has no rule files (*.yaml or *.yml)\n");
    let outcome = place.run("build demo.yaml --out folder");
    assert!(outcome.stderr.starts_with("cannot write `folder`: "), "{}", outcome.stderr);
    fs::write(place.path().join("latin.yaml"), b"policy: \xe4\n").unwrap();
    place.fails("check latin.yaml", 2, "`latin.yaml` is not UTF-8 text\n");
    let outcome = place.run("build demo.yaml --out x --sign demo.yaml");
    assert!(outcome.stderr.starts_with("`demo.yaml` is not a private key (JWK): "), "{}", outcome.stderr);
    assert_eq!(outcome.code, 2);
    let outcome = place.run("verify folder --keys folder");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (2, "cannot read `folder`: Is a directory (os error 21)\n"));
}

#[test]
fn a_failed_build_leaves_the_old_bundle() {
    let place = Place::new();
    place.write("demo.yaml", POLICY);
    place.succeeds("build demo.yaml --out demo.jcs");
    let before = place.read("demo.jcs");
    place.write("demo.yaml", &POLICY.replace("allow\n", "alow\n"));
    assert_eq!(place.run("build demo.yaml --out demo.jcs").code, 1);
    assert_eq!(place.read("demo.jcs"), before);
}

#[test]
fn an_author_is_told_every_mistake() {
    let place = Place::new();
    place.write(
        "wrong.yaml",
        "\
format: 1
policy: demo
rules:
  - id: write
    efect: hold
    match:
      - http: {methods: [post], path: /iam/**/x}
  - id: unsure
    effect: hold
    when: agent.risk > 0.5
    match:
      - http: {path: /iam/**}
    approval: {factors: [{role: boss, approvals: 1}], decide_within: 30, use_within: 10m}
",
    );
    let expected = "\
wrong.yaml:5:5: unknown key `efect` in a rule
  |
5 |     efect: hold
  |     ^^^^^
  = help: did you mean `effect`?

wrong.yaml:7:26: `post` is not a method
  |
7 |       - http: {methods: [post], path: /iam/**/x}
  |                          ^^^^
  = help: write a method in upper case, such as `POST`; leave out `methods` to match every method

wrong.yaml:7:39: `/iam/**/x` is not a path template: `**` stands for all further segments: it must be the whole of \
the last segment
  |
7 |       - http: {methods: [post], path: /iam/**/x}
  |                                       ^^^^^^^^^

wrong.yaml:10:5: this version does not evaluate `when` in a rule
   |
10 |     when: agent.risk > 0.5
   |     ^^^^
   = help: remove it and say what you mean with the keys that there are; a rule that silently left a condition out \
would decide wrongly

wrong.yaml:13:33: the role `boss` is not declared under `approvers`
   |
13 |     approval: {factors: [{role: boss, approvals: 1}], decide_within: 30, use_within: 10m}
   |                                 ^^^^
   = help: declare it at the top of the file: `approvers: {boss: {}}`

wrong.yaml:13:70: `30` is not a duration
   |
13 |     approval: {factors: [{role: boss, approvals: 1}], decide_within: 30, use_within: 10m}
   |                                                                      ^^
   = help: write a whole number from 1 and a unit: `45s`, `10m`, `1h`, `7d`

6 mistakes found
";
    place.fails("check wrong.yaml", 1, expected);
    place.fails("build wrong.yaml --out x", 1, expected);
    place.fails("test wrong.yaml", 1, expected);
}

#[test]
fn tests_of_rule_files_are_run() {
    let place = Place::new();
    place.write("demo.yaml", POLICY);
    assert_eq!(place.succeeds("check demo.yaml"), "demo: 1 rule, no mistakes\n");
    assert_eq!(place.succeeds("test demo.yaml demo.yaml"), "1 passed\n");
    place.write("demo.yaml", &POLICY.replace("method: GET", "method: PUT"));
    let expected = "\
demo.yaml:9:11: test `a read passes` failed
  expected: allow by `read`
  actual:   deny, no rule matched

0 passed, 1 failed
";
    place.fails("test demo.yaml", 1, expected);
    let without = POLICY.split("tests:").next().unwrap();
    place.write("demo.yaml", without);
    let expected = "there are no tests in 1 rule file; add a `tests` list, as a policy without tests proves nothing\n";
    place.fails("test demo.yaml", 1, expected);
}

#[test]
fn several_policies_need_an_id() {
    let place = Place::new();
    let other = POLICY.replace("policy: demo", "policy: other").replace("id: read", "id: other.read");
    place.write("demo.yaml", POLICY).write("other.yaml", &other);
    let expected = "several policies go into one bundle (demo, other); name it with `--id`\n";
    place.fails("build demo.yaml other.yaml --out x", 2, expected);
    place.fails("build demo.yaml --id a/b --out x", 2, "`a/b` is not an id: write letters, digits, `.`, `_` and `-`\n");
    let outcome = place.run("build --out x");
    assert_eq!(outcome.code, 2);
    assert!(outcome.stderr.contains("<PATH>..."), "{}", outcome.stderr);
}

/// Answers one request, and returns it.
fn serve_once(head: &str, body: &str) -> (String, thread::JoinHandle<String>) {
    let answer = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            let text = String::from_utf8_lossy(&request).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
                if body.len() >= length.unwrap().parse().unwrap() {
                    stream.write_all(answer.as_bytes()).unwrap();
                    return text;
                }
            }
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "the request ends early: {text}");
            request.extend_from_slice(&buffer[..count]);
        }
    });
    (address, served)
}

#[test]
fn a_bundle_is_published_with_the_credential() {
    let place = Place::new();
    place.write("demo.yaml", POLICY);
    place.succeeds("keygen --out k");
    let said = place.succeeds("build demo.yaml --out demo.json --sign k.jwk");
    let rev = said.lines().find_map(|line| line.strip_prefix("revision ")).unwrap();

    let (address, served) = serve_once("201 Created", "");
    let outcome = place.run_with(&format!("publish demo.json --to {address}/"), Some("s3cret"));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert_eq!(outcome.stdout, format!("published\nrevision {rev}\n"));
    let request = served.join().unwrap();
    assert!(request.starts_with(&format!("PUT /api/bundles/{rev} HTTP/1.1\r\n")), "{request}");
    assert!(request.contains("authorization: Bearer s3cret\r\n"), "{request}");
    assert!(request.ends_with(std::str::from_utf8(&place.read("demo.json")).unwrap()), "{request}");

    let refusal = r#"{"error":"serial","detail":"serial 1 is not higher than serial 4"}"#;
    let (address, served) = serve_once("409 Conflict\r\ncontent-type: application/json", refusal);
    let outcome = place.run_with(&format!("publish demo.json --to {address}"), Some("s3cret"));
    assert_eq!(outcome.stderr, "the service refused the bundle (409): serial 1 is not higher than serial 4\n");
    assert_eq!(outcome.code, 1);
    served.join().unwrap();

    let (address, served) = serve_once("302 Found\r\nlocation: /elsewhere", "");
    let outcome = place.run_with(&format!("publish demo.json --to {address}"), Some("s3cret"));
    let expected = format!("`{address}` does not answer as it should: it answered with status 302\n");
    assert_eq!((outcome.code, outcome.stderr), (2, expected));
    served.join().unwrap();
}

#[test]
fn publishing_needs_an_address_a_credential_and_a_service() {
    let place = Place::new();
    place.write("demo.yaml", POLICY);
    place.succeeds("keygen --out k");
    place.succeeds("build demo.yaml --out demo.json --sign k.jwk");
    let expected = "set HOLDGATE_PUBLISHER_CREDENTIAL to what `holdgate-approval publisher add` printed\n";
    place.fails("publish demo.json --to http://127.0.0.1:1", 2, expected);
    let outcome = place.run_with("publish demo.json --to https://x.example", Some("c"));
    let expected = "`https://x.example` is not `http://` on this machine: the credential does not cross a network in clear \
                    text; publish where the service runs, or through a tunnel that ends here\n";
    assert_eq!((outcome.code, outcome.stderr.as_str()), (2, expected));
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let outcome = place.run_with(&format!("publish demo.json --to http://{free}"), Some("c"));
    assert_eq!(outcome.code, 2);
    let start = format!("`http://{free}` does not answer as it should: ");
    assert!(outcome.stderr.starts_with(&start), "{}", outcome.stderr);
}

#[test]
fn the_commands_of_the_rule_files_readme_work() {
    let place = Place::new();
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    fs::create_dir(place.path().join("policies")).unwrap();
    fs::copy(policies.join("iam-guardrails.yaml"), place.path().join("policies/iam-guardrails.yaml")).unwrap();
    let readme = fs::read_to_string(policies.join("README.md")).unwrap();
    let commands: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("holdgate ")).collect();
    assert_eq!(commands.len(), 6, "{commands:?}");
    for command in commands {
        if let Some((start, _)) = command.split_once("http://") {
            let (address, served) = serve_once("201 Created", "");
            assert_eq!(place.run_with(&format!("{start}{address}"), Some("s3cret")).code, 0);
            served.join().unwrap();
        } else {
            place.succeeds(command);
        }
    }
}
