//! How much work a question may cost.

use std::cell::Cell;

/// The most work that one question may cost, in steps: a step is about the evaluation of one condition.
///
/// A question that would cost more is answered with "unknown", never with a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pub steps: u64,
}

impl Default for Budget {
    /// About a second of work.
    fn default() -> Self {
        Budget { steps: 10_000_000 }
    }
}

/// What is left of a budget.
#[derive(Debug)]
pub(crate) struct Meter {
    limit: u64,
    spent: Cell<u64>,
}

/// The budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Meter {
    pub(crate) fn new(budget: Budget) -> Meter {
        Meter { limit: budget.steps, spent: Cell::new(0) }
    }

    pub(crate) fn spend(&self, steps: u64) -> Result<(), Exhausted> {
        self.spent.set(self.spent.get().saturating_add(steps));
        if self.spent.get() > self.limit { Err(Exhausted) } else { Ok(()) }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn spent(&self) -> u64 {
        self.spent.get()
    }

    pub(crate) fn start_again(&self) {
        self.spent.set(0);
    }
}
