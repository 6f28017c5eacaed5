//! Tests of values: what an atom says about a request.

use holdgate_protocol::{Json, Pointer, bundle::Effect};

use crate::{
    Body, Field, Mcp, Request, Truth,
    conditions::{Atom, Attribute, By, Comparison, Expr, List, Literal, Order, Rate, Size, Source, Tag, Test},
    decimal::Decimal,
};

/// The method of an MCP message that calls a tool.
pub(crate) const TOOLS_CALL: &str = "tools/call";

/// The most pairs of values that one comparison looks at.
const MAX_PAIRS: usize = 256;

/// One value of an attribute, as a test sees it.
#[derive(Clone, Copy)]
enum Value<'a> {
    Missing,
    /// It cannot be known whether there is a value.
    Unknown,
    Pending,
    Text(&'a str),
    /// A text that stands for a number where a number is asked for: of a query or a header.
    Wire(&'a str),
    Number(&'a str),
    Bool(bool),
    List(&'a [Json]),
    /// How many members the object has.
    Object(usize),
    Null,
    /// What is asked is about an MCP message, or a tool call, and the request is none: known to be false, negated or not.
    Elsewhere,
}

impl Expr {
    /// What the condition of a rule with this effect says about a request.
    pub fn truth(&self, effect: Effect, request: &Request<'_>) -> Truth {
        match self {
            Expr::All(parts) => parts.iter().fold(Truth::True, |all, part| {
                if all == Truth::False { all } else { all.and(part.truth(effect, request)) }
            }),
            Expr::Any(parts) => parts.iter().fold(Truth::False, |any, part| {
                if any == Truth::True { any } else { any.or(part.truth(effect, request)) }
            }),
            Expr::Is(atom) => atom.literal(effect, request, false),
            Expr::IsNot(atom) => atom.literal(effect, request, true),
        }
    }
}

impl Atom {
    /// What the atom of a rule with this effect says about a request.
    pub fn truth(&self, effect: Effect, request: &Request<'_>) -> Truth {
        self.literal(effect, request, false)
    }

    /// The atom or its negation. Where an attribute has several values, any of them counts in a rule that denies or
    /// holds, and all of them must in one that allows; the negation is that of each value's test.
    pub fn literal(&self, effect: Effect, request: &Request<'_>, negated: bool) -> Truth {
        let signed = |truth: Truth| if negated { !truth } else { truth };
        match self {
            Atom::Value(test) => match Values::of(&test.of, request) {
                Values::One(Value::Elsewhere) => Truth::False,
                Values::One(value) => signed(test.is.evaluate(value)),
                Values::Several(values) => values.quantified(effect, &test.is, signed),
            },
            Atom::Compare(comparison) => comparison.evaluate(effect, request, signed),
            Atom::Rate(Rate { over, slot, .. }) => {
                let count = request.rates.get(*slot).copied().flatten();
                signed(count.map_or(Truth::Unknown, |count| (count > *over).into()))
            }
            Atom::Time(window) => signed(window.truth(request.time)),
        }
    }
}

/// The values of an attribute.
enum Values<'a> {
    One(Value<'a>),
    Several(Several<'a>),
}

/// The fields of one name.
#[derive(Clone, Copy)]
struct Several<'a> {
    fields: &'a [Field<'a>],
    name: &'a str,
}

impl<'a> Several<'a> {
    fn values(self) -> impl Iterator<Item = Value<'a>> {
        let named = self.fields.iter().filter(move |field| field.name == self.name);
        named.map(|field| field.value.map_or(Value::Unknown, Value::Wire))
    }

    fn quantified(self, effect: Effect, test: &Test, signed: impl Fn(Truth) -> Truth) -> Truth {
        let mut values = self.values().peekable();
        if let Test::Exists(wanted) = test {
            return signed((values.peek().is_some() == *wanted).into());
        }
        if values.peek().is_none() {
            return signed(test.evaluate(Value::Missing));
        }
        quantify(effect, values.map(|value| signed(test.evaluate(value))))
    }
}

/// Any in rules that deny or hold, all in those that allow.
fn quantify(effect: Effect, truths: impl Iterator<Item = Truth>) -> Truth {
    match effect {
        Effect::Allow => truths.fold(Truth::True, Truth::and),
        Effect::Deny | Effect::Hold => truths.fold(Truth::False, Truth::or),
    }
}

impl<'a> Values<'a> {
    fn of(attribute: &'a Attribute, request: &Request<'a>) -> Values<'a> {
        let agent = request.agent;
        let text = |text: Option<&'a str>| text.map_or(Value::Missing, Value::Text);
        let claim = |pointer: &Pointer| Value::of(agent.and_then(|agent| agent.claims.at(pointer)));
        Values::One(match attribute {
            Attribute::Method => Value::Text(request.method),
            Attribute::Host => Value::Text(request.host),
            Attribute::Path => Value::Text(request.path),
            Attribute::Agent => agent.map_or(Value::Missing, |_| Value::Null),
            Attribute::AgentId => text(agent.map(|agent| agent.id)),
            Attribute::AgentIssuer => text(agent.map(|agent| agent.iss)),
            Attribute::AgentOwner => text(agent.and_then(|agent| agent.owner)),
            Attribute::Claim(pointer) | Attribute::Tag(Tag { source: Source::Claim(pointer), .. }) => claim(pointer),
            Attribute::Body(pointer) => match request.body {
                Body::Unread => Value::Pending,
                Body::Empty => Value::Missing,
                Body::Json(body) => Value::of(body.at(pointer)),
            },
            Attribute::Query(name) => return Values::Several(Several { fields: request.query, name }),
            Attribute::Header(name) | Attribute::Tag(Tag { source: Source::Header(name), .. }) => {
                return Values::Several(Several { fields: request.headers, name });
            }
            Attribute::McpMethod => match request.mcp {
                Mcp::None => Value::Elsewhere,
                Mcp::Unread => Value::Pending,
                Mcp::Tool(_) => Value::Text(TOOLS_CALL),
                Mcp::Message { method, .. } => Value::Text(method),
            },
            Attribute::McpTool => match request.mcp {
                Mcp::Unread => Value::Pending,
                Mcp::Tool(tool) => Value::Text(tool),
                Mcp::Message { method: TOOLS_CALL, tool, .. } => text(tool),
                Mcp::None | Mcp::Message { .. } => Value::Elsewhere,
            },
            Attribute::McpArg(pointer) => match request.mcp {
                Mcp::Unread | Mcp::Tool(_) => Value::Pending,
                Mcp::Message { method: TOOLS_CALL, args, .. } => Value::of(args.and_then(|args| args.at(pointer))),
                Mcp::None | Mcp::Message { .. } => Value::Elsewhere,
            },
        })
    }
}

