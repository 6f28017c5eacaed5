//! The tree to atoms: types are checked, and negation is driven down to the atoms on the way.

use std::ops::Range;

use holdgate_engine::{
    conditions::{Atom, Attribute, Comparison, Expr, List, Literal, Order, Size, Test, ValueTest},
    decimal::Number,
};

use super::{
    CelError,
    CelErrorKind::{self, Unsupported, WrongType},
    Regex, Tags,
    parser::{Node, Term},
    schema::{self, Name, Type},
};

mod calls;

/// The most mistakes that are reported of one expression.
const MAX_ERRORS: usize = 20;

/// Lowers a condition. Each mistake that does not follow from another one is reported.
pub(super) fn lower(tree: &Node, text: &str, tags: Tags<'_>, regex: Regex<'_>) -> Result<Expr, Vec<CelError>> {
    let mut lowering = Lowering { text, tags, regex, errors: Vec::new() };
    match lowering.condition(tree, true) {
        Some(expr) if lowering.errors.is_empty() => Ok(expr),
        _ => Err(lowering.errors),
    }
}

/// `None` from its functions means that a mistake was reported.
struct Lowering<'a> {
    text: &'a str,
    tags: Tags<'a>,
    regex: Regex<'a>,
    errors: Vec<CelError>,
}

/// What can stand on a side of a comparison.
enum Operand {
    Value(Attribute, Type),
    Size(Attribute),
    Literal(Literal, Range<usize>),
    Null,
    List,
    /// What is true or false in itself, such as `has(body.x)`.
    Condition,
}

impl Operand {
    /// Whether it is the same for every request.
    fn is_fixed(&self) -> bool {
        matches!(self, Operand::Literal(..) | Operand::Null | Operand::List)
    }
}

