//! Compiled policy in, verdict out.
//!
//! The engine has no I/O, no clock, no randomness and no logging. [`Policy::load`] resolves all that a bundle holds;
//! [`Policy::evaluate_head`] and [`Policy::evaluate`] then allocate nothing.
//!
//! A missing, mistyped or unreadable attribute makes its atom *unknown* (Kleene's third value). At the root of a rule
//! unknown counts as true in `deny` and `hold` and as false in `allow`, so that leaving something out never helps.

pub mod conditions;
pub mod decimal;
mod glob;
mod index;
mod names;
pub mod pattern;
mod policy;
mod request;
mod template;
mod truth;
mod value;
pub mod window;

pub use conditions::{Atom, Attribute, Conditions, Expr, Test};
pub use glob::Glob;
pub use index::is_reached;
pub use names::Names;
pub use pattern::Pattern;
pub use policy::{
    Checkpoint, CompiledRule, Counter, Head, LoadError, MAX_NESTING, MAX_STEPS, Policy, RuleIndex, RuleProblem,
    Verdict, needs,
};
pub use request::{Body, Caller, Field, Mcp, Request, header_values};
pub use template::{Template, TemplateError};
pub use truth::Truth;
pub use window::Window;
