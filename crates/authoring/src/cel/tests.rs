//! What `when` becomes and what is said of it when it is wrong; the oracle and the vectors stand in modules of their own.

use holdgate_engine::{
    Atom, Attribute, Expr, Pattern, Test,
    conditions::{Comparison, Literal, Source, Tag, ValueTest},
};
use holdgate_protocol::Pointer;

use super::{CelError, read, split};

mod differences;
mod mistakes;
mod oracle;
mod subject;
mod vectors;

/// Reads with verified tags `risk` and `label`, and patterns that are plain texts.
fn when(text: &str) -> Result<Expr, Vec<CelError>> {
    let tag = |name: &str| {
        let source = match name {
            "risk" | "label" => Source::Claim(Pointer::of([name])),
            _ => Source::Header(format!("x-agent-{name}")),
        };
        Tag { name: name.to_owned(), source }
    };
    read(text, &tag, &plain_pattern)
}

/// The pattern of a text in which nothing has a meaning of its own: after each byte, how much of it has been seen.
fn plain_pattern(text: &str) -> Result<Pattern, String> {
    if let Some(special) = text.chars().find(|c| "\\.+*?()|[]{}^$".contains(*c)) {
        return Err(format!("`{special}` is not a plain character"));
    }
    let (bytes, last) = (text.as_bytes(), text.len());
    let seen = |state: usize, byte: u8| {
        let so_far = [&bytes[..state], &[byte]].concat();
        (0..=so_far.len()).rev().find(|length| so_far.ends_with(&bytes[..*length])).unwrap()
    };
    let next = |state: usize, byte: u8| if state == last { last } else { seen(state, byte) };
    let table = (0..=last).flat_map(|state| (0..=255).map(move |byte| u16::try_from(next(state, byte)).unwrap()));
    let classes = std::array::from_fn(|byte| u8::try_from(byte).unwrap());
    let accepting = (0..=last).map(|state| state == last).collect();
    Ok(Pattern::new(text.to_owned(), classes, table.collect(), accepting).unwrap())
}

/// Checks what an expression becomes, its atoms spelled as in a bundle.
#[track_caller]
fn check(text: &str, expected: &str) {
    match when(text) {
        Ok(expr) => assert_eq!(show(&expr), expected, "{text}"),
        Err(errors) => panic!("{text}: {errors:?}"),
    }
}

fn show(expr: &Expr) -> String {
    let join = |parts: &[Expr], between: &str| {
        let parts: Vec<String> = parts.iter().map(show).collect();
        format!("({})", parts.join(between))
    };
    match expr {
        Expr::All(parts) => join(parts, " and "),
        Expr::Any(parts) => join(parts, " or "),
        Expr::Is(atom) => show_atom(atom),
        Expr::IsNot(atom) => format!("not {}", show_atom(atom)),
    }
}

fn show_atom(atom: &Atom) -> String {
    let spelled = |json: Result<String, _>| json.unwrap().replace('"', "");
    match atom {
        Atom::Value(ValueTest { of: Attribute::Body(pointer), is: Test::Equals(Literal::Bool(value)) }) => {
            format!("{}{pointer}", if *value { "" } else { "!" })
        }
        Atom::Value(ValueTest { of, is: Test::Matches(pattern) }) => {
            format!("{} matches:{}", spelled(serde_json::to_string(of)), pattern.source())
        }
        Atom::Value(ValueTest { of, is }) => {
            format!("{} {}", spelled(serde_json::to_string(of)), spelled(serde_json::to_string(is)))
        }
        Atom::Compare(Comparison { left, is, right }) => {
            let [left, is, right] =
                [serde_json::to_string(left), serde_json::to_string(is), serde_json::to_string(right)].map(spelled);
            format!("{left} {is} {right}")
        }
        other => panic!("`when` has no {other:?}"),
    }
}

