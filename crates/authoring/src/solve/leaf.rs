//! Leaves of questions: one condition, and what it may say.

use std::rc::Rc;

use holdgate_engine::{
    Atom, Attribute, Body, Field, Request, Test, Truth,
    conditions::{Literal, Source, Tag, ValueTest},
};
use holdgate_protocol::{Json, Pointer, bundle::Effect};

/// A set of truths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Truths(u8);

impl Truths {
    pub(crate) const FALSE: Truths = Truths(1);
    pub(crate) const UNKNOWN: Truths = Truths(2);
    pub(crate) const TRUE: Truths = Truths(4);

    /// What the conditions of a rule with this effect must say for the rule to match.
    pub(crate) fn matching(effect: Effect) -> Truths {
        match effect {
            Effect::Allow => Truths::TRUE,
            Effect::Deny | Effect::Hold => Truths(Truths::TRUE.0 | Truths::UNKNOWN.0),
        }
    }

    pub(crate) fn others(self) -> Truths {
        Truths(7 & !self.0)
    }

    /// Without "unknown", if something is left.
    pub(crate) fn known(self) -> Truths {
        let known = Truths(self.0 & !Truths::UNKNOWN.0);
        if known.0 == 0 { self } else { known }
    }

    pub(crate) fn has(self, truth: Truth) -> bool {
        let bit = match truth {
            Truth::False => Truths::FALSE,
            Truth::Unknown | Truth::Pending => Truths::UNKNOWN,
            Truth::True => Truths::TRUE,
        };
        self.0 & bit.0 != 0
    }
}

/// What is asked together because the answers depend on one another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Group {
    Method,
    Host,
    Path,
    /// The agent with its id, issuer, owner and claims.
    Agent,
    Query(String),
    Header(String),
    /// The body, and the MCP message that it may be.
    Content,
    Counter(usize),
    Time,
    /// Comparisons of two attributes: nothing is known of them.
    Compared,
}

/// One condition and what it may say of a request.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub(crate) atom: Rc<Atom>,
    pub(crate) negated: bool,
    /// Whose way of looking at several values counts.
    pub(crate) effect: Effect,
    pub(crate) allowed: Truths,
    pub(crate) group: Group,
    /// The atom again, but about a value that stands alone.
    alone: Rc<Atom>,
}

impl Leaf {
    /// `counter` is the place of the counter that an atom about a rate looks at.
    pub(crate) fn new(atom: &Atom, negated: bool, effect: Effect, allowed: Truths, counter: usize) -> Leaf {
        let (group, of) = match atom {
            Atom::Value(test) => (group_of(&test.of), alone(&test.of)),
            Atom::Compare(_) => (Group::Compared, Attribute::Method),
            Atom::Rate(_) => (Group::Counter(counter), Attribute::Method),
            Atom::Time(_) => (Group::Time, Attribute::Method),
        };
        let atom = Rc::new(atom.clone());
        let alone = match &*atom {
            Atom::Value(test) => Rc::new(Atom::Value(ValueTest { of, is: test.is.clone() })),
            _ => atom.clone(),
        };
        Leaf { atom, negated, effect, allowed, group, alone }
    }

    /// A condition of a part of the body that is not in any rule.
    pub(crate) fn of_body(pointer: Pointer, test: Test, allowed: Truths) -> Leaf {
        let atom = Atom::Value(ValueTest { of: Attribute::Body(pointer), is: test });
        Leaf::new(&atom, false, Effect::Deny, allowed, 0)
    }

    pub(crate) fn equals(text: &str) -> Test {
        Test::Equals(Literal::String(text.to_owned()))
    }

    pub(crate) fn attribute(&self) -> Option<&Attribute> {
        if let Atom::Value(test) = &*self.atom { Some(&test.of) } else { None }
    }

    pub(crate) fn test(&self) -> Option<&Test> {
        if let Atom::Value(test) = &*self.atom { Some(&test.is) } else { None }
    }

