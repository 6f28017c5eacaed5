//! `holdgate ledger verify`. The attacks on an export are in the protocol's own tests; here is how the command tells them.

use holdgate_protocol::{
    b64,
    checkpoint::{Checkpoint, verifier_keys},
    jws::{Jwks, Keys, PrivateKey},
    ledger::{Entry, checkpoint_line, header_line},
    merkle::{Frontier, leaf_hash},
};
use serde_json::{Value, json};

use crate::place::Place;

const ORIGIN: &str = "approvals.example.com";

/// A ledger with its key, and a folder for what an auditor has of it.
struct Ledger {
    place: Place,
    key: PrivateKey,
    leaves: Vec<String>,
}

impl Ledger {
    fn new() -> Self {
        let place = Place::new();
        let key = PrivateKey::from_seed(&[7; 32]);
        let jwks = Jwks { keys: vec![key.to_public_jwk()] };
        place.write("ledger.jwks.json", &serde_json::to_string(&jwks).unwrap());
        let leaf = |seq: u64| {
            let (kind, data) = ("person.signed_in", format!("{{\"person\":\"p{seq}\"}}"));
            Entry { seq, time: 1_790_000_000 + seq, kind, hold: None, decided_by: None, data: &data }.to_leaf()
        };
        let ledger = Ledger { place, key, leaves: (1..=6).map(leaf).collect() };
        let good = ledger.export(&ledger.leaves);
        ledger.place.write("good.jsonl", &good).write("four.note", &ledger.note(4));
        ledger
    }

    fn note(&self, size: usize) -> String {
        let mut frontier = Frontier::default();
        self.leaves[..size].iter().for_each(|leaf| frontier.append(leaf_hash(leaf.as_bytes()), |_, _| ()));
        let checkpoint = Checkpoint { origin: ORIGIN.into(), size: size as u64, root: frontier.root() };
        checkpoint.sign(&self.key).unwrap()
    }

    fn export(&self, leaves: &[String]) -> String {
        let lines: String = leaves.iter().map(|leaf| format!("{leaf}\n")).collect();
        header_line(ORIGIN, 6) + &lines + &checkpoint_line(&self.note(6))
    }

    fn root(&self) -> String {
        b64(Checkpoint::unverified(&self.note(6)).unwrap().root.as_bytes())
    }
}

#[test]
fn a_good_export_is_verified_and_the_root_told() {
    let ledger = Ledger::new();
    let place = &ledger.place;
    let expected = format!(
        "ledger {ORIGIN}: 6 entries, 2 checkpoints fit\nfrom 2026-09-21T14:13:21Z to 2026-09-21T14:13:26Z\nroot {}\nverified: every entry is as it was signed\n",
        ledger.root()
    );
    assert_eq!(place.succeeds("ledger verify good.jsonl --key ledger.jwks.json --checkpoint four.note"), expected);

    let keys = Keys::new(&Jwks { keys: vec![ledger.key.to_public_jwk()] }).unwrap();
    place.write("ledger.key", &(verifier_keys(ORIGIN, &keys).pop().unwrap() + "\n"));
    let from_input = ["ledger", "verify", "-", "--key", "ledger.key", "--format", "json", "--inclusion", "3"];
    let outcome = place.run_with_input(&from_input, &ledger.export(&ledger.leaves));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&report["verified"], &report["entries"], &report["findings"]), (&json!(true), &json!(6), &json!([])));
    assert_eq!(report["inclusion"]["proof"].as_array().unwrap().len(), 3);
    let said = place.succeeds("ledger verify good.jsonl --key ledger.key --inclusion 6");
    assert!(said.contains("entry 6 is in the tree of size 6: leaf "), "{said}");
    let said = place.succeeds("ledger verify good.jsonl --key ledger.key --inclusion 7");
    assert!(said.ends_with("there is no proof for entry 7\n"), "{said}");
}

