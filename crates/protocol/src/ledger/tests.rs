use super::*;
use crate::{
    Hash,
    checkpoint::Checkpoint,
    jws::{Jwks, Keys, PrivateKey},
    merkle::{Frontier, leaf_hash, verify_inclusion},
};

const ORIGIN: &str = "approvals.example.com";

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32])
}

fn keys() -> Keys {
    Keys::new(&Jwks { keys: vec![key(1).to_public_jwk()] }).unwrap()
}

/// Entries of three holds: one used, one denied, one pending.
fn leaves() -> Vec<String> {
    type Row = (&'static str, Option<&'static str>, Option<&'static str>, &'static str);
    let entries: [Row; 10] = [
        ("eligibility.granted", None, None, r#"{"id":"e1","person":"alice","role":"iam"}"#),
        ("hold.opened", Some("h1"), Some("policy"), r#"{"text":"é\u001f"}"#),
        ("hold.approved", Some("h1"), Some("human"), r#"{"person":"alice","role":"iam","verdict":"approve"}"#),
        ("hold.used", Some("h1"), Some("human"), "{}"),
        ("hold.opened", Some("h2"), Some("policy"), "{}"),
        (
            "hold.denied",
            Some("h2"),
            Some("human"),
            r#"{"person":"alice","reason":"bob","role":"iam","verdict":"deny"}"#,
        ),
        ("hold.opened", Some("h3"), Some("policy"), "{}"),
        ("correction", None, None, r#"{"corrects":6,"reason":"wrong_reason","text":"x"}"#),
        ("audit.batch", None, None, r#"{"records":3}"#),
        ("person.signed_in", None, None, "{}"),
    ];
    let leaf = |(at, (kind, hold, decided_by, data)): (usize, Row)| {
        Entry { seq: at as u64 + 1, time: 1000 + at as u64, kind, hold, decided_by, data }.to_leaf()
    };
    entries.into_iter().enumerate().map(leaf).collect()
}

fn root(leaves: &[String]) -> Hash {
    let mut frontier = Frontier::default();
    leaves.iter().for_each(|leaf| frontier.append(leaf_hash(leaf.as_bytes()), |_, _| ()));
    frontier.root()
}

fn checkpoint(leaves: &[String]) -> Checkpoint {
    Checkpoint { origin: ORIGIN.into(), size: leaves.len() as u64, root: root(leaves) }
}

/// An export as the service writes it, with checkpoints at these sizes.
fn export_of(leaves: &[String], key: &PrivateKey, sizes: &[usize]) -> Vec<String> {
    let mut lines = vec![header_line(ORIGIN, leaves.len() as u64)];
    for at in 0..=leaves.len() {
        if let Some(leaf) = at.checked_sub(1).map(|at| &leaves[at]) {
            lines.push(format!("{leaf}\n"));
        }
        if sizes.contains(&at) {
            lines.push(checkpoint_line(&checkpoint(&leaves[..at]).sign(key).unwrap()));
        }
    }
    lines
}

fn export(sizes: &[usize]) -> Vec<String> {
    export_of(&leaves(), &key(1), sizes)
}

fn kept(name: &str, leaves: &[String]) -> Kept {
    Kept { name: name.into(), checkpoint: checkpoint(leaves), signer: Signer::Present }
}

fn check(lines: &[String], kept: Vec<Kept>) -> Report {
    let keys = keys();
    verify(lines.concat().as_bytes(), Verifier::new(&keys, kept)).unwrap()
}

#[test]
fn what_the_service_writes_is_verified() {
    for sizes in [&[10][..], &[0, 3, 7, 10], &[4, 10]] {
        let lines = export(sizes);
        let report = check(&lines, vec![kept("old", &leaves()[..5]), kept("same", &leaves())]);
        assert_eq!(report.findings, []);
        assert!(report.verified);
        assert_eq!((report.entries, report.root), (10, root(&leaves())));
        assert_eq!((report.first_time, report.last_time), (Some(1000), Some(1009)));
        assert_eq!(report.checkpoints, sizes.len() as u64 + 2);
    }
    let empty = check(&export_of(&[], &key(1), &[0]), vec![]);
    assert!(empty.verified && empty.entries == 0, "{empty:?}");
    // The line feed at the end is no more than an end.
    assert!(check(&[export(&[10]).concat().trim_end().to_owned()], vec![]).verified);
}

#[test]
fn a_leaf_is_the_canonical_form_of_its_entry() {
    for leaf in leaves() {
        assert_eq!(String::from_utf8(Json::parse(leaf.as_bytes()).unwrap().to_jcs()).unwrap(), leaf);
    }
}

#[test]
fn the_proof_of_an_entry_is_gathered_on_the_way() {
    let keys = keys();
    for seq in 1..=10 {
        let verifier = Verifier::new(&keys, vec![]).with_proof_of(Some(seq));
        let report = verify(export(&[10]).concat().as_bytes(), verifier).unwrap();
        let Inclusion { leaf, size, root, proof, .. } = report.inclusion.unwrap();
        assert_eq!(leaf, leaf_hash(leaves()[seq as usize - 1].as_bytes()));
        assert_eq!(verify_inclusion(leaf, seq - 1, size, root, &proof), Ok(()));
    }
    for none in [0, 11, u64::MAX] {
        let verifier = Verifier::new(&keys, vec![]).with_proof_of(Some(none));
        assert_eq!(verify(export(&[10]).concat().as_bytes(), verifier).unwrap().inclusion, None);
    }
}

/// What somebody does to an export.
type Attack = fn(&mut Vec<String>);

/// With checkpoints behind entries 4 and 10: lines 1 (header), 2 to 5, 6 (checkpoint), 7 to 12, 13 (checkpoint).
const ATTACKS: &[(&str, Attack, &[&str])] = &[
    (
        "an entry is changed",
        |lines| lines[7] = lines[7].replace("bob", "eve"),
        &[
            "changed: the entries are not those for which the checkpoint in line 13 vouches: what was changed is among entries 5 to 10; the first 4 are as they were signed",
        ],
    ),
    (
        "an early entry is changed",
        |lines| lines[3] = lines[3].replace("alice", "mallory"),
        &[
            "changed: the entries are not those for which the checkpoint in line 6 vouches: what was changed is among entries 1 to 4; an older checkpoint would tell more closely which",
        ],
    ),
    ("an entry is taken out", |lines| drop(lines.remove(7)), &["gap: entry 6 is missing behind entry 5"]),
    (
        "the first entries are taken out",
        |lines| drop(lines.drain(1..3)),
        &[
            "course: entry 3 is `hold.approved` of hold `h1`, which was never opened",
            "gap: entries 1 to 2 are missing at the start",
        ],
    ),
    (
        "an entry is taken out, and those behind it are given other numbers",
        |lines| {
            lines.remove(7);
            for (at, line) in lines.iter_mut().enumerate().skip(7) {
                *line = line.replace(&format!("\"seq\":{}", at), &format!("\"seq\":{}", at - 1));
            }
            lines[0] = header_line(ORIGIN, 9);
        },
        &[
            "cut: the checkpoint in line 12 vouches for 10 entries, and the last one before it is 9: entry 10 is missing",
            "cut: the",
        ],
    ),
    (
        "two entries change places",
        |lines| lines.swap(7, 8),
        &["order: entry 6 stands behind entry 7; entries are in the order of their numbers"],
    ),
    (
        "two entries change places, and their numbers too",
        |lines| {
            lines.swap(8, 9);
            lines[8] = lines[8].replace("\"seq\":8", "\"seq\":7");
            lines[9] = lines[9].replace("\"seq\":7", "\"seq\":8");
        },
        &[
            "changed: the entries are not those for which the checkpoint in line 13 vouches: what was changed is among entries 5 to 10",
        ],
    ),
    (
        "an entry stands there twice",
        |lines| lines.insert(8, lines[7].clone()),
        &["duplicate: entry 6 stands there again"],
    ),
    (
        "an entry stands there again with another content",
        |lines| lines.insert(8, lines[7].replace("bob", "eve")),
        &["duplicate: entry 6 stands there again"],
    ),
    (
        "the tail is cut",
        |lines| lines.truncate(10),
        &[
            "unsigned: no checkpoint vouches for entries 5 to 8",
            "cut: the header announces 10 entries, and the last one is 8: entries 9 to 10 are missing",
        ],
    ),
    (
        "the tail is cut before the last checkpoint",
        |lines| drop(lines.drain(10..12)),
        &[
            "cut: the checkpoint in line 11 vouches for 10 entries, and the last one before it is 8: entries 9 to 10 are missing",
            "cut: the header announces",
        ],
    ),
    (
        "the tail is cut in the middle of a line",
        |lines| {
            lines.truncate(10);
            let half = lines[9].len() / 2;
            lines[9].truncate(half);
        },
        &[
            "line: line 10 cannot be read: it is no JSON with one reading: the text ends before the value does",
            "unsigned: no checkpoint vouches for entries 5 to 7",
            "cut: the header announces 10 entries, and the last one is 7",
        ],
    ),
    (
        "the tail is cut, and signed anew with another key",
        |lines| *lines = export_of(&leaves()[..8], &key(2), &[8]),
        &[
            "signature: the checkpoint in line 10 does not count: none of the trusted keys has signed it; somebody else may have signed it, or a key that is retired, if it is not given as such",
            "unsigned: no checkpoint of a trusted key vouches for any of the entries",
        ],
    ),
    (
        "a checkpoint is given another size",
        |lines| {
            let last = lines.last_mut().unwrap();
            *last = last.replace("\\n10\\n", "\\n9\\n");
        },
        &[
            "signature: the checkpoint in line 13 does not count: the signature of a trusted key does not fit",
            "unsigned: no checkpoint vouches for entries 5 to 10",
        ],
    ),
    (
        "the last checkpoint is taken out",
        |lines| drop(lines.pop()),
        &["unsigned: no checkpoint vouches for entries 5 to 10"],
    ),
    (
        "all checkpoints are taken out",
        |lines| lines.retain(|line| !line.contains("checkpoint")),
        &["unsigned: no checkpoint of a trusted key vouches for any of the entries"],
    ),
    (
        "the checkpoints change places",
        |lines| lines.swap(5, 12),
        &[
            "cut: the checkpoint in line 6 vouches for 10 entries, and the last one before it is 4: entries 5 to 10 are missing",
            "order: the checkpoint in line 13 vouches for 4 entries only, and stands behind entry 10",
        ],
    ),
    (
        "the checkpoint of another ledger of the same key stands there",
        |lines| {
            let other = Checkpoint { origin: "other.example.com".into(), ..checkpoint(&leaves()) };
            lines[12] = checkpoint_line(&other.sign(&key(1)).unwrap());
        },
        &["origin: the checkpoint in line 13 is of the ledger `other.example.com`, not of `approvals.example.com`"],
    ),
    (
        "an entry is put behind the last checkpoint",
        |lines| {
            lines
                .push(Entry { seq: 11, time: 0, kind: "x", hold: None, decided_by: None, data: "{}" }.to_leaf() + "\n");
            lines[0] = header_line(ORIGIN, 11);
        },
        &["unsigned: no checkpoint vouches for entry 11"],
    ),
    (
        "an entry is put before the last checkpoint",
        |lines| {
            lines.insert(
                12,
                Entry { seq: 11, time: 0, kind: "x", hold: None, decided_by: None, data: "{}" }.to_leaf() + "\n",
            );
            lines[0] = header_line(ORIGIN, 11);
        },
        &[
            "order: the checkpoint in line 14 vouches for 10 entries only, and stands behind entry 11",
            "unsigned: no checkpoint vouches for entry 11",
        ],
    ),
    (
        "a line is written in another form",
        |lines| lines[7] = lines[7].replace("\"seq\":6", "\"seq\": 6"),
        &["line: line 8 (entry 6) is not in canonical form (RFC 8785)", "changed: the entries are not those"],
    ),
    (
        "the lines end as on Windows",
        |lines| lines[7] = lines[7].replace('\n', "\r\n"),
        &["line: line 8 (entry 6) is not in canonical form", "changed: the entries are not those"],
    ),
    (
        "a byte-order mark stands before the file",
        |lines| lines[0].insert(0, '\u{feff}'),
        &["header: line 1 cannot be read: it is no JSON with one reading: the text starts with a byte-order mark"],
    ),
    (
        "a member is there twice",
        |lines| lines[7] = lines[7].replace("\"seq\":6", "\"seq\":6,\"seq\":6"),
        &["line: line 8 cannot be read: it is no JSON with one reading: an object has the same key twice"],
    ),
    (
        "a member is added",
        |lines| lines[7] = lines[7].replace("\"seq\":6", "\"note\":1,\"seq\":6"),
        &["line: line 8 cannot be read: it is no entry, checkpoint or header: `note` is not known here"],
    ),
    ("an empty line is put in", |lines| lines.insert(7, "\n".into()), &["line: line 8 cannot be read"]),
    (
        "a line without end is put in",
        |lines| lines.insert(7, "x".repeat(3 * MAX_LINE) + "\n"),
        &["line: line 8 cannot be read: it is longer than 1048576 bytes"],
    ),
    ("the header is taken out", |lines| drop(lines.remove(0)), &["header: line 1 is not the header"]),
    (
        "the header is of another format",
        |lines| lines[0] = lines[0].replace("\"format\":1", "\"format\":2"),
        &["header: line 1 is not the header of an export: `format`: this version reads format 1"],
    ),
    (
        "the header announces less",
        |lines| lines[0] = header_line(ORIGIN, 9),
        &["header: the header announces 9 entries, and there are more, up to 10"],
    ),
    (
        "a number that no ledger reaches",
        |lines| lines[8] = lines[8].replace("\"seq\":7", "\"seq\":18446744073709551615"),
        &["order: entry 8 stands behind entry 18446744073709551615"],
    ),
];

#[test]
fn every_attack_is_found_and_named() {
    for (name, attack, expected) in ATTACKS {
        let mut lines = export(&[4, 10]);
        assert_eq!(lines.len(), 13);
        attack(&mut lines);
        let report = check(&lines, vec![]);
        assert!(!report.verified, "{name}");
        let found: Vec<_> =
            report.findings.iter().map(|found| format!("{}: {}", found.kind.as_str(), found.message)).collect();
        for expected in *expected {
            assert!(found.iter().any(|found| found.starts_with(expected)), "{name}: {expected}\n{found:#?}");
        }
    }
}

#[test]
fn every_change_of_a_byte_is_found() {
    let good = export(&[4, 10]).concat().into_bytes();
    let keys = keys();
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        let report = verify(&*bytes, Verifier::new(&keys, vec![])).unwrap();
        assert!(!report.verified && !report.findings.is_empty(), "byte {at}");
    }
    for end in 0..good.len() - 1 {
        assert!(!verify(&good[..end], Verifier::new(&keys, vec![])).unwrap().verified, "cut at {end}");
    }
}

#[test]
fn what_an_auditor_kept_tells_what_the_file_cannot() {
    let all = leaves();
    // A file of an earlier moment is sound in itself.
    let earlier = export_of(&all[..7], &key(1), &[7]);
    assert!(check(&earlier, vec![]).verified);
    let report = check(&earlier, vec![kept("mine.note", &all)]);
    let cut = "`mine.note` vouches for 10 entries, and the last one here is 7: entries 8 to 10 are missing at the end";
    assert_eq!((report.findings[0].kind, report.findings[0].message.as_str()), (FindingKind::Cut, cut));

    // So is one that who has the key made anew.
    let mut other = all.clone();
    other[5] = other[5].replace("bob", "eve");
    let rewritten = export_of(&other, &key(1), &[10]);
    assert!(check(&rewritten, vec![kept("early.note", &all[..5])]).verified);
    let report = check(&rewritten, vec![kept("early.note", &all[..5]), kept("mine.note", &all[..8])]);
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].kind, FindingKind::Rewritten);
    assert!(report.findings[0].message.starts_with("the first 8 entries are not those for which `mine.note` vouches"));

    // Where nobody signed it anew, what was kept narrows where the change lies.
    let mut lines = export(&[10]);
    lines[6] = lines[6].replace("bob", "eve");
    let report = check(&lines, vec![kept("8.note", &all[..8]), kept("5.note", &all[..5]), kept("0.note", &[])]);
    let narrow = "the entries are not those for which `8.note` vouches: what was changed is among entries 6 to 8; the first 5 are as they were signed";
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].message, narrow);

    let keys = keys();
    let verifier = Verifier::new(&keys, vec![]).of_origin(Some("other.example.com".into()));
    let report = verify(export(&[10]).concat().as_bytes(), verifier).unwrap();
    assert!(!report.verified && report.findings.iter().all(|found| found.kind == FindingKind::Origin));
}

