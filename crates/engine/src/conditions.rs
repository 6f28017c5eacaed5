//! The compiled conditions of a rule: an OR of ANDs of typed atoms, and what `when` adds to each of them.

mod read;

use holdgate_protocol::{Pointer, bundle::Effect};
use serde::Serialize;

use crate::{Glob, Pattern, Request, Template, Truth, Window, decimal::Number};

/// When a rule applies: one entry at least in which every atom is true, and `when` is true as well.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Conditions {
    pub any: Vec<Vec<Atom>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<Expr>,
}

/// A condition in negation normal form: only atoms are negated.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Expr {
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Is(Atom),
    IsNot(Atom),
}

/// One typed condition. An atom that is not in this list is refused when a bundle is loaded.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Atom {
    Value(ValueTest),
    Compare(Comparison),
    Rate(Rate),
    Time(Window),
}

/// A test of one attribute.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ValueTest {
    pub of: Attribute,
    pub is: Test,
}

/// Two attributes compared with one another: both texts, both numbers or both booleans.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    pub left: Attribute,
    pub is: Order,
    pub right: Attribute,
}

/// How two values stand to one another. Texts and booleans are equal or not; numbers have an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    Eq,
    Ne,
    Lt,
    Lte,
    Gt,
    Gte,
}

/// More than `over` requests within a sliding window, this one included.
///
/// What is counted are the requests for which no other atom of the entry, and not `when`, is false.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rate {
    pub over: u64,
    /// The length of the window in seconds.
    pub per: u64,
    pub by: By,
    /// The place of its counter among [`crate::Policy::rates`]; given when the bundle is loaded.
    #[serde(skip)]
    pub slot: usize,
}

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Those of each agent for itself.
    Agent,
    /// All that the rule's entry counts.
    Rule,
}

/// What a test looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribute {
    Method,
    /// The host in lower case, without its port.
    Host,
    /// Without the query.
    Path,
    /// Whether the request has a verified agent; of it only `exists` can be asked.
    Agent,
    AgentId,
    AgentIssuer,
    AgentOwner,
    /// A value within the claims of the agent's token.
    Claim(Pointer),
    /// A value within the JSON body.
    Body(Pointer),
    /// The values of a query parameter.
    Query(String),
    /// The values of a header; its name is in lower case.
    Header(String),
    Tag(Tag),
    McpMethod,
    McpTool,
    /// A value within the arguments of an MCP tool call.
    McpArg(Pointer),
}

/// What is said about a request: a model's confidence, a risk score.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Tag {
    pub name: String,
    pub source: Source,
}

/// Where a tag comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Asserted: a header (its name in lower case), in which the agent may lie.
    Header(String),
    /// Verified: a claim of the agent's token.
    Claim(Pointer),
}

/// What is asked of a value. Only `exists` is known for a value that is missing, null or of another type.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    Equals(Literal),
    In(List),
    NotIn(List),
    Exists(bool),
    Lt(Number),
    Lte(Number),
    Gt(Number),
    Gte(Number),
    Prefix(String),
    Suffix(String),
    /// The value is a text in which this one occurs.
    Contains(String),
    /// The value is a text in which the pattern matches somewhere.
    Matches(Pattern),
    Glob(Glob),
    /// Of the path only.
    Template(Template),
    Size(Size),
    /// The value is a list in which this one occurs.
    Includes(Literal),
}

/// How many characters a text, items a list or members an object has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Size {
    pub min: u64,
    pub max: Option<u64>,
}

/// A value to compare with.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Literal {
    String(String),
    Number(Number),
    Bool(bool),
}

/// Values of one type to compare with: rising, none twice.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum List {
    Strings(Vec<String>),
    Numbers(Vec<Number>),
}

impl Conditions {
    /// What the conditions of a rule with this effect say about a request.
    ///
    /// Where there is no agent, an entry that allows must say so (`agent: {exists: false}`): a rule that was written
    /// with agents in mind does not open for everybody.
    pub fn truth(&self, effect: Effect, request: &Request<'_>) -> Truth {
        let mut any = Truth::False;
        for entry in &self.any {
            any = any.or(self.entry_truth(entry, effect, request));
            if any == Truth::True {
                break;
            }
        }
        any
    }

    /// What one entry says, `when` included.
    // Evaluated from several places, and large: once is enough of it in the filter.
    #[inline(never)]
    pub(crate) fn entry_truth(&self, entry: &[Atom], effect: Effect, request: &Request<'_>) -> Truth {
        if effect == Effect::Allow && request.agent.is_none() && !opens_for_everybody(entry) {
            return Truth::False;
        }
        let mut all = Truth::True;
        for atom in entry {
            all = all.and(atom.truth(effect, request));
            if all == Truth::False {
                return all;
            }
        }
        self.when.as_ref().map_or(all, |when| all.and(when.truth(effect, request)))
    }

