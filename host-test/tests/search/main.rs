//! Search for trouble: the corpus of cases is played in ways that its authors did not write down, and what must always
//! hold is looked at.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod corpus;
mod ends;
mod faults;
mod forms;
mod gateway;
mod profiles;
mod soak;
mod whole;
