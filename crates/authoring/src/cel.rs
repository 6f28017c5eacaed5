//! `when`: a typed subset of CEL, lowered to the atoms that `match` has.
//!
//! The whole grammar is parsed, attributes are resolved and types checked against the schema of requests, and what
//! remains is an [`Expr`] in which negation stands on atoms only. Nothing of CEL is left for the filter to interpret.

use std::ops::Range;

use holdgate_engine::{Atom, Expr, MAX_NESTING, Pattern, conditions::Tag};

mod lexer;
mod lower;
mod parser;
mod schema;
#[cfg(test)]
mod tests;

/// The longest expression, in bytes.
const MAX_BYTES: usize = 8 * 1024;

/// The most atoms of one expression: each of them is a step of every evaluation.
const MAX_ATOMS: usize = 256;

/// A mistake in an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CelError {
    /// Where it is, in characters.
    pub(crate) range: Range<usize>,
    pub(crate) kind: CelErrorKind,
    pub(crate) message: String,
    /// What to do, where the message does not say it already.
    pub(crate) help: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CelErrorKind {
    /// Not CEL.
    Syntax,
    UnknownAttribute,
    WrongType,
    /// CEL that `when` leaves out, or a condition that says nothing about a request.
    Unsupported,
    Regex,
    TooLarge,
}

/// What gives the tag of a name.
type Tags<'a> = &'a dyn Fn(&str) -> Tag;

/// What makes a pattern of a regular expression, or says what is wrong with it.
type Regex<'a> = &'a dyn Fn(&str) -> Result<Pattern, String>;

/// Reads an expression: parses it, checks its types and lowers it. Mistakes of type are reported
/// together, a wrong spelling alone.
pub(crate) fn read(text: &str, tags: Tags<'_>, regex: Regex<'_>) -> Result<Expr, Vec<CelError>> {
    let whole = 0..text.chars().count();
    let too_large = |message: String| {
        vec![CelError::new(CelErrorKind::TooLarge, whole.clone(), message).with_help("split the rule into several")]
    };
    if text.len() > MAX_BYTES {
        return Err(too_large(format!("the expression is longer than {MAX_BYTES} bytes")));
    }
    let tree = parser::parse(text).map_err(|error| vec![error])?;
    let expr = lower::lower(&tree, text, tags, regex)?;
    let (atoms, depth) = measure(&expr);
    if atoms > MAX_ATOMS {
        return Err(too_large(format!("the expression has {atoms} atoms, of {MAX_ATOMS} at most")));
    }
    if depth > MAX_NESTING {
        return Err(too_large(format!("`&&` and `||` alternate {depth} times, of {MAX_NESTING} at most")));
    }
    Ok(expr)
}

/// Splits an expression into the atoms that hold whenever it does, which can stand in every entry of `match`, and what
/// is left.
pub(crate) fn split(expr: Expr) -> (Vec<Atom>, Option<Expr>) {
    let conjuncts = match expr {
        Expr::All(conjuncts) => conjuncts,
        other => vec![other],
    };
    let (mut atoms, mut rest) = (Vec::new(), Vec::new());
    for conjunct in conjuncts {
        match conjunct {
            Expr::Is(atom) => atoms.push(atom),
            other => rest.push(other),
        }
    }
    let rest = match rest.len() {
        0 | 1 => rest.pop(),
        _ => Some(Expr::All(rest)),
    };
    (atoms, rest)
}

/// How many atoms there are, and how many levels above them.
fn measure(expr: &Expr) -> (usize, usize) {
    match expr {
        Expr::All(parts) | Expr::Any(parts) => {
            let add =
                |(atoms, depth): (usize, usize), (more, deep): (usize, usize)| (atoms + more, depth.max(1 + deep));
            parts.iter().map(measure).fold((0, 0), add)
        }
        Expr::Is(_) | Expr::IsNot(_) => (1, 0),
    }
}

impl CelError {
    fn new(kind: CelErrorKind, range: Range<usize>, message: impl Into<String>) -> Self {
        CelError { range, kind, message: message.into(), help: None }
    }

    fn with_help(self, help: impl Into<String>) -> Self {
        CelError { help: Some(help.into()), ..self }
    }
}