#[test]
fn what_a_retired_key_signed_counts_below_what_a_key_in_force_signs() {
    let (all, old) = (leaves(), Keys::new(&Jwks { keys: vec![key(2).to_public_jwk()] }).unwrap());
    let keys = keys();
    let check = |lines: &[String], kept: Vec<Kept>, retired: Option<&Keys>| {
        verify(lines.concat().as_bytes(), Verifier::new(&keys, kept).with_retired(retired)).unwrap()
    };
    // The key was rotated behind entry 6.
    let mut rotated = export(&[8, 10]);
    rotated.insert(5, checkpoint_line(&checkpoint(&all[..4]).sign(&key(2)).unwrap()));
    rotated.insert(8, checkpoint_line(&checkpoint(&all[..6]).sign(&key(2)).unwrap()));
    let report = check(&rotated, vec![], Some(&old));
    assert_eq!((report.findings, report.verified, report.checkpoints), (vec![], true, 4));
    let unknown = check(&rotated, vec![], None);
    assert!(!unknown.verified && unknown.findings.iter().all(|found| found.kind == FindingKind::Signature));
    let mine = Kept { signer: Signer::Retired, ..kept("mine.note", &all[..5]) };
    assert_eq!(check(&rotated, vec![mine.clone()], Some(&old)).checkpoints, 5);

    // Whoever has its private half makes a past, or an end, of their own.
    let kinds = |report: Report| report.findings.iter().map(|found| found.kind).collect::<Vec<_>>();
    let mut other = all.clone();
    other[5] = other[5].replace("bob", "eve");
    let forged = export_of(&other, &key(2), &[4, 10]);
    assert_eq!(kinds(check(&forged, vec![], Some(&old))), [FindingKind::Unsigned]);
    assert_eq!(
        kinds(check(&forged, vec![kept("6.note", &all[..6])], Some(&old))),
        [FindingKind::Unsigned, FindingKind::Changed]
    );
    // With a true checkpoint before it, what lies behind that is nobody's.
    let mut longer = export_of(&other, &key(2), &[10]);
    longer.insert(5, checkpoint_line(&checkpoint(&all[..4]).sign(&key(1)).unwrap()));
    let report = check(&longer, vec![], Some(&old));
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].message, "no checkpoint vouches for entries 5 to 10");
    // What the auditor has kept of that key is held against the entries too.
    let report = check(
        &export_of(&other, &key(1), &[10]),
        vec![Kept { signer: Signer::Retired, ..kept("mine.note", &all[..6]) }],
        Some(&old),
    );
    assert_eq!(kinds(report), [FindingKind::Rewritten]);
}

