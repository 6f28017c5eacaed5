//! Tokens to a tree: the whole grammar of CEL, so that what `when` leaves out is named and not just misread.

use std::ops::Range;

use holdgate_engine::{
    conditions::{Literal, Order},
    decimal::Number,
};

use super::{
    CelError, CelErrorKind,
    lexer::{Token, TokenKind, tokens},
};

/// How deep an expression may nest. Parsing, checking and dropping recurse once a level.
const MAX_DEPTH: usize = 64;

/// A part of an expression and where it stands, in characters.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) range: Range<usize>,
    pub(super) term: Term,
    /// Of the tree below. A chain such as `a.b.c` is high and has no nesting in the text.
    height: usize,
}

#[derive(Debug)]
pub(super) enum Term {
    Name(String),
    Member(Box<Node>, String),
    Index(Box<Node>, Box<Node>),
    Call(Call),
    Literal(Literal),
    Null,
    List(Vec<Node>),
    Not(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
    Compare(Box<Node>, Order, Box<Node>),
    In(Box<Node>, Box<Node>),
    Beyond(Beyond),
}

/// A function, or one that is called on a value as `x.size()`.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) of: Option<Box<Node>>,
    pub(super) function: String,
    pub(super) arguments: Vec<Node>,
}

/// CEL that `when` leaves out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Beyond {
    Arithmetic,
    Conditional,
    Map,
    Message,
    Bytes,
    AbsoluteName,
}

/// Reads one expression. The first mistake ends it, for what follows would be a guess.
pub(super) fn parse(text: &str) -> Parsed<Node> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    let node = parser.expression()?;
    if parser.kind() == &TokenKind::End { Ok(node) } else { Err(parser.unexpected("an operator")) }
}

