//! What may happen to a hold. Pure: no clock, no database, no HTTP; a transition takes a state and an event and gives
//! a state or an error.

pub mod decision;
pub mod hold;
pub mod quota;
pub mod redemption;
pub mod retention;
mod unfit;

#[cfg(test)]
mod tests;

pub use decision::{Accountability, Approval, Ballot, Refusal, Reviewer, Ruling, Verdict};
pub use hold::{Approved, Cause, Change, DecidedBy, Hold, Pending, Stage, Terms, Used};
pub use quota::Quotas;
pub use redemption::{Claim, Redeemed};
pub use retention::Retention;
pub use unfit::Unfit;
