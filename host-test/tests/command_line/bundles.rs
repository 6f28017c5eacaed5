//! `holdgate keygen`, `build` and `verify`.

use std::{fs, os::unix::fs::PermissionsExt as _};

use holdgate_protocol::bundle::{SignedBundle, revision};

use crate::place::{POLICY, Place, kid};

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
    let expected = "`mine.jwk` is not a set of public keys (JWKS): `keys`: missing";
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
    let expected = "`k.jwk` exists and is not overwritten; choose another name, or move the old file away\n";
    place.fails("keygen --out k", 2, expected);
    fs::remove_file(place.path().join("k.jwk")).unwrap();
    let expected = "`k.jwks.json` exists and is not overwritten; choose another name, or move the old file away\n";
    place.fails("keygen --out k", 2, expected);
    assert!(!place.path().join("k.jwk").exists());
    place.write("k.jwk", &String::from_utf8(before).unwrap());
    place.fails("keygen --out /", 2, "`/` does not name a file\n");
    // A link that leads nowhere is a name that is taken, too.
    std::os::unix::fs::symlink("elsewhere", place.path().join("link.jwk")).unwrap();
    let expected = "`link.jwk` exists and is not overwritten; choose another name, or move the old file away\n";
    place.fails("keygen --out link", 2, expected);
}

#[test]
fn files_that_cannot_be_read_or_written_are_named() {
    let place = Place::new();
    place.write("demo.yaml", POLICY);
    place.fails("check no.yaml", 2, "cannot read `no.yaml`: No such file or directory (os error 2)\n");
    let expected = "cannot write `no/x.json`: there is no folder `no`; make it first";
    let outcome = place.run("build demo.yaml --out no/x.json");
    assert!(outcome.stderr.starts_with(expected), "{}", outcome.stderr);
    assert_eq!(outcome.code, 2);
    fs::create_dir(place.path().join("folder")).unwrap();
    place.fails("check folder", 2, "`folder` has no rule files (*.yaml or *.yml)\n");
    let outcome = place.run("build demo.yaml --out folder");
    assert!(outcome.stderr.starts_with("cannot write `folder`: "), "{}", outcome.stderr);
    fs::write(place.path().join("latin.yaml"), b"policy: \xe4\n").unwrap();
    let outcome = place.run("check latin.yaml");
    assert!(outcome.stdout.starts_with("latin.yaml:1:9: error[HG001]: "), "{}", outcome.stdout);
    assert!(place.run("fmt latin.yaml").stderr.starts_with("latin.yaml:1:9: error[HG001]: "));
    fs::set_permissions(place.path().join("demo.yaml"), fs::Permissions::from_mode(0o600)).unwrap();
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
fn what_check_calls_an_error_is_not_built() {
    let place = Place::new();
    let never = "  - id: never\n    effect: deny\n    match:\n      - http: {path: /x, host: {equals: a.example, prefix: b}}\ntests:\n";
    for (text, code) in
        [(POLICY.replace("tests:\n", never), "HG101"), (POLICY.split("tests:\n").next().unwrap().to_owned(), "HG100")]
    {
        place.write("demo.yaml", &text);
        for command in ["check demo.yaml", "build demo.yaml --out demo.jcs"] {
            let outcome = place.run(command);
            let said = outcome.stdout + &outcome.stderr;
            assert!(outcome.code == 1 && said.contains(code), "{command}: {} {said}", outcome.code);
        }
        assert!(!place.path().join("demo.jcs").exists());
    }
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

#[test]
fn the_serial_rises_with_what_the_rules_say() {
    let place = Place::new();
    place.write("demo.yaml", POLICY);
    place.succeeds("keygen --out k");
    let build = "build demo.yaml --out demo.json --sign k.jwk";
    assert!(place.succeeds(build).starts_with("policy demo, serial 1\n"));
    let first = place.read("demo.json");
    let said = place.succeeds(build);
    assert!(said.contains("serial 1\n") && said.contains("0 added, 0 removed, 0 changed, 1 as before"), "{said}");
    assert_eq!(place.read("demo.json"), first, "the same rules give the same bytes");
    // A comment is no change.
    place.write("demo.yaml", &format!("# new\n{POLICY}"));
    place.succeeds(build);
    assert_eq!(place.read("demo.json"), first);
    let more = POLICY
        .replace("[GET]", "[GET, HEAD]")
        .replace("tests:", "  - id: gone\n    effect: deny\n    match:\n      - http: {path: /gone}\ntests:");
    place.write("demo.yaml", &more);
    let said = place.succeeds(build);
    assert!(said.starts_with("policy demo, serial 2\n"), "{said}");
    let changes = "+ `gone` (deny)\n~ `read` (allow): conditions\nrules: 1 added, 0 removed, 1 changed, 0 as before\n";
    assert!(said.contains(changes), "{said}");
    place.write("demo.yaml", POLICY);
    let said = place.succeeds(&format!("{build} --format json"));
    let data: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&data["serial"], &data["changes"]["removed"][0]["id"]), (&3.into(), &"gone".into()));
    assert!(place.succeeds(&format!("{build} --serial 9")).starts_with("policy demo, serial 9\n"));
    assert!(place.succeeds(build).starts_with("policy demo, serial 9\n"));
}