/// What is found in a ledger of these entries of hold `h`, each with kind, `decided_by` and data, which is signed as it is; alice and bob
/// have a role, and entries are counted from 4.
fn told(entries: &[(&str, &str, &str)]) -> String {
    let granted = |id: &str, person: &str| format!(r#"{{"id":"{id}","person":"{person}","role":"iam"}}"#);
    let mut all = vec![
        ("eligibility.granted", "", granted("e1", "alice")),
        ("eligibility.granted", "", granted("e2", "bob")),
        ("test", "", "{}".to_owned()),
    ];
    all.extend(entries.iter().map(|(kind, by, data)| (*kind, *by, (*data).to_owned())));
    let leaf = |(at, (kind, by, data)): (usize, &(&str, &str, String))| {
        let decided_by = Some(*by).filter(|by| !by.is_empty());
        Entry { seq: at as u64 + 1, time: 1000 + at as u64, kind, hold: Some("h"), decided_by, data }.to_leaf()
    };
    let leaves: Vec<String> = all.iter().enumerate().map(leaf).collect();
    let report = check(&export_of(&leaves, &key(1), &[leaves.len()]), vec![]);
    assert!(report.findings.iter().all(|found| found.kind == FindingKind::Course), "{report:?}");
    report.findings.into_iter().map(|found| found.message).collect::<Vec<_>>().join("; ")
}

const OPENED: (&str, &str, &str) =
    ("hold.opened", "policy", r#"{"decide_by":2000,"factors":[{"approvals":1,"role":"iam"}]}"#);
const APPROVED: (&str, &str, &str) = (
    "hold.approved",
    "human",
    r#"{"factors":[{"person":"alice","role":"iam"}],"person":"alice","role":"iam","verdict":"approve"}"#,
);
const USED: (&str, &str, &str) = ("hold.used", "human", "{}");
const DENIED: (&str, &str, &str) = ("hold.denied", "human", r#"{"person":"bob","role":"iam","verdict":"deny"}"#);

fn of(seq: u64, kind: &str, problem: &str) -> String {
    format!("entry {seq} is `{kind}` of hold `h`, which {problem}")
}

#[test]
fn a_course_that_no_hold_can_take_is_found_though_it_is_signed() {
    let outcome = ("hold.outcome", "", "{}");
    assert_eq!(told(&[OPENED, APPROVED, USED, outcome]), "");
    assert_eq!(told(&[OPENED, ("hold.expired", "timeout", "{}")]), "");
    assert_eq!(told(&[OPENED, APPROVED, ("hold.cancelled", "human", "{}")]), "");
    let once = of(7, "hold.used", "was used before; an approval is used once");
    assert_eq!(told(&[OPENED, APPROVED, USED, USED]), once);
    assert_eq!(told(&[OPENED, USED]), of(5, "hold.used", "was not approved"));
    assert_eq!(told(&[APPROVED, USED]), of(4, "hold.approved", "was never opened"));
    assert_eq!(told(&[OPENED, DENIED, APPROVED]), of(6, "hold.approved", "had ended before"));
    assert_eq!(told(&[OPENED, APPROVED, APPROVED]), of(6, "hold.approved", "was approved before"));
    assert_eq!(told(&[OPENED, OPENED]), of(5, "hold.opened", "was opened before"));
    assert_eq!(told(&[OPENED, APPROVED, outcome]), of(6, "hold.outcome", "was not used"));
    assert_eq!(
        told(&[OPENED, DENIED, ("hold.outcome_unknown", "timeout", "{}")]),
        of(6, "hold.outcome_unknown", "was not used")
    );
    assert_eq!(
        told(&[OPENED, APPROVED, ("hold.reminded", "timeout", "{}")]),
        of(6, "hold.reminded", "was approved before")
    );
    let corrects = told(&[OPENED, ("correction", "human", r#"{"corrects":5}"#)]);
    assert_eq!(corrects, "entry 5 corrects entry 5, which is none before it");
}

#[test]
fn a_decision_that_nobody_can_have_made_is_found_though_it_is_signed() {
    let two = ("hold.opened", "policy", r#"{"decide_by":2000,"factors":[{"approvals":2,"role":"iam"}]}"#);
    let approval = ("hold.approval", "human", r#"{"person":"bob","role":"iam","verdict":"approve"}"#);
    let both = (
        "hold.approved",
        "human",
        r#"{"factors":[{"person":"bob","role":"iam"},{"person":"alice","role":"iam"}],"person":"alice","role":"iam","verdict":"approve"}"#,
    );
    let withdrawn = ("hold.withdrawn", "human", r#"{"person":"bob"}"#);
    assert_eq!(told(&[two, approval, both]), "");
    assert_eq!(told(&[two, approval, withdrawn, approval, both]), "");
    let somebody = of(5, "hold.approved", "somebody did not approve who is said to fill a factor, or fills two");
    assert_eq!(told(&[two, both]), somebody);
    assert_eq!(told(&[two, approval, withdrawn, both]), somebody.replace("entry 5", "entry 7"));
    assert_eq!(told(&[two, withdrawn]), of(5, "hold.withdrawn", "this person had not approved"));
    assert_eq!(told(&[two, APPROVED]), of(5, "hold.approved", "was not approved by as many as it needs"));
    let twice = (
        "hold.approved",
        "human",
        r#"{"factors":[{"person":"alice","role":"iam"},{"person":"alice","role":"iam"}],"person":"alice","role":"iam","verdict":"approve"}"#,
    );
    assert_eq!(told(&[two, twice]), somebody);

    // By nobody, by somebody who may not, or by what decides on nothing of the kind.
    let nobody = told(&[OPENED, ("hold.approved", "human", "{}")]);
    assert!(nobody.contains("nobody is named to have decided on so"), "{nobody}");
    let denies = told(&[OPENED, ("hold.denied", "human", r#"{"person":"bob","role":"iam","verdict":"approve"}"#)]);
    assert_eq!(denies, of(5, "hold.denied", "nobody is named to have decided on so"));
    let role = "entry 5 is `hold.denied` by `bob`, who had not the role for it";
    assert_eq!(told(&[OPENED, (DENIED.0, DENIED.1, r#"{"person":"bob","role":"sec","verdict":"deny"}"#)]), role);
    let stranger = told(&[OPENED, (DENIED.0, DENIED.1, r#"{"person":"eve","role":"iam","verdict":"deny"}"#)]);
    assert_eq!(stranger, role.replace("bob", "eve"));
    for taken in
        [("eligibility.ended", "", r#"{"id":"e2","person":"bob"}"#), ("person.suspended", "", r#"{"person":"bob"}"#)]
    {
        assert_eq!(told(&[OPENED, taken, DENIED]), role.replace("entry 5", "entry 6"));
    }
    let resumed = ("person.resumed", "", r#"{"person":"bob"}"#);
    assert_eq!(told(&[OPENED, ("person.suspended", "", r#"{"person":"bob"}"#), resumed, DENIED]), "");
    for (kind, data, by) in [
        ("hold.approved", APPROVED.2, "timeout"),
        ("hold.denied", DENIED.2, "policy"),
        ("hold.expired", "{}", "human"),
        ("hold.cancelled", "{}", "model"),
    ] {
        let problem = of(5, kind, "was not decided on by whom it is said to be");
        assert_eq!(told(&[OPENED, (kind, by, data)]), problem);
        assert_eq!(told(&[OPENED, (kind, "", data)]), problem);
    }
    let late = ("hold.opened", "policy", r#"{"decide_by":1004,"factors":[{"approvals":1,"role":"iam"}]}"#);
    assert_eq!(told(&[late, APPROVED]), of(5, "hold.approved", "could not be decided on any more"));
}

#[test]
fn times_that_go_back_are_found() {
    let entry = |seq, time| Entry { seq, time, kind: "x", hold: None, decided_by: None, data: "{}" }.to_leaf();
    let told = |times: &[u64]| {
        let leaves: Vec<String> = times.iter().enumerate().map(|(at, time)| entry(at as u64 + 1, *time)).collect();
        check(&export_of(&leaves, &key(1), &[leaves.len()]), vec![]).findings
    };
    assert_eq!(told(&[1000, 700, 1000]), []);
    let found = told(&[1000, 699, 1000]);
    assert_eq!((found.len(), &*found[0].message), (1, "entry 2 was written 301 s before the one that it follows"));
}

#[test]
fn a_hostile_file_costs_little() {
    let mut lines = vec![header_line(ORIGIN, 5)];
    let entry = |seq: u64| Entry { seq, time: 0, kind: "x", hold: None, decided_by: None, data: "{}" }.to_leaf() + "\n";
    lines.extend((1..5000).map(|number| entry(number * 1_000_000)));
    lines.extend((1..5000).map(|_| "{}\n".to_owned()));
    let report = check(&lines, vec![]);
    assert!(report.findings.len() < 200 && report.more > 5000, "{} {}", report.findings.len(), report.more);
}
