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
    /// The most that one question may cost.
    most: u64,
    limit: Cell<u64>,
    spent: Cell<u64>,
}

/// The budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Meter {
    pub(crate) fn new(budget: Budget) -> Meter {
        Meter { most: budget.steps, limit: Cell::new(budget.steps), spent: Cell::new(0) }
    }

    pub(crate) fn spend(&self, steps: u64) -> Result<(), Exhausted> {
        self.spent.set(self.spent.get().saturating_add(steps));
        if self.spent.get() > self.limit.get() { Err(Exhausted) } else { Ok(()) }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit.get()
    }

    pub(crate) fn spent(&self) -> u64 {
        self.spent.get()
    }

    /// Starts the next question, for which so much is left.
    pub(crate) fn start_again(&self, left: u64) {
        self.limit.set(self.most.min(left));
        self.spent.set(0);
    }
}