#[test]
fn comparisons_become_the_simplest_atoms() {
    check("http.method == 'POST'", "method {equals:{string:POST}}");
    check("'POST' == http.method", "method {equals:{string:POST}}");
    check("http.method != 'POST'", "method {not_in:{strings:[POST]}}");
    check("!(body.n == 5)", "{body:/n} {not_in:{numbers:[5]}}");
    check("!(body.n != 5)", "{body:/n} {equals:{number:5}}");
    check("body.n < 5", "{body:/n} {lt:5}");
    check("5 < body.n", "{body:/n} {gt:5}");
    check("5 <= body.n", "{body:/n} {gte:5}");
    check("!(body.n < 5)", "{body:/n} {gte:5}");
    check("!(body.n <= 5)", "{body:/n} {gt:5}");
    check("!(body.n > 5)", "{body:/n} {lte:5}");
    check("!!(body.n >= 5)", "{body:/n} {gte:5}");
    check("body.ok == true", "/ok");
    check("body.ok != true", "!/ok");
    check("body.ok", "/ok");
    check("!body.ok", "!/ok");
    check("body.a < body.b", "{body:/a} lt {body:/b}");
    check("!(body.a < body.b)", "{body:/a} gte {body:/b}");
    check("!(agent.id == body.user)", "agent_id ne {body:/user}");
}

#[test]
fn every_attribute_has_its_name() {
    check("agent.exists", "agent {exists:true}");
    check("!agent.exists", "agent {exists:false}");
    check("agent.exists != true", "agent {exists:false}");
    check("agent.issuer == 'x'", "agent_issuer {equals:{string:x}}");
    check("agent.owner == 'x'", "agent_owner {equals:{string:x}}");
    check("agent.claims.act[\"sub\"] == 'x'", "{claim:/act/sub} {equals:{string:x}}");
    check("http.host == 'API.Example.com'", "host {equals:{string:api.example.com}}");
    check("http.host.endsWith('.Example.com')", "host {suffix:.example.com}");
    check("http.path.startsWith('/iam/')", "path {prefix:/iam/}");
    check("http.query.limit > 100", "{query:limit} {gt:100}");
    check("http.query[\"a b\"] == '1'", "{query:a b} {equals:{string:1}}");
    check("http.headers[\"X-Id\"] == 'x'", "{header:x-id} {equals:{string:x}}");
    check("http.headers.`x-id` == 'x'", "{header:x-id} {equals:{string:x}}");
    check("mcp.method == 'tools/call'", "mcp_method {equals:{string:tools/call}}");
    check("mcp.tool == 'pay'", "mcp_tool {equals:{string:pay}}");
    check("mcp.args.lines[0].sum > 5", "{mcp_arg:/lines/0/sum} {gt:5}");
    check("body.items[007][\"a/b~c\"] == 1", "{body:/items/7/a~1b~0c} {equals:{number:1}}");
    check("body == 'x'", "{body:} {equals:{string:x}}");
    check("tags.risk > 0.5", "{tag:{name:risk,source:{claim:/risk}}} {gt:0.5}");
    check("tags.confidence < 0.8", "{tag:{name:confidence,source:{header:x-agent-confidence}}} {lt:0.8}");
}

#[test]
fn functions_become_atoms() {
    check("has(body.x)", "{body:/x} {exists:true}");
    check("!has(body.x.y)", "{body:/x/y} {exists:false}");
    check("has(http.headers[\"x-id\"]) == false", "{header:x-id} {exists:false}");
    check("'x-id' in http.headers", "{header:x-id} {exists:true}");
    check("!('team' in agent.claims)", "{claim:/team} {exists:false}");
    check("body.s.startsWith('a')", "{body:/s} {prefix:a}");
    check("!body.s.endsWith('a')", "not {body:/s} {suffix:a}");
    check("body.s.contains('a')", "{body:/s} {contains:a}");
    check("body.s.matches('a b')", "{body:/s} matches:a b");
    check("!matches(body.s, 'a')", "not {body:/s} matches:a");
    check("size(body.s) >= 20", "{body:/s} {size:{min:20,max:null}}");
    check("body.s.size() > 20", "{body:/s} {size:{min:21,max:null}}");
    check("20 > size(body.s)", "{body:/s} {size:{min:0,max:19}}");
    check("size(body.s) <= 20", "{body:/s} {size:{min:0,max:20}}");
    check("size(body) == 2u", "{body:} {size:{min:2,max:2}}");
    check("!(size(body.s) == 2)", "not {body:/s} {size:{min:2,max:2}}");
    check("!(size(body.s) < 20)", "{body:/s} {size:{min:20,max:null}}");
    check("body.role in ['b', 'a', 'b']", "{body:/role} {in:{strings:[a,b]}}");
    check("!(body.role in ['a', 'b'])", "{body:/role} {not_in:{strings:[a,b]}}");
    check("body.role in ['a',]", "{body:/role} {equals:{string:a}}");
    check("body.n in [1, 2.5, 1.0]", "{body:/n} {in:{numbers:[1,2.5]}}");
    check("'a' in body.list", "{body:/list} {includes:{string:a}}");
    check("!(true in body.list)", "not {body:/list} {includes:{bool:true}}");
}