impl Lowering<'_> {
    /// A condition or, where `wanted` is false, its negation.
    fn condition(&mut self, node: &Node, wanted: bool) -> Option<Expr> {
        let found = match &node.term {
            Term::All(parts) => return self.junction(parts, wanted, wanted),
            Term::Any(parts) => return self.junction(parts, wanted, !wanted),
            Term::Not(inner) => return self.condition(inner, !wanted),
            Term::Compare(left, order, right) => return self.comparison(left, *order, right, wanted),
            Term::In(item, list) => return self.membership(item, list, wanted),
            Term::Call(call) => return self.call(node, call, wanted),
            Term::Beyond(beyond) => return self.beyond(node, beyond.name(), beyond.help()),
            Term::Literal(Literal::Bool(_)) => return self.says_nothing(&node.range),
            Term::Name(_) | Term::Member(..) | Term::Index(..) => match self.name(node)? {
                Name::AgentExists => return Some(is(Attribute::Agent, Test::Exists(wanted))),
                Name::Value(_, Type::Text) => "a text",
                Name::Value(of, _) => return Some(is(of, Test::Equals(Literal::Bool(wanted)))),
                Name::Group => "a group of values",
            },
            Term::Literal(literal) => kind_of(literal),
            Term::Null => "null",
            Term::List(_) => "a list",
        };
        let message = format!("`{}` is {found}, where a condition is needed", self.excerpt(&node.range));
        self.error(WrongType, &node.range, message, "compare it with something, as in `http.method == \"POST\"`")
    }

    /// `&&` or `||`; where it is negated the other one, by De Morgan's laws.
    fn junction(&mut self, parts: &[Node], wanted: bool, all: bool) -> Option<Expr> {
        let lowered: Vec<Option<Expr>> = parts.iter().map(|part| self.condition(part, wanted)).collect();
        let mut flat = Vec::new();
        for part in lowered {
            match part? {
                Expr::All(inner) if all => flat.extend(inner),
                Expr::Any(inner) if !all => flat.extend(inner),
                other => flat.push(other),
            }
        }
        Some(if all { Expr::All(flat) } else { Expr::Any(flat) })
    }

    fn comparison(&mut self, left: &Node, order: Order, right: &Node, wanted: bool) -> Option<Expr> {
        let range = left.range.start..right.range.end;
        let order = if wanted { order } else { negated(order) };
        let (first, second) = (self.operand(left), self.operand(right));
        let (first, second) = (first?, second?);
        match (first.is_fixed(), second.is_fixed()) {
            (true, true) => self.says_nothing(&range),
            // What is fixed is turned to the right.
            (true, false) => self.compare(right, second, turned(order), first, &range),
            _ => self.compare(left, first, order, second, &range),
        }
    }

    fn compare(
        &mut self,
        node: &Node,
        left: Operand,
        order: Order,
        right: Operand,
        range: &Range<usize>,
    ) -> Option<Expr> {
        let equality = matches!(order, Order::Eq | Order::Ne);
        match (left, right) {
            (Operand::Value(of, kind), Operand::Literal(literal, at)) => {
                let literal = self.fitting(&of, kind, literal, &at)?;
                self.order_test(order, literal, range).map(|test| is(of, test))
            }
            (Operand::Value(_, a), Operand::Value(_, b)) if !equality && (a == Type::Text || b == Type::Text) => {
                self.no_order("texts", range)
            }
            (Operand::Value(left, _), Operand::Value(right, _)) => {
                Some(Expr::Is(Atom::Compare(Comparison { left, is: order, right })))
            }
            (Operand::Value(..), Operand::Null) => {
                let help = format!("ask with `has({})` whether it is there", self.excerpt(&node.range));
                self.error(Unsupported, range, "nothing can be compared with null", help)
            }
            (Operand::Value(..), Operand::List) => {
                let help =
                    "write `in` for one of several values, and compare items one by one, as in `body.ids[0] == 1`";
                self.error(Unsupported, range, "a value cannot be compared with a list", help)
            }
            (Operand::Size(of), Operand::Literal(Literal::Number(number), _)) => {
                self.size_test(of, order, &number, range)
            }
            (Operand::Size(_), _) | (_, Operand::Size(_)) => {
                let help = "write a whole number from 0, as in `size(body.items) > 10`";
                self.error(WrongType, range, "a size can only be compared with a literal number", help)
            }
            (Operand::Condition, Operand::Literal(Literal::Bool(literal), _)) if equality => {
                self.condition(node, (order == Order::Eq) == literal)
            }
            _ => {
                let message = "a condition can only be compared with `true` or `false`";
                self.error(WrongType, range, message, "join conditions with `&&`, `||` and `!`")
            }
        }
    }

    fn operand(&mut self, node: &Node) -> Option<Operand> {
        Some(match &node.term {
            Term::Literal(literal) => Operand::Literal(literal.clone(), node.range.clone()),
            Term::Null => Operand::Null,
            Term::List(_) => Operand::List,
            Term::Name(_) | Term::Member(..) | Term::Index(..) => match self.name(node)? {
                Name::AgentExists => Operand::Condition,
                Name::Value(of, kind) => Operand::Value(of, kind),
                Name::Group => return self.group(node),
            },
            Term::Call(call) if call.function == "size" => Operand::Size(self.size_of(node, call)?),
            Term::Call(call) => {
                // Whatever is wrong with the call itself matters more than how it is compared.
                self.call(node, call, true)?;
                Operand::Condition
            }
            Term::Beyond(beyond) => return self.beyond(node, beyond.name(), beyond.help()),
            Term::Not(_) | Term::All(_) | Term::Any(_) | Term::Compare(..) | Term::In(..) => Operand::Condition,
        })
    }

    /// The literal as the attribute can be compared with it.
    fn fitting(&mut self, of: &Attribute, kind: Type, literal: Literal, range: &Range<usize>) -> Option<Literal> {
        match (kind, literal) {
            (Type::Text, Literal::String(text)) => self.fitting_text(of, text, range).map(Literal::String),
            (Type::Text, literal) => {
                let message = format!("a text cannot be compared with {} `{}`", kind_of(&literal), self.excerpt(range));
                self.error(WrongType, range, message, "put it in quotes")
            }
            (_, literal) => Some(literal),
        }
    }

    /// A text that a whole value is compared with, in the form in which requests have it.
    fn fitting_text(&mut self, of: &Attribute, text: String, range: &Range<usize>) -> Option<String> {
        match of {
            // As everywhere in rule files, a host may be written in any case.
            Attribute::Host => Some(text.to_lowercase()),
            Attribute::Method if !text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') => {
                let help = "write a method in upper case, such as `POST`";
                self.error(WrongType, range, format!("`{text}` is not a method"), help)
            }
            _ => Some(text),
        }
    }

    fn order_test(&mut self, order: Order, literal: Literal, range: &Range<usize>) -> Option<Test> {
        Some(match (order, literal) {
            (Order::Eq | Order::Ne, Literal::Bool(value)) => Test::Equals(Literal::Bool(value == (order == Order::Eq))),
            (Order::Eq, literal) => Test::Equals(literal),
            (Order::Ne, Literal::String(text)) => Test::NotIn(List::strings([text])),
            (Order::Ne, Literal::Number(number)) => Test::NotIn(List::numbers([number])),
            (Order::Lt, Literal::Number(number)) => Test::Lt(number),
            (Order::Lte, Literal::Number(number)) => Test::Lte(number),
            (Order::Gt, Literal::Number(number)) => Test::Gt(number),
            (Order::Gte, Literal::Number(number)) => Test::Gte(number),
            (_, Literal::String(_)) => return self.no_order("texts", range),
            (_, Literal::Bool(_)) => return self.no_order("truth values", range),
        })
    }

    fn size_test(&mut self, of: Attribute, order: Order, number: &Number, range: &Range<usize>) -> Option<Expr> {
        let Ok(size) = number.as_str().parse::<u64>() else {
            let message = format!("a size is a whole number from 0, never `{number}`");
            return self.error(WrongType, range, message, "write a whole number from 0");
        };
        let bounds = match order {
            Order::Eq | Order::Ne => Some((size, Some(size))),
            Order::Lt => size.checked_sub(1).map(|max| (0, Some(max))),
            Order::Lte => Some((0, Some(size))),
            Order::Gt => size.checked_add(1).map(|min| (min, None)),
            Order::Gte => Some((size, None)),
        };
        let Some((min, max)) = bounds else {
            let message = format!("`{}` is the same for every size", self.excerpt(range));
            return self.error(Unsupported, range, message, "a size is a whole number from 0");
        };
        Some(signed(of, Test::Size(Size { min, max }), order != Order::Ne))
    }

    /// `in`: an attribute in a list of literals, or a literal in what a request brings.
    fn membership(&mut self, item: &Node, list: &Node, wanted: bool) -> Option<Expr> {
        let range = item.range.start..list.range.end;
        match (&item.term, &list.term) {
            (Term::Literal(_) | Term::Null, Term::List(_)) => self.says_nothing(&range),
            (_, Term::List(items)) => {
                let Operand::Value(of, kind) = self.operand(item)? else {
                    let message = "only an attribute can be sought in a list here";
                    return self.error(Unsupported, &range, message, "compare with `==`, joined by `||`");
                };
                let list = self.literals(&of, kind, items, &list.range)?;
                Some(is(of, if wanted { one_of(list) } else { Test::NotIn(list) }))
            }
            (Term::Literal(literal), Term::Name(_) | Term::Member(..) | Term::Index(..)) => {
                self.inclusion(literal, list, &range, wanted)
            }
            (_, Term::Name(_) | Term::Member(..) | Term::Index(..)) => {
                let message = "only a literal can be sought in an attribute here";
                self.error(Unsupported, &range, message, "write it as in `\"a\" in body.list`")
            }
            _ => self.error(WrongType, &list.range, "`in` needs a list", "write `in [\"a\", \"b\"]`"),
        }
    }

    /// A literal in a list that a request brings, or a name in a group of values.
    fn inclusion(&mut self, literal: &Literal, list: &Node, range: &Range<usize>, wanted: bool) -> Option<Expr> {
        match (self.name(list)?, literal) {
            (Name::Value(of, Type::Any), _) => Some(signed(of, Test::Includes(literal.clone()), wanted)),
            (Name::Group, Literal::String(member)) => {
                let name = schema::resolve_member(list, member, self.tags);
                self.existence(name, list, wanted)
            }
            (Name::Group, _) => {
                self.error(WrongType, range, "a group of values has names, which are texts", "put it in quotes")
            }
            (Name::Value(..) | Name::AgentExists, _) => {
                let list = self.excerpt(&list.range);
                let help = format!("write `{list}.contains(...)` for a part of a text");
                self.error(WrongType, range, format!("`{list}` is not a list"), help)
            }
        }
    }

    /// The items of a list to compare with: literals of one type.
    fn literals(&mut self, of: &Attribute, kind: Type, items: &[Node], range: &Range<usize>) -> Option<List> {
        let (mut texts, mut numbers) = (Vec::new(), Vec::new());
        for item in items {
            let Term::Literal(literal) = &item.term else {
                let message = "only literals can stand in a list here";
                return self.error(Unsupported, &item.range, message, "compare with `==`, joined by `||`");
            };
            match self.fitting(of, kind, literal.clone(), &item.range)? {
                Literal::String(text) if numbers.is_empty() => texts.push(text),
                Literal::Number(number) if texts.is_empty() => numbers.push(number),
                Literal::Bool(_) => {
                    let help = "compare with `== true` or `== false`";
                    return self.error(Unsupported, &item.range, "a list here has texts or numbers", help);
                }
                _ => {
                    let help = "write two lists joined by `||`, or put the numbers in quotes if they are texts";
                    return self.error(WrongType, &item.range, "a list has one type: all texts or all numbers", help);
                }
            }
        }
        match (texts.is_empty(), numbers.is_empty()) {
            (true, true) => self.error(Unsupported, range, "nothing is in an empty list", "name the values"),
            (false, _) => Some(List::strings(texts)),
            (true, false) => Some(List::numbers(numbers)),
        }
    }

    fn name(&mut self, node: &Node) -> Option<Name> {
        let name = schema::resolve(node, self.tags);
        self.reported(name)
    }

    fn reported<T>(&mut self, result: Result<T, CelError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => self.report(error),
        }
    }

    fn group<T>(&mut self, node: &Node) -> Option<T> {
        let name = self.excerpt(&node.range);
        let help = format!("name one of them, as in `{name}.x` or `{name}[\"x\"]`");
        self.error(WrongType, &node.range, format!("`{name}` is a group of values"), help)
    }

    fn no_order<T>(&mut self, what: &str, range: &Range<usize>) -> Option<T> {
        let message = format!("an order of {what} is CEL, but not in the subset of `when`");
        self.error(Unsupported, range, message, "compare with `==`, `!=` or `in`")
    }

    fn beyond<T>(&mut self, node: &Node, what: &str, help: &str) -> Option<T> {
        self.error(Unsupported, &node.range, format!("{what} is CEL, but not in the subset of `when`"), help)
    }

    fn says_nothing<T>(&mut self, range: &Range<usize>) -> Option<T> {
        let message = format!("`{}` is the same for every request", self.excerpt(range));
        self.error(Unsupported, range, message, "remove it, or name the attribute that is meant")
    }

    fn error<T>(
        &mut self,
        kind: CelErrorKind,
        range: &Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Option<T> {
        self.report(CelError::new(kind, range.clone(), message).with_help(help))
    }

    fn report<T>(&mut self, error: CelError) -> Option<T> {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(error);
        }
        None
    }

    /// What the author wrote there, or the start of it.
    fn excerpt(&self, range: &Range<usize>) -> String {
        const MOST: usize = 60;
        let text: String = self.text.chars().skip(range.start).take(range.len().min(MOST)).collect();
        if range.len() > MOST { text + "..." } else { text }
    }
}

