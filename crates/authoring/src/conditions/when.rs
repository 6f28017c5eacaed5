//! `when`: an expression in the subset of CEL.

use std::cell::RefCell;

use holdgate_engine::{Atom, Attribute, Expr, MAX_NESTING, conditions::Tag};

use crate::{
    cel::{self, CelErrorKind},
    codes::Code,
    diagnostic::Quoted,
    node::Node,
    reader::Reader,
    regex::RegexError,
    tags::{self, Tags},
};

/// Reads an expression: the atoms that hold whenever it does, and what is left of it.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node, tags: &mut Tags) -> Option<(Vec<Atom>, Option<Expr>)> {
    let text = reader.text(node, "`when`")?;
    let patterns = RefCell::new(&mut *reader);
    let tag = |name: &str| Tag { name: name.to_owned(), source: tags.declared(name) };
    let regex = |source: &str| {
        let compiled = patterns.borrow_mut().compile(source);
        compiled.map_err(|RegexError { message, help, .. }| match help {
            Some(help) => format!("{message}; {help}"),
            None => message,
        })
    };
    let expr = match cel::read(&text, &tag, &regex) {
        Ok(expr) => expr,
        Err(errors) => {
            for error in errors {
                let code = match error.kind {
                    CelErrorKind::Syntax => Code::NotCel,
                    CelErrorKind::UnknownAttribute => Code::UnknownAttribute,
                    CelErrorKind::WrongType => Code::WhenType,
                    CelErrorKind::Unsupported => Code::UnsupportedCel,
                    CelErrorKind::Regex => Code::BadRegex,
                    CelErrorKind::TooLarge => Code::TooLarge,
                };
                let span = reader.within(node, &text, error.range);
                reader.report(span, code, error.message, error.help);
            }
            return None;
        }
    };
    let mut sound = Some(());
    for attribute in expr.atoms().flat_map(Atom::attributes) {
        match attribute {
            Attribute::Tag(tag) => {
                sound = tags.source(reader, &tag.name, node.span).map(|_| ()).and(sound);
            }
            Attribute::Header(name) => {
                sound = tags::read_header(reader, name, node.span).map(|_| ()).and(sound);
            }
            _ => {}
        }
    }
    if depth(&expr) > MAX_NESTING {
        let help = "divide the rule into several";
        let message = format!("{} is nested deeper than {MAX_NESTING} levels", Quoted(&text));
        return reader.error_with_help(node.span, Code::TooLarge, message, help);
    }
    sound.map(|()| cel::split(expr))
}

/// How many levels lie below this one.
fn depth(expr: &Expr) -> usize {
    match expr {
        Expr::All(parts) | Expr::Any(parts) => 1 + parts.iter().map(depth).max().unwrap_or(0),
        Expr::Is(_) | Expr::IsNot(_) => 0,
    }
}
