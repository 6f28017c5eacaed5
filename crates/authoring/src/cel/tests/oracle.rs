//! The subset against the `cel` crate: random expressions over random requests.
//!
//! Where all values have the types that the expression expects, and only some of them are missing, both say the same of
//! the same text. Where values have any type, we differ on purpose, and the text for `cel` spells the difference out.

use holdgate_protocol::{Json, bundle::Effect};
use proptest::{prelude::*, sample::select};

use super::{subject::Subject, when};

/// An attribute, and the pointer to it in a [`Subject`].
type Name = (&'static str, &'static str);

const TEXTS: [Name; 14] = [
    ("http.method", "/http/method"),
    ("http.path", "/http/path"),
    ("http.query.q", "/http/query/q"),
    ("http.headers[\"x-a\"]", "/http/headers/x-a"),
    ("agent.id", "/agent/id"),
    ("agent.owner", "/agent/owner"),
    ("agent.claims.team", "/agent/claims/team"),
    ("mcp.tool", "/mcp/tool"),
    ("mcp.args.s", "/mcp/args/s"),
    ("tags.label", "/tags/label"),
    ("body.s", "/body/s"),
    ("body.o.s", "/body/o/s"),
    ("body.o[\"s\"]", "/body/o/s"),
    ("body.texts[1]", "/body/texts/1"),
];
const NUMBERS: [Name; 7] = [
    ("agent.claims.level", "/agent/claims/level"),
    ("mcp.args.n", "/mcp/args/n"),
    ("tags.risk", "/tags/risk"),
    ("body.n", "/body/n"),
    ("body.m", "/body/m"),
    ("body.o.n", "/body/o/n"),
    ("body.numbers[0]", "/body/numbers/0"),
];
const BOOLS: [Name; 4] = [
    ("agent.exists", "/agent/exists"),
    ("agent.claims.ok", "/agent/claims/ok"),
    ("body.b", "/body/b"),
    ("body.o.b", "/body/o/b"),
];
const LISTS: [Name; 2] = [("body.texts", "/body/texts"), ("body.numbers", "/body/numbers")];

const WORDS: [&str; 7] = ["", "a", "ab", "aab", "äb", "🐱", "POST"];
const SPELLINGS: [&str; 9] = ["0", "1", "-1", "2", "1.0", "1.5", "0.1", "100", "1e2"];

/// One condition in two spellings: ours, and for the `cel` crate with our differences written out.
#[derive(Clone, Debug)]
struct Pair {
    ours: String,
    cel: String,
}

impl Pair {
    fn same(text: String) -> Pair {
        Pair { cel: text.clone(), ours: text }
    }

    fn join(parts: &[Pair], symbol: &str) -> Pair {
        let side = |side: fn(&Pair) -> &str| {
            let sides: Vec<&str> = parts.iter().map(side).collect();
            format!("({})", sides.join(&format!(" {symbol} ")))
        };
        Pair { ours: side(|pair| &pair.ours), cel: side(|pair| &pair.cel) }
    }
}

fn quoted(word: &str) -> String {
    format!("'{word}'")
}

fn word() -> impl Strategy<Value = String> {
    select(&WORDS[..]).prop_map(quoted)
}

/// A number of CEL, now and then in a spelling that JSON does not have.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        select(&SPELLINGS[..]).prop_map(str::to_owned),
        select(&["1u", "0x64", "-0x1", ".1", "1.50"][..]).prop_map(str::to_owned)
    ]
}

fn order() -> impl Strategy<Value = &'static str> {
    select(&["<", "<=", ">", ">="][..])
}

fn condition(wild: bool) -> impl Strategy<Value = Pair> {
    atom(wild).prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| Pair::join(&parts, "&&")),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| Pair::join(&parts, "||")),
            inner.clone().prop_map(|Pair { ours, cel }| Pair { ours: format!("!({ours})"), cel: format!("!({cel})") }),
        ]
    })
}

