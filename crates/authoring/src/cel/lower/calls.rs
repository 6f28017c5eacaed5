//! Functions: `has`, `size` and the tests of texts.

use holdgate_engine::conditions::{Attribute, Expr, Literal, Test};

use super::{Lowering, is, signed};
use crate::{
    cel::{
        CelError,
        CelErrorKind::{self, Unsupported, WrongType},
        parser::{Call, Node, Term},
        schema::{Name, resolve},
    },
    reader::{list, nearest},
};

/// The functions of the subset.
const FUNCTIONS: [&str; 6] = ["contains", "endsWith", "has", "matches", "size", "startsWith"];

/// Functions and macros of CEL, its strings extension included, that the subset leaves out.
const OTHERS: &str = "all bool bytes charAt double duration dyn exists existsOne exists_one filter format getDate getDayOfMonth \
    getDayOfWeek getDayOfYear getFullYear getHours getMilliseconds getMinutes getMonth getSeconds indexOf int \
    join lastIndexOf lowerAscii map min max quote replace reverse split string substring timestamp trim type \
    uint upperAscii";

impl Lowering<'_> {
    /// A function as a condition or, where `wanted` is false, its negation.
    pub(super) fn call(&mut self, node: &Node, call: &Call, wanted: bool) -> Option<Expr> {
        match call.function.as_str() {
            "has" => self.has(node, call, wanted),
            "startsWith" | "endsWith" | "contains" | "matches" => self.text_test(node, call, wanted),
            "size" => {
                self.size_of(node, call)?;
                let message = format!("`{}` is a number, where a condition is needed", self.excerpt(&node.range));
                self.error(WrongType, &node.range, message, "compare it, as in `size(body.items) > 10`")
            }
            "timestamp" | "duration" => self.beyond(node, "time", "write `time` as a key of the entries of `match`"),
            "all" | "exists" | "exists_one" | "existsOne" | "map" | "filter" if call.of.is_some() => {
                let help = "write `\"x\" in body.list` for an item that occurs, or name items, as in `body.list[0]`";
                self.beyond(node, &format!("the macro `{}`", call.function), help)
            }
            other if OTHERS.split(' ').any(|name| name == other) => {
                let help = format!("the functions are {}", list(&FUNCTIONS));
                self.beyond(node, &format!("the function `{other}`"), &help)
            }
            other => {
                let help = match nearest(other, &FUNCTIONS) {
                    Some(function) => format!("did you mean `{function}`?"),
                    None => format!("the functions are {}", list(&FUNCTIONS)),
                };
                self.error(Unsupported, &node.range, format!("unknown function `{other}`"), help)
            }
        }
    }

    fn has(&mut self, node: &Node, call: &Call, wanted: bool) -> Option<Expr> {
        match (&call.of, call.arguments.as_slice()) {
            (None, [name @ Node { term: Term::Member(..) | Term::Index(..), .. }]) => {
                let resolved = resolve(name, self.tags);
                self.existence(resolved, name, wanted)
            }
            _ => {
                let message = "`has` takes one attribute with a member";
                self.error(WrongType, &node.range, message, "write it as in `has(body.user)`")
            }
        }
    }

    /// Whether an attribute is there.
    pub(super) fn existence(&mut self, name: Result<Name, CelError>, node: &Node, wanted: bool) -> Option<Expr> {
        let help = match self.reported(name)? {
            Name::Value(Attribute::Method | Attribute::Host | Attribute::Path, _) => "remove it, or compare the value",
            Name::AgentExists => "write `agent.exists` without `has`",
            Name::Value(of, _) => return Some(is(of, Test::Exists(wanted))),
            Name::Group => return self.group(node),
        };
        let message = format!("every request has `{}`", self.excerpt(&node.range));
        self.error(Unsupported, &node.range, message, help)
    }

    /// The attribute of `size(x)` or `x.size()`.
    pub(super) fn size_of(&mut self, node: &Node, call: &Call) -> Option<Attribute> {
        let value = match (call.of.as_deref(), call.arguments.as_slice()) {
            (None, [value]) | (Some(value), []) => value,
            _ => {
                let help = "write it as in `size(body.items)`";
                return self.error(WrongType, &node.range, "`size` takes one value", help);
            }
        };
        self.attribute(value, "`size`")
    }

    /// `x.startsWith("...")` and its like; `matches` can be written as a function of two arguments too.
    fn text_test(&mut self, node: &Node, call: &Call, wanted: bool) -> Option<Expr> {
        let function = call.function.as_str();
        let (value, literal) = match (call.of.as_deref(), call.arguments.as_slice()) {
            (Some(value), [literal]) => (value, literal),
            (None, [value, literal]) if function == "matches" => (value, literal),
            _ => {
                let help = format!("write it as in `http.path.{function}(\"...\")`");
                return self.error(WrongType, &node.range, format!("`{function}` takes one text"), help);
            }
        };
        let of = self.attribute(value, &format!("`{function}`"))?;
        let text = match &literal.term {
            // A host is in lower case in every request, and may be written in any case.
            Term::Literal(Literal::String(text)) if of == Attribute::Host && function != "matches" => {
                text.to_lowercase()
            }
            Term::Literal(Literal::String(text)) => text.clone(),
            Term::Literal(_) | Term::Null | Term::List(_) => {
                let message = format!("`{function}` takes a text, not `{}`", self.excerpt(&literal.range));
                return self.error(WrongType, &literal.range, message, "put it in quotes");
            }
            _ => {
                let message = format!("`{function}` takes a literal here");
                return self.error(Unsupported, &literal.range, message, "write a text in quotes");
            }
        };
        let test = match function {
            "startsWith" => Test::Prefix(text),
            "endsWith" => Test::Suffix(text),
            "contains" => Test::Contains(text),
            _ => match (self.regex)(&text) {
                Ok(pattern) => Test::Matches(pattern),
                Err(problem) => {
                    return self.report(CelError::new(CelErrorKind::Regex, literal.range.clone(), problem));
                }
            },
        };
        Some(signed(of, test, wanted))
    }

    /// The attribute that a function is about.
    fn attribute(&mut self, node: &Node, function: &str) -> Option<Attribute> {
        match &node.term {
            Term::Name(_) | Term::Member(..) | Term::Index(..) => match self.name(node)? {
                Name::Value(of, _) => Some(of),
                Name::Group => self.group(node),
                Name::AgentExists => {
                    let message = format!("`agent.exists` is true or false, and {function} needs a value");
                    self.error(WrongType, &node.range, message, "write `agent.exists` alone")
                }
            },
            Term::Beyond(beyond) => self.beyond(node, beyond.name(), beyond.help()),
            Term::Literal(Literal::String(_)) | Term::List(_) => self.says_nothing(&node.range),
            Term::Literal(Literal::Number(_) | Literal::Bool(_)) | Term::Null => {
                let message = format!("{function} needs a text or a list, not `{}`", self.excerpt(&node.range));
                self.error(WrongType, &node.range, message, "name an attribute")
            }
            _ => {
                self.error(Unsupported, &node.range, format!("{function} needs an attribute here"), "name an attribute")
            }
        }
    }
}
