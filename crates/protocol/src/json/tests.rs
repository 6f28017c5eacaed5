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

#[test]
fn keys_that_differ_in_case_only_are_told() {
    for twins in [r#"{"a":{"Email":1,"email":2}}"#, r#"[{"s":1,"\u017f":2}]"#, r#"{"k":1,"\u212a":2}"#] {
        let json = Json::parse(twins.as_bytes()).unwrap();
        assert_eq!(json.without_twins().unwrap_err().kind, JsonErrorKind::TwinKeys, "{twins}");
    }
    assert!(Json::parse(br#"{"a":{"b":1},"b":[{"a":2}]}"#).unwrap().without_twins().is_ok());
}