fn atom(wild: bool) -> impl Strategy<Value = Pair> {
    let text = || select(&TEXTS[..]).prop_filter("a method is in upper case", |(name, _)| *name != "http.method");
    // In CEL `has` takes members by name only, and what they are members of must be there.
    let plain = move |(name, _): &Name| wild || !(name.contains('[') || name.contains("body.o."));
    let named = select([&TEXTS[2..], &NUMBERS, &BOOLS[1..], &LISTS].concat()).prop_filter("of CEL", plain);
    let counted = || select([&TEXTS[..], &LISTS].concat());
    let literal = prop_oneof![(text(), word()), (select(&NUMBERS[..]), number())];
    let several = prop_oneof![
        (text(), prop::collection::vec(word(), 1..4)),
        (select(&NUMBERS[..]), prop::collection::vec(number(), 1..4)),
    ];
    prop_oneof![
        3 => (literal, any::<(bool, bool)>()).prop_map(|(((name, _), literal), (equal, turned))| {
            let symbol = if equal { "==" } else { "!=" };
            let ours = if turned { format!("{literal} {symbol} {name}") } else { format!("{name} {symbol} {literal}") };
            Pair { ours, cel: format!("{}eq({name}, {literal})", if equal { "" } else { "!" }) }
        }),
        3 => (select(&NUMBERS[..]), order(), number(), any::<bool>()).prop_map(|((name, _), order, number, turned)| {
            Pair::same(if turned { format!("{number} {order} {name}") } else { format!("{name} {order} {number}") })
        }),
        1 => (text(), text()).prop_map(|((a, _), (b, _))| Pair { ours: format!("{a} != {b}"), cel: format!("!eq({a}, {b})") }),
        1 => (select(&NUMBERS[..]), order(), select(&NUMBERS[..])).prop_map(|((a, _), order, (b, _))| {
            Pair { ours: format!("{a} {order} {b}"), cel: format!("number({a}) {order} number({b})") }
        }),
        2 => several.prop_map(|((name, _), items)| {
            let cel: Vec<String> = items.iter().map(|item| format!("eq({name}, {item})")).collect();
            Pair { ours: format!("{name} in [{}]", items.join(", ")), cel: format!("({})", cel.join(" || ")) }
        }),
        2 => (select(&LISTS[..]), prop_oneof![word(), number()]).prop_map(|((name, _), literal)| {
            Pair { ours: format!("{literal} in {name}"), cel: format!("{literal} in list({name})") }
        }),
        2 => named.prop_map(|(name, pointer)| {
            Pair { ours: format!("has({name})"), cel: format!("there('{pointer}')") }
        }),
        2 => (select(&BOOLS[..]), select(&["", " == true", " != true", " == false"][..])).prop_map(|((name, _), compared)| {
            let ours = format!("{name}{compared}");
            let not = if ["", " == true"].contains(&compared) { "" } else { "!" };
            Pair { ours, cel: format!("{not}eq({name}, true)") }
        }),
        2 => (counted(), prop_oneof![order(), select(&["==", "!="][..])], 1..4, any::<bool>()).prop_map(
            |((name, _), order, size, call)| {
                Pair::same(if call { format!("{name}.size() {order} {size}") } else { format!("size({name}) {order} {size}") })
            }
        ),
        2 => (text(), select(&["startsWith", "endsWith", "contains", "matches"][..]), word()).prop_map(
            |((name, _), function, word)| Pair {
                ours: format!("{name}.{function}({word})"),
                cel: format!("text({name}).{function}({word})"),
            }
        ),
    ]
}

