//! All that is said about an expression that is wrong.

use proptest::prelude::*;

use super::when;
use crate::cel::{CelError, CelErrorKind};

/// Checks every mistake: `[the marked part] kind: message; help`.
#[track_caller]
fn complain(text: &str, expected: &[&str]) {
    let marked = |error: &CelError| text.chars().skip(error.range.start).take(error.range.len()).collect::<String>();
    let line = |error: &CelError| {
        let help = error.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
        format!("[{}] {:?}: {}{help}", marked(error), error.kind, error.message)
    };
    let lines: Vec<String> = when(text).unwrap_err().iter().map(line).collect();
    assert_eq!(lines, expected, "{text}");
}

#[test]
fn what_is_not_cel_is_said_where_it_stands() {
    complain("", &["[] Syntax: expected a value, found the end"]);
    complain("body.a and body.b", &["[and] Syntax: expected an operator, found `and`; write `&&`"]);
    complain(
        "not body.a",
        &[
            "[not] Syntax: expected a value, found `not`; write `!`, and the whole expression in quotes: `when: \"!body.x\"`",
        ],
    );
    complain(
        "body.x not in ['a']",
        &["[not] Syntax: expected an operator, found `not`; write `!(x in [...])` for `x not in [...]`"],
    );
    complain("body.x =~ 'a'", &["[=] Syntax: unexpected `=`; write `.matches(\"...\")` behind the attribute"]);
    complain("body.x <> 'a'", &["[>] Syntax: expected a value, found `>`; write `!=` for `<>`"]);
    complain(
        "1 < body.x < 5",
        &["[<] WrongType: a comparison cannot be compared again; write `1 < x && x < 5` for `1 < x < 5`"],
    );
    complain("body.x == True", &["[True] UnknownAttribute: unknown attribute `True`; write `true`"]);
    complain("body.x == FALSE", &["[FALSE] UnknownAttribute: unknown attribute `FALSE`; write `false`"]);
    complain("body.a = 1", &["[=] Syntax: unexpected `=`; write `==` to compare"]);
    complain("body.a & body.b", &["[&] Syntax: unexpected `&`; write `&&` for \"and\""]);
    complain("body.a == ", &["[] Syntax: expected a value, found the end"]);
    complain("(body.a", &["[] Syntax: expected `)`, found the end"]);
    complain("body.x in [1, 2", &["[] Syntax: expected `]`, found the end"]);
    complain("body.x.contains('a',)", &["[)] Syntax: expected a value, found `)`"]);
    complain("body.a.1", &["[.1] Syntax: expected an operator, found a number"]);
    complain("body.in", &["[in] Syntax: `in` is a word of CEL; write `[\"in\"]` for a member of that name"]);
    complain("while", &["[while] Syntax: `while` is reserved in CEL and names nothing"]);
    complain("body.x == 'a", &["['a] Syntax: a text does not end; close it with `'`"]);
    complain(
        "body.x == 'a\n'",
        &["['a] Syntax: a text does not end in its line; write a line break as `\\n`, or the text in three quotes"],
    );
    complain(
        r"body.x == 'a\d'",
        &[r#"[\d] Syntax: not an escape that CEL knows; write a backslash as `\\`, or the text raw, as `r"..."`"#],
    );
    for escape in [r"\ud800", r"\U00110000", r"\x4", r"\400", r"\u00é0"] {
        assert!(when(&format!("body.x == '{escape}'")).is_err(), "{escape}");
    }
    complain("body.x == 12abc", &["[12abc] Syntax: `abc` stands behind a number"]);
    complain("body.x == 1e", &["[1e] Syntax: an exponent without digits"]);
    complain("body.x == 0x", &["[0x] Syntax: not a whole number of at most 64 bits"]);
    complain(
        "body.x == 9223372036854775808",
        &["[9223372036854775808] Syntax: an integer of CEL has at most 64 bits; write `9223372036854775808.0`"],
    );
    complain(
        "body.x == 1e99999999999999999999",
        &["[1e99999999999999999999] Syntax: the exponent is too large for a number to be compared with"],
    );
    complain("body.größe == 1", &["[ö] Syntax: unexpected `ö`; put such a name in brackets, as in `body[\"größe\"]`"]);
    complain("body.a\0", &["[\0] Syntax: unexpected `\\0`"]);
    complain(
        "http.headers.`x-id == 1",
        &["[`x-id ] Syntax: a name in backquotes does not end; such a name has letters, digits and `_.-/ `; \
           any other stands in brackets, as `[\"...\"]`"],
    );
}

#[test]
fn attributes_are_those_of_a_request() {
    complain(
        "http.metod == 'GET'",
        &["[http.metod] UnknownAttribute: unknown attribute `http.metod`; did you mean `http.method`?"],
    );
    complain("htp.method == 'GET'", &["[htp] UnknownAttribute: unknown attribute `htp`; did you mean `http`?"]);
    complain(
        "method == 'GET'",
        &["[method] UnknownAttribute: unknown attribute `method`; did you mean `http.method`?"],
    );
    complain(
        "request.verb == 'GET'",
        &["[request] UnknownAttribute: unknown attribute `request`; \
           attributes stand below `agent`, `body`, `http`, `mcp`, `tags`"],
    );
    complain(
        "agent.email == 'x'",
        &["[agent.email] UnknownAttribute: unknown attribute `agent.email`; \
           `agent` has `claims`, `exists`, `id`, `issuer`, `owner`"],
    );
    complain(
        "agent == 'x'",
        &["[agent] WrongType: `agent` is a group of attributes, not a value; \
           it has `claims`, `exists`, `id`, `issuer`, `owner`"],
    );
    complain(
        "http.query == 'x'",
        &["[http.query] WrongType: `http.query` is a group of values; \
           name one of them, as in `http.query.x` or `http.query[\"x\"]`"],
    );
    complain("http.path.x == 'x'", &["[http.path.x] WrongType: `http.path` is a single value and has no members"]);
    complain("tags.risk.x == 'x'", &["[tags.risk.x] WrongType: `tags.risk` is a single value and has no members"]);
    complain("body[-1] == 1", &["[-1] WrongType: an index is a name in quotes or a whole number from 0"]);
    complain(
        "body[http.method] == 1",
        &["[http.method] Unsupported: an index that a request brings is CEL, but not in the subset of `when`; \
           write a name in quotes or a whole number from 0"],
    );
    complain("'abc'[0] == 'a'", &["['abc'] Unsupported: only an attribute has members here"]);
    for name in ["rate", "time"] {
        let expected = format!(
            "[{name}] Unsupported: `when` cannot ask for `{name}`; write `{name}` as a key of the entries of `match`"
        );
        complain(&format!("{name}.over > 20"), &[&expected]);
    }
}

#[test]
fn types_are_checked() {
    let condition = |part: &str, found: &str| {
        format!(
            "[{part}] WrongType: `{part}` is {found}, where a condition is needed; \
             compare it with something, as in `http.method == \"POST\"`"
        )
    };
    complain("http.method", &[&condition("http.method", "a text")]);
    complain(
        "'a' && http.path || !5",
        &[&condition("'a'", "a text"), &condition("http.path", "a text"), &condition("5", "a number")],
    );
    complain("null", &[&condition("null", "null")]);
    complain("[1]", &[&condition("[1]", "a list")]);
    complain("!tags", &[&condition("tags", "a group of values")]);
    complain("agent.id == 5", &["[5] WrongType: a text cannot be compared with a number `5`; put it in quotes"]);
    complain(
        "true != agent.id",
        &["[true] WrongType: a text cannot be compared with a truth value `true`; put it in quotes"],
    );
    complain(
        "http.method == 'post'",
        &["['post'] WrongType: `post` is not a method; write a method in upper case, such as `POST`"],
    );
    complain(
        "body.x == null",
        &["[body.x == null] Unsupported: nothing can be compared with null; \
           ask with `has(body.x)` whether it is there"],
    );
    complain(
        "body.x == [1]",
        &["[body.x == [1]] Unsupported: a value cannot be compared with a list; \
           write `in` for one of several values, and compare items one by one, as in `body.ids[0] == 1`"],
    );
    complain(
        "has(body.x) == body.y",
        &["[has(body.x) == body.y] WrongType: a condition can only be compared with `true` or `false`; \
           join conditions with `&&`, `||` and `!`"],
    );
    complain("body.x.startsWith(5)", &["[5] WrongType: `startsWith` takes a text, not `5`; put it in quotes"]);
    complain(
        "startsWith(body.x, 'a')",
        &["[startsWith(body.x, 'a')] WrongType: `startsWith` takes one text; \
           write it as in `http.path.startsWith(\"...\")`"],
    );
    complain(
        "has(body)",
        &["[has(body)] WrongType: `has` takes one attribute with a member; write it as in `has(body.user)`"],
    );
    complain("body.x.matches('a(b')", &["['a(b'] Regex: `(` is not a plain character"]);
}

#[test]
fn sizes_are_whole_numbers() {
    complain("size(5) > 1", &["[5] WrongType: `size` needs a text or a list, not `5`; name an attribute"]);
    complain(
        "size(body.x)",
        &["[size(body.x)] WrongType: `size(body.x)` is a number, where a condition is needed; \
           compare it, as in `size(body.items) > 10`"],
    );
    complain(
        "size(body.x) > 1.5",
        &["[size(body.x) > 1.5] WrongType: a size is a whole number from 0, never `1.5`; \
           write a whole number from 0"],
    );
    complain(
        "size(body.x) < 0",
        &["[size(body.x) < 0] Unsupported: `size(body.x) < 0` is the same for every size; \
           a size is a whole number from 0"],
    );
    complain(
        "size(body.x) == body.n",
        &["[size(body.x) == body.n] WrongType: a size can only be compared with a literal number; \
           write a whole number from 0, as in `size(body.items) > 10`"],
    );
    complain(
        "size(agent.exists) > 1",
        &["[agent.exists] WrongType: `agent.exists` is true or false, and `size` needs a value; \
           write `agent.exists` alone"],
    );
    complain(
        "size(body.x.size()) > 1",
        &["[body.x.size()] Unsupported: `size` needs an attribute here; name an attribute"],
    );
}

#[test]
fn lists_have_literals_of_one_type() {
    let mixed = "a list has one type: all texts or all numbers; \
                 write two lists joined by `||`, or put the numbers in quotes if they are texts";
    complain("body.x in ['a', 1]", &[&format!("[1] WrongType: {mixed}")]);
    complain("body.x in [1, 'a']", &[&format!("['a'] WrongType: {mixed}")]);
    complain("agent.id in [1]", &["[1] WrongType: a text cannot be compared with a number `1`; put it in quotes"]);
    complain(
        "body.x in [true]",
        &["[true] Unsupported: a list here has texts or numbers; compare with `== true` or `== false`"],
    );
    complain("body.x in []", &["[[]] Unsupported: nothing is in an empty list; name the values"]);
    complain(
        "'a' in http.path",
        &["['a' in http.path] WrongType: `http.path` is not a list; \
           write `http.path.contains(...)` for a part of a text"],
    );
    complain("body.x in 'abc'", &["['abc'] WrongType: `in` needs a list; write `in [\"a\", \"b\"]`"]);
    complain(
        "body.x in [body.y, 1]",
        &["[body.y] Unsupported: only literals can stand in a list here; compare with `==`, joined by `||`"],
    );
    for text in ["body.x in body.list", "null in body.list"] {
        let help = "write it as in `\"a\" in body.list`";
        complain(text, &[&format!("[{text}] Unsupported: only a literal can be sought in an attribute here; {help}")]);
    }
    complain(
        "5 in http.query",
        &["[5 in http.query] WrongType: a group of values has names, which are texts; put it in quotes"],
    );
    complain(
        "size(body.x) in [1, 2]",
        &["[size(body.x) in [1, 2]] Unsupported: only an attribute can be sought in a list here; \
           compare with `==`, joined by `||`"],
    );
}

#[test]
fn what_is_cel_but_left_out_is_called_so() {
    let beyond = |part: &str, what: &str, help: &str| {
        format!("[{part}] Unsupported: {what} is CEL, but not in the subset of `when`; {help}")
    };
    let functions = "the functions are `contains`, `endsWith`, `has`, `matches`, `size`, `startsWith`";
    let members = "compare the members one by one, joined by `&&`";
    let equality = "compare with `==`, `!=` or `in`";
    for (text, part, what, help) in [
        (
            "body.a + 1 > 2",
            "body.a + 1",
            "arithmetic",
            "work the value out and write it down; a name with `-` in it stands in brackets, \
             as in `http.headers[\"x-id\"]`",
        ),
        (
            "body.a ? body.b : body.c",
            "body.a ? body.b : body.c",
            "`? :`",
            "write `(a && b) || (!a && c)` for `a ? b : c`",
        ),
        ("body.a == {'x': 1}", "{'x': 1}", "a map", members),
        ("body.a == google.X{a: 1}", "google.X{a: 1}", "a message", members),
        ("body.a == b'x'", "b'x'", "a text of bytes", "write it as a text, without the `b`"),
        (".body == 1", ".body", "a name with a `.` before it", "leave out the `.`"),
        (
            "body.list.exists(x, x > 1)",
            "body.list.exists(x, x > 1)",
            "the macro `exists`",
            "write `\"x\" in body.list` for an item that occurs, or name items, as in `body.list[0]`",
        ),
        ("timestamp(body.t) < body.u", "timestamp(body.t)", "time", "write `time` as a key of the entries of `match`"),
        ("int(body.x) == 1", "int(body.x)", "the function `int`", functions),
        ("body.x.lowerAscii() == 'a'", "body.x.lowerAscii()", "the function `lowerAscii`", functions),
        ("body.x < 'm'", "body.x < 'm'", "an order of texts", equality),
        ("agent.id < body.x", "agent.id < body.x", "an order of texts", equality),
        ("body.x < true", "body.x < true", "an order of truth values", equality),
    ] {
        complain(text, &[&beyond(part, what, help)]);
    }
    complain(
        "body.x.contains(body.y)",
        &["[body.y] Unsupported: `contains` takes a literal here; write a text in quotes"],
    );
    complain(
        "body.x.startWith('a')",
        &["[body.x.startWith('a')] Unsupported: unknown function `startWith`; did you mean `startsWith`?"],
    );
    complain(
        "frobnicate(body.x)",
        &[&format!("[frobnicate(body.x)] Unsupported: unknown function `frobnicate`; {functions}")],
    );
}

#[test]
fn what_is_the_same_for_every_request_is_refused() {
    for (text, part) in [
        ("true", "true"),
        ("body.a || 1 == 1", "1 == 1"),
        ("null == null", "null == null"),
        ("1 in [1]", "1 in [1]"),
        ("'abc'.contains('b')", "'abc'"),
    ] {
        let help = "remove it, or name the attribute that is meant";
        complain(text, &[&format!("[{part}] Unsupported: `{part}` is the same for every request; {help}")]);
    }
    complain(
        "has(http.path)",
        &["[http.path] Unsupported: every request has `http.path`; remove it, or compare the value"],
    );
    complain(
        "has(agent.exists)",
        &["[agent.exists] Unsupported: every request has `agent.exists`; write `agent.exists` without `has`"],
    );
    let long = "\"a long text that is cut when it is shown, as nobody reads it to its end\" == 5";
    complain(
        long,
        &[&format!(
            "[{long}] Unsupported: `\"a long text that is cut when it is shown, as nobody reads i...` \
             is the same for every request; remove it, or name the attribute that is meant"
        )],
    );
}

#[test]
fn expressions_are_bounded() {
    let refusal = |text: &str| when(text).map_err(|errors| (errors[0].kind, errors[0].message.clone()));
    let too_large = |message: &str| Err((CelErrorKind::TooLarge, message.to_owned()));
    let deep = too_large("nested deeper than 64 levels");
    let nested = |open: &str, inner: &str, close: &str, depth| open.repeat(depth) + inner + &close.repeat(depth);
    for text in [
        nested("(", "body.a", ")", 1000),
        nested("!", "body.a", "", 8000),
        nested("-", "body.a", "", 8000),
        nested("body[", "1", "]", 1000),
        nested("[", "1", "]", 1000),
        nested("f(", "1", ")", 1000),
        nested("{1: ", "1", "}", 1000),
        nested("a ? b : ", "c", "", 800),
        format!("body{}", ".a".repeat(4000)),
        format!("body.a{}", ".f()".repeat(2000)),
        format!("body.a{}", " == 1".repeat(1000)),
    ] {
        assert_eq!(refusal(&text), deep, "{text}");
    }
    assert!(when(&nested("(", "body.a", ")", 60)).is_ok());
    assert!(when(&nested("!", "body.a", "", 60)).is_ok());

    let long = vec!["body.a"; 256].join(" && ");
    assert!(when(&long).is_ok());
    assert_eq!(refusal(&format!("{long} && body.b")), too_large("the expression has 257 atoms, of 256 at most"));
    assert_eq!(
        refusal(&format!("body.a == '{}'", "x".repeat(8192))),
        too_large("the expression is longer than 8192 bytes")
    );
    assert_eq!(when(&vec!["5"; 256].join(" && ")).unwrap_err().len(), 20);
    let turns = |count| nested("(body.a && (body.b || ", "body.c", "))", count);
    assert!(when(&turns(12)).is_ok());
    assert_eq!(refusal(&turns(13)), too_large("`&&` and `||` alternate 26 times, of 24 at most"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever the text is, it is read, or its mistakes are named, each within the text.
    #[test]
    fn any_text_is_read_or_refused(text in r#"\PC{0,40}|(body\.a|has\(|http\.path|size|in|==|<|&&|\|\||!|[()\[\]{},.'"\\?:+-]|1u?|0x|r'|true| |//|`){0,25}"#) {
        if let Err(errors) = when(&text) {
            prop_assert!(!errors.is_empty());
            for CelError { range, message, .. } in errors {
                prop_assert!(range.start <= range.end && range.end <= text.chars().count(), "{range:?} {message}");
                prop_assert!(!message.is_empty());
            }
        }
    }
}