type Parsed<T> = Result<T, CelError>;

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn kind(&self) -> &TokenKind {
        self.kind_at(self.at)
    }

    fn kind_at(&self, at: usize) -> &TokenKind {
        self.tokens.get(at).map_or(&TokenKind::End, |token| &token.kind)
    }

    /// Where the next token stands; behind the last one, where the text ends.
    fn range(&self) -> Range<usize> {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(0..0, |token| token.range.clone())
    }

    /// From the start of something to the end of the token before the next one.
    fn since(&self, start: usize) -> Range<usize> {
        let last = self.at.checked_sub(1).and_then(|index| self.tokens.get(index));
        start..last.map_or(start, |token| token.range.end)
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.kind(), TokenKind::Symbol(other) if *other == symbol)
    }

    fn skip(&mut self, symbol: &str) -> bool {
        let found = self.is(symbol);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &str) -> Parsed<()> {
        if self.skip(symbol) { Ok(()) } else { Err(self.unexpected(&format!("`{symbol}`"))) }
    }

    fn expression(&mut self) -> Parsed<Node> {
        self.nested(Self::conditional)
    }

    fn conditional(&mut self) -> Parsed<Node> {
        let condition = self.junction("||", Term::Any, |parser| parser.junction("&&", Term::All, Self::relation))?;
        if !self.skip("?") {
            return Ok(condition);
        }
        self.expression()?;
        self.expect(":")?;
        self.expression()?;
        self.node(condition.range.start, Term::Beyond(Beyond::Conditional))
    }

    /// Reads a part one level deeper.
    fn nested(&mut self, part: impl FnOnce(&mut Self) -> Parsed<Node>) -> Parsed<Node> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.too_deep(self.range()));
        }
        let node = part(self)?;
        self.depth -= 1;
        Ok(node)
    }

    /// Operands with one associative operator between them: a flat list, however long the chain is.
    fn junction(
        &mut self,
        symbol: &str,
        term: fn(Vec<Node>) -> Term,
        operand: impl Fn(&mut Self) -> Parsed<Node>,
    ) -> Parsed<Node> {
        let first = operand(self)?;
        if !self.is(symbol) {
            return Ok(first);
        }
        let start = first.range.start;
        let mut operands = vec![first];
        while self.skip(symbol) {
            operands.push(operand(self)?);
        }
        self.node(start, term(operands))
    }

    fn relation(&mut self) -> Parsed<Node> {
        let mut left = self.arithmetic()?;
        loop {
            let order = match self.kind() {
                TokenKind::Symbol("==") => Some(Order::Eq),
                TokenKind::Symbol("!=") => Some(Order::Ne),
                TokenKind::Symbol("<") => Some(Order::Lt),
                TokenKind::Symbol("<=") => Some(Order::Lte),
                TokenKind::Symbol(">") => Some(Order::Gt),
                TokenKind::Symbol(">=") => Some(Order::Gte),
                TokenKind::Name(word) if word == "in" => None,
                _ => return Ok(left),
            };
            if order.is_some_and(is_less_or_more)
                && matches!(left.term, Term::Compare(_, before, _) if is_less_or_more(before))
            {
                let message = "a comparison cannot be compared again";
                let error = CelError::new(CelErrorKind::WrongType, self.range(), message);
                return Err(error.with_help("write `1 < x && x < 5` for `1 < x < 5`"));
            }
            self.at += 1;
            let start = left.range.start;
            let (former, right) = (Box::new(left), Box::new(self.arithmetic()?));
            let term = match order {
                Some(order) => Term::Compare(former, order, right),
                None => Term::In(former, right),
            };
            left = self.node(start, term)?;
        }
    }

    /// What an operator of arithmetic joins is outside the subset, whichever of them binds closer.
    fn arithmetic(&mut self) -> Parsed<Node> {
        let mut node = self.unary()?;
        let start = node.range.start;
        while ["+", "-", "*", "/", "%"].iter().any(|symbol| self.skip(symbol)) {
            self.unary()?;
            node = self.node(start, Term::Beyond(Beyond::Arithmetic))?;
        }
        Ok(node)
    }

    fn unary(&mut self) -> Parsed<Node> {
        let start = self.range().start;
        if self.skip("!") {
            let operand = self.nested(Self::unary)?;
            return self.node(start, Term::Not(Box::new(operand)));
        }
        if !self.skip("-") {
            return self.member();
        }
        let negative = match self.kind() {
            TokenKind::Whole(value) => Some(format!("-{value}")),
            TokenKind::Real(spelling) => Some(format!("-{spelling}")),
            _ => None,
        };
        let Some(spelling) = negative else {
            self.nested(Self::unary)?;
            return self.node(start, Term::Beyond(Beyond::Arithmetic));
        };
        self.at += 1;
        self.number(start, spelling)
    }

    fn member(&mut self) -> Parsed<Node> {
        let mut node = self.primary()?;
        let start = node.range.start;
        loop {
            let term = if self.skip(".") {
                let name = self.selector()?;
                if self.skip("(") {
                    Term::Call(Call { of: Some(Box::new(node)), function: name, arguments: self.items(")")? })
                } else {
                    Term::Member(Box::new(node), name)
                }
            } else if self.skip("[") {
                let index = self.expression()?;
                self.expect("]")?;
                Term::Index(Box::new(node), Box::new(index))
            } else if self.is("{") && matches!(node.term, Term::Name(_) | Term::Member(..)) {
                self.entries()?;
                Term::Beyond(Beyond::Message)
            } else {
                return Ok(node);
            };
            node = self.node(start, term)?;
        }
    }

    /// The name behind a `.`.
    fn selector(&mut self) -> Parsed<String> {
        let name = match self.kind() {
            TokenKind::Name(word) if WORDS.contains(&word.as_str()) => {
                let message = format!("`{word}` is a word of CEL");
                let error = CelError::new(CelErrorKind::Syntax, self.range(), message);
                return Err(error.with_help(format!("write `[\"{word}\"]` for a member of that name")));
            }
            TokenKind::Name(name) | TokenKind::Quoted(name) => name.clone(),
            _ => return Err(self.unexpected("a name")),
        };
        self.at += 1;
        Ok(name)
    }

    fn primary(&mut self) -> Parsed<Node> {
        let Range { start, .. } = self.range();
        let kind = self.kind().clone();
        self.at += 1;
        let term = match kind {
            TokenKind::Name(word) => match word.as_str() {
                "true" => Term::Literal(Literal::Bool(true)),
                "false" => Term::Literal(Literal::Bool(false)),
                "null" => Term::Null,
                "in" => return Err(self.back().unexpected("a value")),
                // Before another name it is no attribute but the operator of other languages.
                "not" | "NOT" if matches!(self.kind(), TokenKind::Name(_)) => {
                    return Err(self.back().unexpected("a value"));
                }
                _ if self.skip("(") => Term::Call(Call { of: None, function: word, arguments: self.items(")")? }),
                reserved if RESERVED.contains(&reserved) => {
                    let message = format!("`{reserved}` is reserved in CEL and names nothing");
                    return Err(CelError::new(CelErrorKind::Syntax, self.since(start), message));
                }
                _ => Term::Name(word),
            },
            TokenKind::Text(text) => Term::Literal(Literal::String(text)),
            TokenKind::Bytes => Term::Beyond(Beyond::Bytes),
            TokenKind::Whole(value) => return self.number(start, value.to_string()),
            TokenKind::Unsigned(value) => return self.decimal(start, value.to_string()),
            TokenKind::Real(spelling) => return self.decimal(start, spelling),
            TokenKind::Symbol("(") => {
                let inner = self.expression()?;
                self.expect(")")?;
                return Ok(Node { range: self.since(start), ..inner });
            }
            TokenKind::Symbol("[") => Term::List(self.items("]")?),
            TokenKind::Symbol("{") => {
                self.back().entries()?;
                Term::Beyond(Beyond::Map)
            }
            TokenKind::Symbol(".") => {
                self.selector()?;
                Term::Beyond(Beyond::AbsoluteName)
            }
            TokenKind::Symbol(_) | TokenKind::Quoted(_) | TokenKind::End => {
                return Err(self.back().unexpected("a value"));
            }
        };
        self.node(start, term)
    }

    fn back(&mut self) -> &mut Self {
        self.at -= 1;
        self
    }

    /// Expressions with commas between them, up to `close`; a list may have a comma behind its last item.
    fn items(&mut self, close: &str) -> Parsed<Vec<Node>> {
        let mut items = Vec::new();
        while !self.skip(close) {
            items.push(self.expression()?);
            if !self.skip(",") {
                self.expect(close)?;
                break;
            }
            if close == ")" && self.is(close) {
                return Err(self.unexpected("a value"));
            }
        }
        Ok(items)
    }

    /// `{key: value, ...}`, of which nothing is kept.
    fn entries(&mut self) -> Parsed<()> {
        self.expect("{")?;
        while !self.skip("}") {
            self.expression()?;
            self.expect(":")?;
            self.expression()?;
            if !self.skip(",") {
                return self.expect("}");
            }
        }
        Ok(())
    }

    /// An integer, which CEL holds in 64 bits with a sign.
    fn number(&mut self, start: usize, spelling: String) -> Parsed<Node> {
        let whole = spelling.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
        if whole && spelling.parse::<i64>().is_err() {
            let error = CelError::new(CelErrorKind::Syntax, self.since(start), "an integer of CEL has at most 64 bits");
            return Err(error.with_help(format!("write `{spelling}.0`")));
        }
        self.decimal(start, spelling)
    }

    fn decimal(&mut self, start: usize, spelling: String) -> Parsed<Node> {
        let Ok(number) = Number::try_from(spelling) else {
            let message = "the exponent is too large for a number to be compared with";
            return Err(CelError::new(CelErrorKind::Syntax, self.since(start), message));
        };
        self.node(start, Term::Literal(Literal::Number(number)))
    }

    fn node(&self, start: usize, term: Term) -> Parsed<Node> {
        let range = self.since(start);
        let height = 1 + term.height();
        if height > MAX_DEPTH { Err(self.too_deep(range)) } else { Ok(Node { range, term, height }) }
    }

    fn too_deep(&self, range: Range<usize>) -> CelError {
        let message = format!("nested deeper than {MAX_DEPTH} levels");
        CelError::new(CelErrorKind::TooLarge, range, message).with_help("split the rule into several")
    }

    fn unexpected(&self, wanted: &str) -> CelError {
        let (found, help) = match self.kind() {
            TokenKind::End => ("the end".to_owned(), None),
            TokenKind::Symbol(symbol) => {
                let unequal = *symbol == ">"
                    && self.at.checked_sub(1).map(|at| self.kind_at(at)) == Some(&TokenKind::Symbol("<"));
                (format!("`{symbol}`"), unequal.then(|| "write `!=` for `<>`".to_owned()))
            }
            TokenKind::Name(word) if word.eq_ignore_ascii_case("not") => {
                let is_in =
                    matches!(self.kind_at(self.at + 1), TokenKind::Name(next) if next.eq_ignore_ascii_case("in"));
                let help = if is_in {
                    "write `!(x in [...])` for `x not in [...]`"
                } else {
                    "write `!`, and the whole expression in quotes: `when: \"!body.x\"`"
                };
                (format!("`{word}`"), Some(help.to_owned()))
            }
            TokenKind::Name(word) => {
                let words = [("and", "&&"), ("or", "||"), ("AND", "&&"), ("OR", "||")];
                let operator = words.iter().find(|(other, _)| other == word);
                (format!("`{word}`"), operator.map(|(_, symbol)| format!("write `{symbol}`")))
            }
            TokenKind::Quoted(name) => (format!("`{name}`"), None),
            TokenKind::Text(_) | TokenKind::Bytes => ("a text".to_owned(), None),
            TokenKind::Whole(_) | TokenKind::Unsigned(_) | TokenKind::Real(_) => ("a number".to_owned(), None),
        };
        let error = CelError::new(CelErrorKind::Syntax, self.range(), format!("expected {wanted}, found {found}"));
        CelError { help, ..error }
    }
}

