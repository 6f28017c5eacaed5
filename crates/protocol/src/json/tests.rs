use proptest::prelude::*;

use super::*;

#[track_caller]
fn check_refused(text: &[u8], kind: JsonErrorKind) {
    assert_eq!(Json::parse(text).map_err(|error| error.kind), Err(kind), "{}", String::from_utf8_lossy(text));
}

#[track_caller]
fn check_canonical(text: &str, canonical: &str) {
    assert_eq!(String::from_utf8(Json::parse(text.as_bytes()).unwrap().to_jcs()).unwrap(), canonical);
}

#[test]
fn a_text_with_two_readings_is_refused() {
    check_refused(br#"{"a":1,"a":2}"#, JsonErrorKind::DuplicateKey);
    check_refused(br#"{"a":1,"\u0061":2}"#, JsonErrorKind::DuplicateKey);
    check_refused(b"\xef\xbb\xbf{}", JsonErrorKind::ByteOrderMark);
    check_refused(b"\"\xff\"", JsonErrorKind::NotUtf8);
    check_refused(b"{}{}", JsonErrorKind::Trailing);
    check_refused(br#""\ud800""#, JsonErrorKind::Surrogate);
    check_refused(br#""\udc00""#, JsonErrorKind::Surrogate);
    check_refused(br#""\ud800\u0041""#, JsonErrorKind::Surrogate);
    check_refused(b"\"a\nb\"", JsonErrorKind::Control);
    check_refused(br#""\x41""#, JsonErrorKind::Escape);
    check_refused(br#""\u00g0""#, JsonErrorKind::Escape);
    check_refused(b"{'a':1}", JsonErrorKind::Unexpected);
    check_refused(b"[1,]", JsonErrorKind::Unexpected);
    check_refused(b"01", JsonErrorKind::Trailing);
    check_refused(b"// x\n1", JsonErrorKind::Unexpected);
    check_refused(b"NaN", JsonErrorKind::Unexpected);
    check_refused(b"", JsonErrorKind::Truncated);
    check_refused(br#"{"a":"#, JsonErrorKind::Truncated);
}

#[test]
fn nesting_is_read_to_64_levels_and_no_deeper() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(Json::parse(nested(64).as_bytes()).is_ok());
    check_refused(nested(65).as_bytes(), JsonErrorKind::TooDeep);
    check_refused("[".repeat(1_000_000).as_bytes(), JsonErrorKind::TooDeep);
}

#[test]
fn canonical_form_sorts_by_utf16_and_keeps_the_spelling_of_numbers() {
    check_canonical(" { \"b\" : 1.0e+2 , \"a\" : [ true , null ] } ", r#"{"a":[true,null],"b":1.0e+2}"#);
    // RFC 8785 section 3.2.3: U+FB33 sorts behind a surrogate pair when compared as UTF-16.
    check_canonical("{\"\u{fb33}\":1,\"\u{1f600}\":2}", "{\"\u{1f600}\":2,\"\u{fb33}\":1}");
    check_canonical(r#""\u001f\u0008\/\u00e9""#, "\"\\u001f\\b/é\"");
}

#[test]
fn pointers_address_one_value() {
    let json = Json::parse(br#"{"a":{"b/c":[10,20]},"":1,"m~n":2}"#).unwrap();
    let at = |pointer: &str| json.at(&pointer.parse().unwrap()).map(|value| String::from_utf8(value.to_jcs()).unwrap());
    assert_eq!(at("/a/b~1c/1").as_deref(), Some("20"));
    assert_eq!(at("/").as_deref(), Some("1"));
    assert_eq!(at("/m~0n").as_deref(), Some("2"));
    for missing in ["/a/b~1c/2", "/a/b~1c/01", "/a/b~1c/-", "/x", "/a/b~1c/0/x"] {
        assert_eq!(at(missing), None, "{missing}");
    }
    for wrong in ["a", "/~", "/~2"] {
        assert_eq!(wrong.parse::<Pointer>(), Err(PointerError), "{wrong}");
    }
    let pointer = Pointer::of(["a/b", "~"]);
    assert_eq!(pointer.as_str().parse(), Ok(pointer.clone()));
    assert!("/a~1b".parse::<Pointer>().unwrap().contains(&pointer));
    assert!(!pointer.contains(&Pointer::root()));
}

fn arbitrary_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn keys_stand_in_the_order_of_their_utf_16_units(
        a in "[az\u{7ff}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}]{0,4}",
        b in "[az\u{7ff}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}]{0,4}",
    ) {
        prop_assert_eq!(utf16_order(&a, &b), a.encode_utf16().cmp(b.encode_utf16()));
    }

    /// serde_json, written and read independently of ours, is the oracle.
    #[test]
    fn canonical_form_means_what_the_source_meant(value in arbitrary_json()) {
        let source = serde_json::to_string_pretty(&value).unwrap();
        let canonical = Json::parse(source.as_bytes()).unwrap().to_jcs();
        prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&canonical).unwrap(), value);
        prop_assert_eq!(Json::parse(&canonical).unwrap().to_jcs(), canonical);
    }

    #[test]
    fn what_serde_json_refuses_is_refused(bytes in prop::collection::vec(
        prop::sample::select(br#"{}[]",:\u0019truefalsn -+.eE"#.to_vec()), 0..24)) {
        let ours = Json::parse(&bytes);
        if serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_err() {
            prop_assert!(ours.is_err());
        }
    }
}

#[track_caller]
fn check_second_reading(text: &str, kind: Option<JsonErrorKind>) {
    let json = Json::parse(text.as_bytes()).unwrap();
    assert_eq!(json.without_twins().err().map(|error| error.kind), kind, "{text}");
}

#[test]
fn keys_that_differ_in_case_only_are_told() {
    let many: String = (0..40).map(|index| format!(r#""k{index}":1,"#)).collect();
    for twins in [
        r#"{"a":{"Email":1,"email":2}}"#,
        r#"[{"s":1,"\u017f":2}]"#,
        r#"{"k":1,"\u212a":2}"#,
        r#"{"stra\u00dfe":1,"STRASSE":2}"#,
        r#"{"\u00df":1,"\u1e9e":2}"#,
        r#"{"id":1,"\u0131d":2}"#,
        r#"{"id":1,"\u0130D":2}"#,
        r#"{"\u03c3":1,"\u03c2":2}"#,
        r#"{"\ufb01le":1,"file":2}"#,
        &format!(r#"{{{many}"K7":2}}"#),
    ] {
        check_second_reading(twins, Some(JsonErrorKind::TwinKeys));
    }
    check_second_reading(r#"{"a":{"b":1},"b":[{"a":2}]}"#, None);
    check_second_reading(&format!(r#"{{{many}"k40":2}}"#), None);
}

/// The tables of another crate are the oracle: whatever Unicode's simple case folding makes equal is one name here.
#[test]
fn folding_makes_equal_what_unicode_makes_equal() {
    use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};
    for character in '\0'..=char::MAX {
        let mut class = ClassUnicode::new([ClassUnicodeRange::new(character, character)]);
        class.try_case_fold_simple().unwrap();
        if class.ranges().len() == 1 && class.ranges()[0].len() == 1 {
            continue;
        }
        let of = |character: char| folded(&format!("a{character}b"));
        let others = class.ranges().iter().flat_map(|range| range.start()..=range.end());
        for other in others {
            assert_eq!(of(other), of(character), "{character:?} and {other:?}");
        }
    }
}

#[test]
fn what_readers_take_in_two_ways_beyond_the_grammar_is_told() {
    check_second_reading(r#"[{"__proto__":{"role":"admin"}}]"#, Some(JsonErrorKind::Prototype));
    check_second_reading(r#"{"constructor":{"prototype":1},"proto":1}"#, None);
    check_second_reading(r#"{"a":["admin\u0000x"]}"#, Some(JsonErrorKind::Nul));
    check_second_reading(r#"{"a\u0000":1}"#, Some(JsonErrorKind::Nul));
    for fine in [
        "0",
        "-0",
        "0.0",
        "1",
        "-1.50e1",
        "10e-1",
        "18446744073709551615",
        "-9223372036854775808",
        "0.30000000000000004",
        "1e307",
        "9.9e-306",
        "10000000000000000000",
        "0.000001",
        "0e0",
        "1.0",
    ] {
        check_second_reading(fine, None);
    }
    for odd in [
        "1e400",
        "-1E+400",
        "1e-400",
        "1e99999999999999999999",
        "100000000000000000000000",
        "0.123456789012345678",
        "1000.000000000000001",
        "0.1e309999",
        "0.00000000000000000000000000000000000000000001e-300",
    ] {
        check_second_reading(odd, Some(JsonErrorKind::Number));
        check_second_reading(&format!(r#"{{"a":[{odd}]}}"#), Some(JsonErrorKind::Number));
    }
}