impl<'a> Value<'a> {
    fn of(json: Option<&'a Json>) -> Self {
        match json {
            None => Value::Missing,
            Some(Json::String(text)) => Value::Text(text),
            Some(Json::Number(number)) => Value::Number(number.as_str()),
            Some(Json::Bool(value)) => Value::Bool(*value),
            Some(Json::Null) => Value::Null,
            Some(Json::Array(items)) => Value::List(items),
            Some(Json::Object(members)) => Value::Object(members.iter().count()),
        }
    }

    fn number(self) -> Option<Decimal<'a>> {
        let (Value::Number(spelling) | Value::Wire(spelling)) = self else { return None };
        Decimal::parse(spelling)
    }

    fn text(self) -> Option<&'a str> {
        let (Value::Text(text) | Value::Wire(text)) = self else { return None };
        Some(text)
    }

    fn bool(self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(value),
            Value::Wire("true") => Some(true),
            Value::Wire("false") => Some(false),
            _ => None,
        }
    }
}

impl Test {
    fn evaluate(&self, value: Value<'_>) -> Truth {
        let text = |holds: &dyn Fn(&str) -> bool| known(value.text().map(holds));
        let number = |holds: &dyn Fn(Decimal<'_>) -> bool| known(value.number().map(holds));
        match (self, value) {
            (_, Value::Pending) => Truth::Pending,
            (_, Value::Unknown) => Truth::Unknown,
            (Test::Exists(wanted), value) => (!matches!(value, Value::Missing) == *wanted).into(),
            (Test::Equals(literal), value) => literal.equals(value),
            (Test::In(list), value) => list.holds(value),
            (Test::NotIn(list), value) => !list.holds(value),
            (Test::Lt(limit), _) => number(&|number| number < limit.as_decimal()),
            (Test::Lte(limit), _) => number(&|number| number <= limit.as_decimal()),
            (Test::Gt(limit), _) => number(&|number| number > limit.as_decimal()),
            (Test::Gte(limit), _) => number(&|number| number >= limit.as_decimal()),
            (Test::Prefix(prefix), _) => text(&|text| text.starts_with(prefix.as_str())),
            (Test::Suffix(suffix), _) => text(&|text| text.ends_with(suffix.as_str())),
            (Test::Contains(part), _) => text(&|text| text.contains(part.as_str())),
            (Test::Matches(pattern), _) => text(&|text| pattern.matches(text)),
            (Test::Glob(glob), _) => text(&|text| glob.matches(text)),
            (Test::Template(template), _) => text(&|text| template.matches(text)),
            (Test::Size(size), value) => size.holds(value),
            (Test::Includes(literal), Value::List(items)) => literal.occurs(items).into(),
            (Test::Includes(_), _) => Truth::Unknown,
        }
    }
}

fn known(holds: Option<bool>) -> Truth {
    holds.map_or(Truth::Unknown, Truth::from)
}

impl Literal {
    fn equals(&self, value: Value<'_>) -> Truth {
        known(match self {
            Literal::String(wanted) => value.text().map(|text| text == wanted),
            Literal::Number(wanted) => value.number().map(|number| number == wanted.as_decimal()),
            Literal::Bool(wanted) => value.bool().map(|value| value == *wanted),
        })
    }