    /// Whether `when` asks for an MCP message, or for a tool call, only where each entry does so too.
    ///
    /// What is asked of a message is false where there is none, negated or not. Without an entry that says so first, a
    /// negation in `when` would let requests by that its author meant.
    pub fn asks_for_mcp_in_entries(&self) -> bool {
        let Some(when) = &self.when else { return true };
        let asks = |atoms: &mut dyn Iterator<Item = &Atom>, wanted: fn(&Attribute) -> bool| {
            atoms.flat_map(Atom::attributes).any(wanted)
        };
        let every_entry = |wanted: fn(&Attribute) -> bool| self.any.iter().all(|entry| asks(&mut entry.iter(), wanted));
        let of_call = |of: &Attribute| matches!(of, Attribute::McpTool | Attribute::McpArg(_));
        let of_message =
            |of: &Attribute| matches!(of, Attribute::McpMethod | Attribute::McpTool | Attribute::McpArg(_));
        (!asks(&mut when.atoms(), of_call) || every_entry(of_call))
            && (!asks(&mut when.atoms(), of_message) || every_entry(of_message))
    }

    /// All atoms, entry by entry, then those of `when`.
    pub fn atoms(&self) -> impl Iterator<Item = &Atom> {
        let when = self.when.iter().flat_map(Expr::atoms);
        self.any.iter().flatten().chain(when)
    }

    /// The most atoms that one request makes the rule evaluate.
    pub fn steps(&self) -> usize {
        let when = self.when.iter().flat_map(Expr::atoms).count();
        self.any.iter().map(|entry| entry.len() + when).sum()
    }
}

/// Whether an entry of a rule that allows counts for requests without an agent too.
pub fn opens_for_everybody(entry: &[Atom]) -> bool {
    let none = |atom: &Atom| matches!(atom, Atom::Value(ValueTest { of: Attribute::Agent, is: Test::Exists(false) }));
    entry.iter().any(none)
}

impl Expr {
    /// All atoms, from left to right.
    pub fn atoms(&self) -> Box<dyn Iterator<Item = &Atom> + '_> {
        match self {
            Expr::All(parts) | Expr::Any(parts) => Box::new(parts.iter().flat_map(Expr::atoms)),
            Expr::Is(atom) | Expr::IsNot(atom) => Box::new(std::iter::once(atom)),
        }
    }

    /// How many levels lie below this one, counting no further than `limit`.
    pub(crate) fn depth(&self, limit: usize) -> usize {
        match self {
            Expr::All(parts) | Expr::Any(parts) if limit > 0 => {
                1 + parts.iter().map(|part| part.depth(limit - 1)).max().unwrap_or(0)
            }
            _ => 0,
        }
    }

    pub(crate) fn has_empty_list(&self) -> bool {
        match self {
            Expr::All(parts) | Expr::Any(parts) => parts.is_empty() || parts.iter().any(Expr::has_empty_list),
            Expr::Is(_) | Expr::IsNot(_) => false,
        }
    }
}

impl Atom {
    /// The place of the counter that it looks at.
    pub(crate) fn counter(&self) -> Option<usize> {
        if let Atom::Rate(rate) = self { Some(rate.slot) } else { None }
    }

    /// The attributes that the atom looks at.
    pub fn attributes(&self) -> impl Iterator<Item = &Attribute> {
        let (first, second) = match self {
            Atom::Value(test) => (Some(&test.of), None),
            Atom::Compare(comparison) => (Some(&comparison.left), Some(&comparison.right)),
            Atom::Rate(_) | Atom::Time(_) => (None, None),
        };
        first.into_iter().chain(second)
    }
}

impl Attribute {
    /// Whether the agent can choose the value at will and nothing follows from it: a tag in a header.
    pub fn is_asserted(&self) -> bool {
        matches!(self, Attribute::Tag(Tag { source: Source::Header(_), .. }))
    }
}

impl Test {
    /// The texts that the test compares with.
    pub(crate) fn texts(&self) -> &[String] {
        match self {
            Test::Equals(Literal::String(text)) | Test::Prefix(text) | Test::Suffix(text) | Test::Contains(text) => {
                std::slice::from_ref(text)
            }
            Test::In(List::Strings(list)) | Test::NotIn(List::Strings(list)) => list,
            _ => &[],
        }
    }
}

impl List {
    /// A list of these texts: sorted, each once.
    pub fn strings(texts: impl IntoIterator<Item = String>) -> List {
        let mut list: Vec<String> = texts.into_iter().collect();
        list.sort();
        list.dedup();
        List::Strings(list)
    }

    /// A list of these numbers: sorted by value, each value once.
    pub fn numbers(numbers: impl IntoIterator<Item = Number>) -> List {
        let mut list: Vec<Number> = numbers.into_iter().collect();
        list.sort_by(|a, b| a.as_decimal().cmp(&b.as_decimal()).then_with(|| a.as_str().cmp(b.as_str())));
        list.dedup_by(|a, b| a.as_decimal() == b.as_decimal());
        List::Numbers(list)
    }

    /// Whether the list has an item, and its items rise.
    pub(crate) fn is_sound(&self) -> bool {
        match self {
            List::Strings(list) => !list.is_empty() && list.is_sorted_by(|a, b| a < b),
            List::Numbers(list) => !list.is_empty() && list.is_sorted_by(|a, b| a.as_decimal() < b.as_decimal()),
        }
    }
}