/// Values of the expected types, of which any may be missing; or, where `wild`, of any type.
fn subject(wild: bool) -> impl Strategy<Value = Subject> {
    let text = move || value(wild, select(&WORDS[..]).prop_map(|word| format!("{word:?}")));
    let number = move || value(wild, select(&SPELLINGS[..]).prop_map(str::to_owned));
    let bool = move || value(wild, any::<bool>().prop_map(|value| value.to_string()));
    let list = |item: BoxedStrategy<Option<String>>| {
        prop::collection::vec(item, 0..4)
            .prop_map(|items| format!("[{}]", items.into_iter().flatten().collect::<Vec<_>>().join(",")))
    };
    let wire = || prop::option::of(select(&WORDS[..]).prop_map(|word| format!("{word:?}"))).boxed();
    let texts = value(wild, list(text()));
    let numbers = value(wild, list(number()));
    let inner = value(wild, object(vec![("s", text()), ("n", number()), ("b", bool())]));
    let body = object(vec![
        ("s", text()),
        ("n", number()),
        ("m", number()),
        ("b", bool()),
        ("o", inner),
        ("texts", texts),
        ("numbers", numbers),
    ]);
    let http = object(vec![
        ("method", select(&["POST", "GET"][..]).prop_map(|method| Some(format!("{method:?}"))).boxed()),
        ("path", select(&["/a", "/ab", "/"][..]).prop_map(|path| Some(format!("{path:?}"))).boxed()),
        ("query", object(vec![("q", wire())]).prop_map(Some).boxed()),
        ("headers", object(vec![("x-a", wire())]).prop_map(Some).boxed()),
    ]);
    let mcp =
        object(vec![("tool", wire()), ("args", object(vec![("s", text()), ("n", number())]).prop_map(Some).boxed())]);
    let claims =
        object(vec![("team", text()), ("level", number()), ("ok", bool()), ("label", text()), ("risk", number())]);
    let agent = (any::<bool>(), wire(), claims).prop_map(|(exists, owner, claims)| {
        let owner = owner.map(|owner| format!(r#", "owner": {owner}"#)).unwrap_or_default();
        if exists {
            (format!(r#"{{"exists": true, "id": "ab", "issuer": "a"{owner}, "claims": {claims}}}"#), claims)
        } else {
            (r#"{"exists": false, "claims": {}}"#.to_owned(), "{}".to_owned())
        }
    });
    (body, http, mcp, agent).prop_map(|(body, http, mcp, (agent, tags))| {
        let text = format!(r#"{{"body": {body}, "http": {http}, "mcp": {mcp}, "agent": {agent}, "tags": {tags}}}"#);
        Subject(Json::parse(text.as_bytes()).unwrap())
    })
}

/// One of five is missing; where `wild`, one of five has another type.
fn value(wild: bool, expected: impl Strategy<Value = String> + 'static) -> BoxedStrategy<Option<String>> {
    let others = ["null", "true", "1", "\"a\"", "[]", "[1, \"a\"]", "{}", "{\"s\": \"a\", \"n\": 1}"];
    let other = select(others.to_vec()).prop_map(|other| Some(other.to_owned()));
    prop_oneof![
        3 => expected.prop_map(Some),
        1 => Just(None),
        u32::from(wild) => other,
    ]
    .boxed()
}

fn object(members: Vec<(&'static str, BoxedStrategy<Option<String>>)>) -> impl Strategy<Value = String> {
    let (names, values): (Vec<_>, Vec<_>) = members.into_iter().unzip();
    values.prop_map(move |values| {
        let members = names.iter().zip(values).filter_map(|(name, value)| Some(format!("{name:?}: {}", value?)));
        format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
    })
}

fn effect() -> impl Strategy<Value = Effect> {
    select(&[Effect::Allow, Effect::Deny, Effect::Hold][..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn of_values_of_the_expected_types_cel_says_the_same(pair in condition(false), subject in subject(false), effect in effect()) {
        let expr = when(&pair.ours).unwrap_or_else(|errors| panic!("{}: {errors:?}", pair.ours));
        prop_assert_eq!(subject.truth(&expr, effect), subject.oracle(&pair.ours), "{}", pair.ours);
    }

    #[test]
    fn of_any_values_cel_says_the_same_where_our_differences_are_written_out(
        pair in condition(true), subject in subject(true), effect in effect(),
    ) {
        let expr = when(&pair.ours).unwrap_or_else(|errors| panic!("{}: {errors:?}", pair.ours));
        prop_assert_eq!(subject.truth(&expr, effect), subject.oracle(&pair.cel), "{} // {}", pair.ours, pair.cel);
    }
}
