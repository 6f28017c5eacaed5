//! `holdgate fmt`.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::place::{POLICY, Place};

#[test]
fn a_file_is_formatted_once() {
    let place = Place::new();
    let wild = POLICY.replace("methods: [GET], ", "methods:   [ GET ] ,  ") + "\n\n# the end\n";
    place.write("wild.yaml", &wild).write("good.yaml", POLICY);
    fs::set_permissions(place.path().join("wild.yaml"), fs::Permissions::from_mode(0o640)).unwrap();
    let outcome = place.run("fmt --check .");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (1, "./wild.yaml: is not formatted; run `holdgate fmt`\n"));
    assert_eq!(place.read("wild.yaml"), wild.as_bytes(), "`--check` writes nothing");
    assert_eq!(place.succeeds("fmt wild.yaml good.yaml"), "wild.yaml: formatted\n");
    assert_eq!(String::from_utf8(place.read("wild.yaml")).unwrap(), format!("{POLICY}\n# the end\n"));
    assert_eq!(fs::metadata(place.path().join("wild.yaml")).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(place.succeeds("fmt wild.yaml good.yaml"), "2 files formatted already\n");
    let data = r#"{"check":true,"changed":[],"unchanged":2}"#;
    assert_eq!(place.succeeds("fmt --check . --format json").trim_end(), data);
}

#[test]
fn a_file_with_two_readings_stays_as_it_is() {
    let place = Place::new();
    place.write("good.yaml", "b:   1\n").write("bad.yaml", "a: 1\na: 2\n");
    let outcome = place.run("fmt good.yaml bad.yaml");
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("bad.yaml:2:1: "), "{}", outcome.stderr);
    assert_eq!(place.read("good.yaml"), b"b:   1\n", "all are read before the first is written");
    place.fails("fmt no.yaml", 2, "cannot read `no.yaml`: No such file or directory (os error 2)\n");
}

#[test]
fn a_symbolic_link_stays_one() {
    let place = Place::new();
    fs::create_dir(place.path().join("shared")).unwrap();
    place.write("shared/real.yaml", &POLICY.replace("[GET]", "[ GET ]"));
    std::os::unix::fs::symlink("shared/real.yaml", place.path().join("link.yaml")).unwrap();
    assert_eq!(place.succeeds("fmt link.yaml"), "link.yaml: formatted\n");
    assert!(place.path().join("link.yaml").is_symlink());
    assert_eq!(place.read("shared/real.yaml"), POLICY.as_bytes());
    std::os::unix::fs::symlink("shared/x.jcs", place.path().join("x.jcs")).unwrap();
    place.write("shared/x.jcs", "");
    fs::remove_file(place.path().join("shared/x.jcs")).unwrap();
    let expected = "cannot write `x.jcs`: No such file or directory (os error 2)\n";
    place.fails("build link.yaml --out x.jcs", 2, expected);
}

#[test]
fn what_an_editor_does_not_show_is_said() {
    let place = Place::new();
    place.write("crlf.yaml", &POLICY.replace('\n', "\r\n")).write("bom.yaml", &format!("\u{feff}{POLICY}"));
    let expected = "bom.yaml: is not formatted; run `holdgate fmt` (it has a byte-order mark)\n\
                    crlf.yaml: is not formatted; run `holdgate fmt` (its lines end with CR LF)\n";
    let outcome = place.run("fmt --check bom.yaml crlf.yaml");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (1, expected));
    place.succeeds("fmt bom.yaml crlf.yaml");
    assert_eq!((place.read("bom.yaml"), place.read("crlf.yaml")), (POLICY.into(), POLICY.into()));
}