fn is(of: Attribute, is: Test) -> Expr {
    signed(of, is, true)
}

fn signed(of: Attribute, is: Test, wanted: bool) -> Expr {
    let atom = Atom::Value(ValueTest { of, is });
    if wanted { Expr::Is(atom) } else { Expr::IsNot(atom) }
}

/// `in` of one value is a comparison with it.
fn one_of(list: List) -> Test {
    match &list {
        List::Strings(texts) => match texts.as_slice() {
            [text] => Test::Equals(Literal::String(text.clone())),
            _ => Test::In(list),
        },
        List::Numbers(numbers) => match numbers.as_slice() {
            [number] => Test::Equals(Literal::Number(number.clone())),
            _ => Test::In(list),
        },
    }
}

fn kind_of(literal: &Literal) -> &'static str {
    match literal {
        Literal::String(_) => "a text",
        Literal::Number(_) => "a number",
        Literal::Bool(_) => "a truth value",
    }
}

/// The order seen from the other side.
fn turned(order: Order) -> Order {
    match order {
        Order::Lt => Order::Gt,
        Order::Lte => Order::Gte,
        Order::Gt => Order::Lt,
        Order::Gte => Order::Lte,
        Order::Eq | Order::Ne => order,
    }
}

/// The order that holds where this one does not.
fn negated(order: Order) -> Order {
    match order {
        Order::Eq => Order::Ne,
        Order::Ne => Order::Eq,
        Order::Lt => Order::Gte,
        Order::Lte => Order::Gt,
        Order::Gt => Order::Lte,
        Order::Gte => Order::Lt,
    }
}
