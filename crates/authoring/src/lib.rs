//! Rule files to compiled policy, with errors that name file, line and column.
//!
//! A file is read once into a tree with places, and that tree once into rules and tests; all independent
//! mistakes of all files are reported together. [`build`] then writes the canonical bytes of a bundle: the same files
//! give the same bytes.

mod accept;
pub mod cases;
mod cel;
mod check;
mod codes;
mod compile;
mod conditions;
pub mod coverage;
mod diagnostic;
mod diff;
mod example;
pub mod explain;
mod file;
pub mod format;
mod lint;
mod names;
mod node;
mod path;
mod proof;
mod prove;
mod reader;
mod regex;
mod rule;
mod schema;
mod shape;
mod solve;
mod tags;
mod zones;

pub use check::{Failure, TestReport, run_tests};
pub use codes::{Code, Severity};
pub use compile::{Compilation, build, compile, compile_bytes};
pub use diagnostic::{Diagnostic, Place, Quoted, Shown, Source, Span};
pub use diff::{Answered, Change, Diff, Kind, Outcome, diff};
pub use example::{Example, ExampleAgent, ExampleMessage, Expectation, Rates, RuleExpectation};
pub use file::{Approver, PolicyFile};
pub use lint::lint;
pub use node::MAX_BYTES;
pub use proof::{Claim, Proof};
pub use prove::{ProofResult, is_vacuous, prove, prove_with};
pub use rule::{EntryPlaces, RulePlaces};
pub use schema::{cases_schema, policy_schema};
pub use solve::{Answer, Budget, Count, NOON, Solver, Witness, WitnessAgent, WitnessMessage};