#[test]
fn findings_are_told_with_exit_code_1() {
    let ledger = Ledger::new();
    let place = &ledger.place;
    let mut leaves = ledger.leaves.clone();
    leaves[5] = leaves[5].replace("p6", "p7");
    place.write("changed.jsonl", &ledger.export(&leaves));
    let outcome = place.run("ledger verify changed.jsonl --key ledger.jwks.json --checkpoint four.note");
    let told = "\nchanged: the entries are not those for which the checkpoint in line 8 vouches: what was changed is among entries 5 to 6; the first 4 are as they were signed\nnot verified\n";
    assert_eq!((outcome.code, outcome.stderr.as_str()), (1, ""));
    assert!(outcome.stdout.ends_with(told), "{}", outcome.stdout);

    leaves.remove(2);
    place.write("gap.jsonl", &ledger.export(&leaves));
    let outcome = place.run("ledger verify gap.jsonl --key ledger.jwks.json --format json");
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let gap = json!([{"kind": "gap", "line": 4, "seq": 3, "message": "entry 3 is missing behind entry 2"}]);
    assert_eq!((outcome.code, &report["findings"], &report["verified"]), (1, &gap, &json!(false)));

    let outcome = place.run("ledger verify good.jsonl --key ledger.jwks.json --origin other.example.com");
    assert_eq!(outcome.code, 1);
    let told = "origin: the header is of the ledger `approvals.example.com`, not of `other.example.com`\n";
    assert!(outcome.stdout.contains(told), "{}", outcome.stdout);

    // What a file says is not what a terminal does.
    let leaf = ledger.leaves[0].replace("person.signed_in", "\\u001b[2J");
    place.write("escape.jsonl", &format!("{}{leaf}\n\u{1b}[2J{{\u{202e}\n", header_line("\u{1b}[2J", 1)));
    let outcome = place.run("ledger verify escape.jsonl --key ledger.jwks.json");
    assert_eq!(outcome.code, 1);
    assert!(!outcome.stdout.contains(['\u{1b}', '\u{202e}']), "{}", outcome.stdout);
}

#[test]
fn checkpoints_of_a_retired_key_count_where_it_is_named_as_such() {
    let mut ledger = Ledger::new();
    ledger.key = PrivateKey::from_seed(&[8; 32]);
    let mut lines: Vec<String> = ledger.export(&ledger.leaves).lines().map(|line| format!("{line}\n")).collect();
    let place = &ledger.place;
    lines.insert(5, checkpoint_line(&String::from_utf8(place.read("four.note")).unwrap()));
    let new = Jwks { keys: vec![ledger.key.to_public_jwk()] };
    place.write("rotated.jsonl", &lines.concat()).write("new.jwks.json", &serde_json::to_string(&new).unwrap());
    place.write("none.jwks.json", "{\"keys\":[]}");
    let said = place.succeeds(
        "ledger verify rotated.jsonl --key new.jwks.json --retired-key ledger.jwks.json --checkpoint four.note",
    );
    assert!(said.starts_with(&format!("ledger {ORIGIN}: 6 entries, 3 checkpoints fit\n")), "{said}");
    let without = place.run("ledger verify rotated.jsonl --key new.jwks.json --retired-key none.jwks.json");
    assert!(without.code == 1 && without.stdout.contains("or a key that is retired, if it is not given as such"));
    let forged = place.run("ledger verify good.jsonl --key new.jwks.json --retired-key ledger.jwks.json");
    assert!(
        forged.code == 1 && forged.stdout.contains("unsigned: no checkpoint of a trusted key vouches"),
        "{}",
        forged.stdout
    );
}

#[test]
fn what_cannot_be_examined_is_exit_code_2() {
    let ledger = Ledger::new();
    let place = &ledger.place;
    place.fails(
        "ledger verify none.jsonl --key ledger.jwks.json",
        2,
        "cannot read `none.jsonl`: No such file or directory (os error 2)\n",
    );
    let outcome = place.run("ledger verify good.jsonl --key four.note");
    assert_eq!(outcome.code, 2);
    assert!(outcome.stderr.starts_with("`four.note` is not a set of public keys"), "{}", outcome.stderr);
    let other = PrivateKey::from_seed(&[8; 32]);
    place.write("other.jwks.json", &serde_json::to_string(&Jwks { keys: vec![other.to_public_jwk()] }).unwrap());
    place.fails(
        "ledger verify good.jsonl --key other.jwks.json --checkpoint four.note",
        2,
        "`four.note` is no checkpoint that can be held against a ledger: none of the trusted keys has signed it\n",
    );
    place.fails(
        "ledger verify good.jsonl --key ledger.jwks.json --checkpoint good.jsonl",
        2,
        "`good.jsonl` is no checkpoint that can be held against a ledger: not a signed note of at most 16 KiB: text, an empty line, and lines that begin with `— `, each ended by a line feed\n",
    );
}