#[test]
fn negation_ends_at_the_atoms_and_junctions_are_flat() {
    check("body.a && (body.b && body.c) && body.d", "(/a and /b and /c and /d)");
    check("body.a || (body.b || body.c)", "(/a or /b or /c)");
    check("!(body.a && !(body.b || body.c))", "(!/a or /b or /c)");
    check("!(body.a || body.b) && body.c", "(!/a and !/b and /c)");
    check("body.a && body.b || body.c && body.d", "((/a and /b) or (/c and /d))");
    check("(body.a || body.b) == false", "(!/a and !/b)");
    check("!((body.a && body.b) != false)", "(!/a or !/b)");
}

#[test]
fn literals_have_all_spellings_of_cel() {
    for (text, value) in [
        (r#""a'b""#, "a'b"),
        (r#"'a"b'"#, "a\"b"),
        ("'''a'b\n''c'''", "a'b\n''c"),
        (r#""""a"b""""#, "a\"b"),
        (r"r'\n\'", r"\n\"),
        (r##"R"""a\""""##, "a\\"),
        (r#"'\a\b\f\n\r\t\v\\\?\"\'\`'"#, "\u{7}\u{8}\u{c}\n\r\t\u{b}\\?\"'`"),
        (r"'\x41\X42\103\u00e9\U0001F431'", "ABCé🐱"),
        ("''", ""),
        ("'größe'", "größe"),
    ] {
        let Ok(Expr::Is(Atom::Value(test))) = when(&format!("body.x == {text}")) else { panic!("{text}") };
        assert_eq!(test.is, Test::Equals(Literal::String(value.to_owned())), "{text}");
    }
    for (text, spelling) in [
        ("0", "0"),
        ("-12", "-12"),
        ("- 12", "-12"),
        ("12u", "12"),
        ("0xFf", "255"),
        ("-0x10", "-16"),
        ("0x10U", "16"),
        ("18446744073709551615u", "18446744073709551615"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("0.10", "0.10"),
        (".5", "0.5"),
        ("007.5", "7.5"),
        ("1e3", "1e3"),
        ("1.5E-3", "1.5e-3"),
        ("-2.5e+1", "-2.5e1"),
    ] {
        check(&format!("body.x == {text}"), &format!("{{body:/x}} {{equals:{{number:{spelling}}}}}"));
    }
    check("// why\n body.a // and how\r\n\t&&\u{c} body.b //", "(/a and /b)");
}

#[test]
fn conjuncts_that_are_atoms_can_be_split_off() {
    let parts = |text: &str| {
        let (atoms, rest) = split(when(text).unwrap());
        (atoms.iter().map(show_atom).collect::<Vec<_>>().join(", "), rest.as_ref().map(show).unwrap_or_default())
    };
    let not = "!body.s.contains('x')";
    for (text, atoms, rest) in [
        ("body.a", "/a", ""),
        ("body.a && !body.b", "/a, !/b", ""),
        ("body.a || body.b", "", "(/a or /b)"),
        ("body.a && (body.b || body.c)", "/a", "(/b or /c)"),
        (not, "", "not {body:/s} {contains:x}"),
        (&format!("{not} && body.a && (body.b || body.c)"), "/a", "(not {body:/s} {contains:x} and (/b or /c))"),
    ] {
        assert_eq!(parts(text), (atoms.to_owned(), rest.to_owned()), "{text}");
    }
}
