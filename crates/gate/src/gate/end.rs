//! The end of a gate. A newer configuration has replaced it, and its last stream is gone: what it still has to tell is sent, and
//! gauges lose what it added to them.

use super::{Command, Gate, RootCall};

/// Milliseconds that this may take. Records that the service has not taken by then are dropped, and counted as such.
const LIMIT: u64 = 5_000;

/// What is known of a gate's end.
#[derive(Default)]
pub(super) struct Ending {
    /// When it ends at the latest, in Unix milliseconds; `None` while the gate serves.
    until: Option<u64>,
    /// Calls that tell something, and are not answered yet.
    unanswered: usize,
}

impl Ending {
    pub(super) fn has_begun(&self) -> bool {
        self.until.is_some()
    }

    pub(super) fn is_late(&self, now: u64) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    pub(super) fn set_back(&mut self, back: u64) {
        self.until = self.until.map(|until| until.saturating_sub(back));
    }

    pub(super) fn sent(&mut self, commands: &[Command]) {
        let tells = |command: &&Command| matches!(command, Command::Call { call, .. } if call.tells());
        self.unanswered += commands.iter().filter(tells).count();
    }

    pub(super) fn answered(&mut self, call: &RootCall) {
        self.unanswered -= usize::from(call.tells()).min(self.unanswered);
    }
}

impl Gate {
    /// The root context ends: no stream comes any more. Ticks and answers go on until [`Gate::has_ended`].
    pub fn end(&mut self, now: u64) -> Vec<Command> {
        self.keep_time(now);
        self.ending.until.get_or_insert(now.saturating_add(LIMIT));
        self.tick(now, Vec::new())
    }

    /// Whether nothing is left to tell, or the time for it is over.
    pub fn has_ended(&self, now: u64) -> bool {
        let told = self.outcomes.is_empty() && self.detached.is_empty() && self.telling.spool.is_empty();
        self.ending.is_late(now) || (self.ending.has_begun() && told && self.ending.unanswered == 0)
    }
}

impl RootCall {
    /// Whether it tells the service something, or may bring about something to tell.
    fn tells(&self) -> bool {
        matches!(self, RootCall::Report | RootCall::Audit | RootCall::Redeem(_))
    }
}
