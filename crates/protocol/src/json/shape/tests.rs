use super::*;
use crate::json::MAX_DEPTH;

#[derive(Debug, PartialEq)]
struct Tool {
    name: String,
    uses: u8,
    shift: i16,
    sharp: bool,
    parts: Vec<Tool>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Hand,
    Power(u64),
}

impl FromJson for Tool {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [name, uses, shift, sharp, parts, kind] =
            place.members(&["name", "uses", "shift", "sharp", "parts", "kind"])?;
        Ok(Tool {
            name: name.read()?,
            uses: uses.whole()?,
            shift: shift.signed()?,
            sharp: sharp.flag()?,
            parts: parts.given().map_or(Ok(Vec::new()), Place::list)?,
            kind: kind.read()?,
        })
    }
}

impl FromJson for Kind {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        const FORMS: [Variant<Kind>; 1] = [("power", |watts| watts.whole().map(Kind::Power))];
        if place.is_text() { place.word(&[("hand", Kind::Hand)]) } else { place.variant(&FORMS) }
    }
}

crate::deserialize_from_json!(Tool);

const SAW: &str = r#"{"name":"saw","uses":255,"shift":-32768,"sharp":true,"kind":"hand","parts":null}"#;

/// The saw with something else in the place of `from`, within a list that lies in `{"tools": ...}`.
fn read(from: &str, to: &str) -> Result<Vec<Tool>, String> {
    assert!(SAW.contains(from), "{from}");
    let text = format!(r#"{{"tools":[{SAW},{}]}}"#, SAW.replace(from, to));
    let json = Json::parse(text.as_bytes()).map_err(|error| error.to_string())?;
    let place = Place::of(&json);
    let [tools] = place.members(&["tools"]).unwrap();
    tools.list().map_err(|error| error.to_string())
}

#[track_caller]
fn check_refused(from: &str, to: &str, expected: &str) {
    assert_eq!(read(from, to), Err(expected.to_owned()));
}

#[test]
fn a_value_is_read_and_its_bounds_are_those_of_its_type() {
    let saw = || Tool { name: "saw".into(), uses: 255, shift: -32768, sharp: true, parts: vec![], kind: Kind::Hand };
    assert_eq!(read("null", "null"), Ok(vec![saw(), saw()]));
    assert_eq!(read(r#","parts":null"#, ""), Ok(vec![saw(), saw()]));
    assert_eq!(read("null", &format!("[{SAW}]")).unwrap()[1].parts, [saw()]);
    assert_eq!(read(r#""hand""#, r#"{"power":18446744073709551615}"#).unwrap()[1].kind, Kind::Power(u64::MAX));
    check_refused("255", "256", "`tools[1].uses`: `256` is not a whole number within bounds");
    check_refused("255", "-1", "`tools[1].uses`: `-1` is not a whole number within bounds");
    check_refused("255", "1.0", "`tools[1].uses`: `1.0` is not a whole number within bounds");
    check_refused("255", "1e2", "`tools[1].uses`: `1e2` is not a whole number within bounds");
    check_refused("-32768", "-32769", "`tools[1].shift`: `-32769` is not a whole number within bounds");
    check_refused("-32768", "32768", "`tools[1].shift`: `32768` is not a whole number within bounds");
    assert_eq!(read("-32768", "32767").unwrap()[1].shift, 32767);
    let endless = "9".repeat(1000);
    let shown = "9".repeat(64);
    check_refused("255", &endless, &format!("`tools[1].uses`: `{shown}` is not a whole number within bounds"));
}

#[test]
fn errors_name_the_path_the_kind_and_what_was_expected() {
    check_refused(r#""name":"saw","#, "", "`tools[1].name`: missing");
    check_refused(r#""saw""#, "7", "`tools[1].name`: expected a text, found a number");
    check_refused("true", r#""yes""#, "`tools[1].sharp`: expected `true` or `false`, found a text");
    check_refused("255", "null", "`tools[1].uses`: expected a whole number, found `null`");
    check_refused("null", "{}", "`tools[1].parts`: expected a list, found an object");
    check_refused("null", "[[]]", "`tools[1].parts[0]`: expected an object, found a list");
    check_refused(r#""hand""#, "true", "`tools[1].kind`: expected an object, found a flag");
    check_refused(r#""hand""#, r#""foot""#, "`tools[1].kind`: `foot` is not known here; expected one of `hand`");
    check_refused(r#""hand""#, "{}", "`tools[1].kind`: expected an object with one member");
    check_refused(r#""hand""#, r#"{"power":1,"x":1}"#, "`tools[1].kind`: expected an object with one member");
    check_refused(r#""hand""#, r#"{"steam":1}"#, "`tools[1].kind`: `steam` is not known here; expected one of `power`");
    check_refused(r#""hand""#, r#"{"power":[]}"#, "`tools[1].kind.power`: expected a whole number, found a list");
    let whole = Json::Null.read::<Tool>().unwrap_err().to_string();
    assert_eq!(whole, "expected an object, found `null`");
}

#[test]
fn a_member_that_nobody_asked_for_is_refused_or_ignored() {
    let unknown =
        "`tools[1]`: `nmae` is not known here; expected one of `name`, `uses`, `shift`, `sharp`, `parts`, `kind`";
    check_refused(r#""name""#, r#""nmae":1,"name""#, unknown);
    check_refused(r#""name""#, r#""nmae""#, unknown);
    let json = Json::parse(br#"{"a":1,"b":2}"#).unwrap();
    let place = Place::of(&json);
    let [b, c] = place.known_members(&["b", "c"]).unwrap();
    assert_eq!((b.whole::<u8>(), c.exists(), c.given().is_none()), (Ok(2), false, true));
}

#[test]
fn what_has_two_readings_or_lies_too_deep_is_refused_before_it_is_read() {
    let twice = read(r#""name""#, r#""name":"axe","name""#).unwrap_err();
    assert!(twice.starts_with("an object has the same key twice"), "{twice}");
    let mut deep = SAW.to_owned();
    for _ in 0..MAX_DEPTH {
        deep = SAW.replace("null", &format!("[{deep}]"));
    }
    assert!(read("null", &format!("[{deep}]")).unwrap_err().starts_with("nested deeper than 64 levels"));
}

#[test]
fn serde_reads_by_the_same_reader() {
    let tool: Tool = serde_json::from_str(SAW).unwrap();
    assert_eq!(tool, Json::parse(SAW.as_bytes()).unwrap().read().unwrap());
    assert_eq!(serde_json::from_value::<Tool>(serde_json::from_str(SAW).unwrap()).unwrap(), tool);
    let refused = |text: &str| serde_json::from_str::<Tool>(text).unwrap_err().to_string();
    assert!(refused(&SAW.replace("true", "1")).starts_with("`sharp`: expected `true` or `false`, found a number"));
    assert!(refused(&SAW.replace("255", "2.5")).starts_with("`uses`: `2.5` is not a whole number"));
    assert!(refused(&SAW.replace("{", r#"{"name":"axe","#)).starts_with("an object has the same key twice"));
}
