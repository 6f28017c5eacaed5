//! Rule files to compiled policy, with errors that name file, line and column.
//!
//! A file is read once into a tree with places, and that tree once into rules and tests; all independent
//! mistakes of all files are reported together. [`build`] then writes the canonical bytes of a bundle: the same files
//! give the same bytes.

pub mod cases;
mod check;
mod compile;
mod conditions;
mod diagnostic;
mod example;
mod file;
mod node;
mod reader;
mod rule;

pub use check::{Failure, TestReport, run_tests};
pub use compile::{Compilation, build, compile};
pub use diagnostic::{Diagnostic, Place, Span};
pub use example::{Example, ExampleAgent, Expectation, RuleExpectation};