    fn occurs(&self, items: &[Json]) -> bool {
        items.iter().any(|item| self.equals(Value::of(Some(item))) == Truth::True)
    }
}

impl List {
    fn holds(&self, value: Value<'_>) -> Truth {
        known(match self {
            List::Strings(list) => {
                value.text().map(|text| list.binary_search_by(|other| other.as_str().cmp(text)).is_ok())
            }
            List::Numbers(list) => {
                value.number().map(|number| list.binary_search_by(|other| other.as_decimal().cmp(&number)).is_ok())
            }
        })
    }
}

impl Size {
    fn holds(self, value: Value<'_>) -> Truth {
        let size = match value {
            Value::List(items) => items.len(),
            Value::Object(members) => members,
            value => match value.text() {
                Some(text) => text.chars().count(),
                None => return Truth::Unknown,
            },
        };
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        (size >= self.min && self.max.is_none_or(|max| size <= max)).into()
    }
}

impl Comparison {
    fn evaluate(&self, effect: Effect, request: &Request<'_>, signed: impl Fn(Truth) -> Truth) -> Truth {
        let pair = |left: Value<'_>, right: Value<'_>| signed(self.is.evaluate(left, right));
        match (Values::of(&self.left, request), Values::of(&self.right, request)) {
            (Values::One(Value::Elsewhere), _) | (_, Values::One(Value::Elsewhere)) => Truth::False,
            (Values::One(left), Values::One(right)) => pair(left, right),
            // Repeated values are compared pair by pair; more pairs than this are not looked at.
            (left, right) if left.each().count() * right.each().count() > MAX_PAIRS => Truth::Unknown,
            (left, right) => {
                let pairs = left.each().flat_map(|left| right.each().map(move |right| (left, right)));
                quantify(effect, pairs.map(|(left, right)| pair(left, right)))
            }
        }
    }
}

impl<'a> Values<'a> {
    /// Each value; a missing field is one missing value.
    fn each(&self) -> impl Iterator<Item = Value<'a>> {
        let (one, several) = match self {
            Values::One(value) => (Some(*value), None),
            Values::Several(several) if several.values().next().is_none() => (Some(Value::Missing), None),
            Values::Several(several) => (None, Some(*several)),
        };
        one.into_iter().chain(several.into_iter().flat_map(Several::values))
    }
}

impl Order {
    fn evaluate(self, left: Value<'_>, right: Value<'_>) -> Truth {
        let either = |wanted: fn(&Value<'_>) -> bool| wanted(&left) || wanted(&right);
        // What is still to come may turn out to be elsewhere, and then the comparison is false.
        if either(|value| matches!(value, Value::Pending)) {
            return Truth::Pending;
        }
        if either(|value| matches!(value, Value::Missing | Value::Unknown)) {
            return Truth::Unknown;
        }
        let numbers = || left.number().zip(right.number());
        // Two texts of the wire are compared as texts, unless an order is asked for.
        let equal = || {
            let texts = left.text().zip(right.text()).map(|(left, right)| left == right);
            let bools = || left.bool().zip(right.bool()).map(|(left, right)| left == right);
            texts.or_else(|| numbers().map(|(left, right)| left == right)).or_else(bools)
        };
        known(match self {
            Order::Eq => equal(),
            Order::Ne => equal().map(|equal| !equal),
            Order::Lt => numbers().map(|(left, right)| left < right),
            Order::Lte => numbers().map(|(left, right)| left <= right),
            Order::Gt => numbers().map(|(left, right)| left > right),
            Order::Gte => numbers().map(|(left, right)| left >= right),
        })
    }
}

impl By {
    /// The word of rule files.
    pub fn as_str(self) -> &'static str {
        match self {
            By::Agent => "agent",
            By::Rule => "rule",
        }
    }
}