#[test]
fn a_serial_is_taken_from_the_authors_own_bundle_only() {
    let place = Place::new();
    place.write("demo.yaml", POLICY);
    place.succeeds("keygen --out mine");
    place.succeeds("keygen --out other");
    place.succeeds("build demo.yaml --out demo.json --sign other.jwk --serial 8");
    let expected = "`demo.json` is there and is not signed with this key, so its serial does not count; say the next \
                    one with `--serial`\n";
    place.fails("build demo.yaml --out demo.json --sign mine.jwk", 2, expected);
    place.fails("build demo.yaml --out demo.json", 2, expected);
    place.succeeds("build demo.yaml --out demo.json --sign mine.jwk --serial 9");
    let expected = "`demo.yaml` is there and is no bundle; choose another name\n";
    place.fails("build demo.yaml --out demo.yaml --sign mine.jwk", 2, expected);
    place.fails("build demo.yaml --out demo.yaml", 2, expected);
    assert_eq!(place.read("demo.yaml"), POLICY.as_bytes());
}

#[test]
fn a_serial_does_not_fall_back() {
    let place = Place::new();
    place.write("demo.yaml", POLICY);
    place.succeeds("keygen --out mine");
    place.succeeds("keygen --out other");
    let build = "build demo.yaml --out demo.json --sign mine.jwk";
    place.succeeds(&format!("{build} --serial 5"));
    place.succeeds(&format!("{build} --serial 5"));
    let there = place.read("demo.json");
    let refused = |arguments: &str, serial: u64| {
        let expected = format!(
            "`demo.json` has the serial 5 and other content: no gateway takes the serial {serial} after it; say a higher \
             one, or leave `--serial` out\n"
        );
        place.fails(arguments, 2, &expected);
        assert_eq!(place.read("demo.json"), there);
    };
    refused(&format!("{build} --serial 4"), 4);
    place.write("demo.yaml", &POLICY.replace("[GET]", "[GET, HEAD]"));
    refused(&format!("{build} --serial 5"), 5);
    refused("build demo.yaml --out demo.json --sign other.jwk --serial 5", 5);
    refused("build demo.yaml --out demo.json --serial 2", 2);
    assert_eq!(place.run(&format!("{build} --serial 0")).code, 2);
    assert!(place.succeeds("build demo.yaml --out demo.json --sign other.jwk --serial 6").contains("serial 6\n"));
}

#[test]
fn a_private_key_that_others_can_read_is_refused() {
    let place = Place::new();
    place.write("demo.yaml", POLICY);
    place.succeeds("keygen --out k");
    for mode in [0o640, 0o604, 0o620] {
        fs::set_permissions(place.path().join("k.jwk"), fs::Permissions::from_mode(mode)).unwrap();
        let expected = format!(
            "`k.jwk` is a private key that others can read (mode {mode:o}); run `chmod 600 k.jwk`, and make a new key if \
             somebody may have read it\n"
        );
        place.fails("build demo.yaml --out x --sign k.jwk", 2, &expected);
    }
}

#[test]
fn keys_are_taken_for_what_they_are() {
    let place = Place::new();
    place.write("demo.yaml", POLICY);
    place.succeeds("keygen --out k");
    let expected = "`k.jwks.json` is a set of public keys; `--sign` takes the private one (NAME.jwk)\n";
    place.fails("build demo.yaml --out x --sign k.jwks.json", 2, expected);
    place.succeeds("keygen --out other.jwk");
    place.fails("keygen --out keys/", 2, "`keys/` is a folder; add a name for the key: `keys/NAME`\n");
    assert_eq!(place.names(), ["demo.yaml", "k.jwk", "k.jwks.json", "other.jwk", "other.jwks.json"]);
    let outcome = place.run("build demo.yaml --out /proc/x.jcs");
    assert_eq!((outcome.code, outcome.stderr.matches("tmp").count()), (2, 0), "{}", outcome.stderr);
}

#[test]
fn what_gateways_need_for_a_bundle_is_said() {
    let place = Place::new();
    let rules =
        POLICY.replace("tests:", "  - id: burst\n    effect: deny\n    match:\n      - mcp: {tool: pay}\ntests:");
    place.write("demo.yaml", &rules);
    place.succeeds("keygen --out k");
    let hint = "gateways need mcp.paths in their configuration, and refuse it without\n";
    assert!(place.succeeds("build demo.yaml --out x.json --sign k.jwk").contains(hint));
    assert!(place.succeeds("verify x.json --keys k.jwks.json").contains(hint));
    let data: serde_json::Value =
        serde_json::from_str(&place.succeeds("verify x.json --keys k.jwks.json --format json")).unwrap();
    assert_eq!(data["requires"], serde_json::json!(["mcp.paths"]));
    place.write("demo.yaml", POLICY);
    assert!(!place.succeeds("build demo.yaml --out x.json --sign k.jwk").contains("mcp.paths"));
}