    /// The same leaf, but with "unknown" only where nothing else will do.
    pub(crate) fn known(&self) -> Leaf {
        Leaf { allowed: self.allowed.known(), ..self.clone() }
    }

    /// Whether the leaf is as wanted of a request. Rates are not asked here.
    pub(crate) fn holds(&self, request: &Request<'_>) -> bool {
        self.allowed.has(self.atom.literal(self.effect, request, self.negated))
    }

    /// Whether what the condition says of a request is known, or could not be. Of rates it is.
    pub(crate) fn is_known_of(&self, request: &Request<'_>) -> bool {
        let rate = matches!(&*self.atom, Atom::Rate(_));
        rate || self.allowed.known() == self.allowed || self.known().holds(request)
    }

    /// Of a JSON value, or of none.
    pub(crate) fn of_json(&self, value: Option<&Json>) -> bool {
        let body = value.map_or(Body::Empty, Body::Json);
        self.alone_in(&Request { body, ..Request::new("", "", "") })
    }

    /// Of a text, whether it is one of JSON, of the head, or of the wire.
    pub(crate) fn of_text(&self, text: &str) -> bool {
        let field = [Field { name: "", value: Some(text) }];
        let body = Json::from(text);
        self.alone_in(&Request { headers: &field, body: Body::Json(&body), ..Request::new(text, "", "") })
    }

    /// Of an attribute that is missing.
    pub(crate) fn of_nothing(&self) -> bool {
        self.alone_in(&Request::new("", "", ""))
    }

    fn alone_in(&self, request: &Request<'_>) -> bool {
        self.allowed.has(self.alone.literal(self.effect, request, self.negated))
    }

    /// What the condition says where there is no message or call that it could be about.
    pub(crate) fn elsewhere(&self) -> bool {
        self.allowed.has(Truth::False)
    }

    /// Whether one of several values is enough to have the leaf as wanted; otherwise all must be.
    pub(crate) fn any_value(&self) -> bool {
        // An OR is high where one value is, an AND is low where one is; `exists` asks for all values together.
        let high = self.allowed.has(Truth::True);
        let exists = matches!(self.test(), Some(Test::Exists(_)));
        !exists && high == (self.effect != Effect::Allow)
    }

    /// What the test must say of a value of its type.
    pub(crate) fn wants(&self) -> Wants {
        let wanted = |truth: bool| self.allowed.has(Truth::from(truth != self.negated));
        match (wanted(true), wanted(false)) {
            (true, true) => Wants::Anything,
            (false, false) => Wants::Nothing,
            (truth, _) => Wants::Truth(truth),
        }
    }
}

/// What a test must say of a value of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    Anything,
    Truth(bool),
    /// No such value will do.
    Nothing,
}

fn group_of(attribute: &Attribute) -> Group {
    match attribute {
        Attribute::Method => Group::Method,
        Attribute::Host => Group::Host,
        Attribute::Path => Group::Path,
        Attribute::Agent
        | Attribute::AgentId
        | Attribute::AgentIssuer
        | Attribute::AgentOwner
        | Attribute::Claim(_)
        | Attribute::Tag(Tag { source: Source::Claim(_), .. }) => Group::Agent,
        Attribute::Query(name) => Group::Query(name.clone()),
        Attribute::Header(name) | Attribute::Tag(Tag { source: Source::Header(name), .. }) => {
            Group::Header(name.clone())
        }
        Attribute::Body(_) | Attribute::McpMethod | Attribute::McpTool | Attribute::McpArg(_) => Group::Content,
    }
}

/// The attribute under which a value is tested alone.
fn alone(attribute: &Attribute) -> Attribute {
    match group_of(attribute) {
        Group::Method | Group::Host | Group::Path => Attribute::Method,
        Group::Query(_) | Group::Header(_) => Attribute::Header(String::new()),
        _ => Attribute::Body(Pointer::root()),
    }
}
