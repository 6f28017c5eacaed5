//! What may happen to a hold. Pure: no clock, no database, no HTTP; a transition takes a state and an event and gives
//! a state or an error.

mod assignment;
pub mod authority;
pub mod decision;
pub mod eligibility;
pub mod hold;
pub mod quota;
pub mod redemption;
pub mod retention;
mod unfit;

#[cfg(test)]
mod tests;

pub use assignment::Filled;
pub use authority::{AuthorityChange, Grant};
pub use decision::{Accountability, Approval, Ballot, Case, Refusal, Reviewer, Ruling, Verdict, Withdrawn};
pub use eligibility::{Eligibility, Lasting, NotAPattern, RulePattern, Scope};
pub use hold::{Approved, Cause, Change, DecidedBy, Hold, Pending, Stage, Terms, Used};
pub use quota::Quotas;
pub use redemption::{Claim, Grounds, Redeemed, Sound};
pub use retention::Retention;
pub use unfit::Unfit;
