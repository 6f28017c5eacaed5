//! Compiled policy in, verdict out.
//!
//! The engine has no I/O, no clock, no randomness and no logging. [`Policy::load`] resolves all that a bundle holds;
//! [`Policy::evaluate_head`] and [`Policy::evaluate`] then allocate nothing.
//!
//! A missing, mistyped or unreadable attribute makes its atom *unknown* (Kleene's third value). At the root of a rule
//! unknown counts as true in `deny` and `hold` and as false in `allow`, so that leaving something out never helps.

pub mod conditions;
pub mod decimal;
mod policy;
mod request;
mod template;
mod truth;

pub use conditions::{Atom, Conditions, Test};
pub use policy::{Checkpoint, CompiledRule, Head, LoadError, Policy, RuleIndex, RuleProblem, Verdict, needs};
pub use request::{Body, Caller, Request};
pub use template::{Template, TemplateError};