fn is_less_or_more(order: Order) -> bool {
    matches!(order, Order::Lt | Order::Lte | Order::Gt | Order::Gte)
}

/// What neither a variable nor a member can be called.
const WORDS: [&str; 4] = ["false", "in", "null", "true"];

/// What no variable can be called.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "namespace",
    "package",
    "return",
    "var",
    "void",
    "while",
];

impl Term {
    /// The height of the highest part.
    fn height(&self) -> usize {
        let most = |nodes: &[Node]| nodes.iter().map(|node| node.height).max().unwrap_or_default();
        match self {
            Term::Name(_) | Term::Literal(_) | Term::Null | Term::Beyond(_) => 0,
            Term::Member(of, _) | Term::Not(of) => of.height,
            Term::Index(a, b) | Term::Compare(a, _, b) | Term::In(a, b) => a.height.max(b.height),
            Term::List(items) | Term::All(items) | Term::Any(items) => most(items),
            Term::Call(Call { of, arguments, .. }) => of.as_ref().map_or(0, |of| of.height).max(most(arguments)),
        }
    }
}

impl Beyond {
    /// What it is called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Beyond::Arithmetic => "arithmetic",
            Beyond::Conditional => "`? :`",
            Beyond::Map => "a map",
            Beyond::Message => "a message",
            Beyond::Bytes => "a text of bytes",
            Beyond::AbsoluteName => "a name with a `.` before it",
        }
    }

    /// What to write in its place.
    pub(super) fn help(self) -> &'static str {
        match self {
            Beyond::Arithmetic => {
                "work the value out and write it down; a name with `-` in it stands in brackets, as in `http.headers[\"x-id\"]`"
            }
            Beyond::Conditional => "write `(a && b) || (!a && c)` for `a ? b : c`",
            Beyond::Map | Beyond::Message => "compare the members one by one, joined by `&&`",
            Beyond::Bytes => "write it as a text, without the `b`",
            Beyond::AbsoluteName => "leave out the `.`",
        }
    }
}
