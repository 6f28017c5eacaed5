//! Which streams wait on which hold. However many wait on one, each comes and goes at the same cost.

use std::collections::{BTreeSet, HashMap};

use super::StreamId;

#[derive(Default)]
pub(super) struct Waiting {
    /// Numbers of the holds that streams wait on, by their ids.
    numbers: HashMap<String, u64>,
    next: u64,
    streams: BTreeSet<(u64, StreamId)>,
}

impl Waiting {
    pub(super) fn add(&mut self, hold: &str, stream: StreamId) {
        let number = match self.numbers.get(hold) {
            Some(number) => *number,
            None => {
                self.next += 1;
                self.numbers.insert(hold.to_owned(), self.next);
                self.next
            }
        };
        self.streams.insert((number, stream));
    }

    pub(super) fn remove(&mut self, hold: &str, stream: StreamId) {
        let Some(number) = self.numbers.get(hold).copied() else { return };
        self.streams.remove(&(number, stream));
        if self.streams.range(all(number)).next().is_none() {
            self.numbers.remove(hold);
        }
    }

    /// Those that wait on a hold, in the order in which they came.
    pub(super) fn of(&self, hold: &str) -> impl Iterator<Item = StreamId> {
        let number = self.numbers.get(hold).copied();
        number.into_iter().flat_map(|number| self.streams.range(all(number))).map(|(_, stream)| *stream)
    }

    /// All that wait.
    pub(super) fn streams(&self) -> Vec<StreamId> {
        self.streams.iter().map(|(_, stream)| *stream).collect()
    }
}

fn all(number: u64) -> std::ops::RangeInclusive<(u64, StreamId)> {
    (number, StreamId::MIN)..=(number, StreamId::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn streams_are_found_by_their_hold_until_they_leave() {
        let mut waiting = Waiting::default();
        for (hold, stream) in [("a", 7), ("b", 8), ("a", 9), ("a", u32::MAX), ("b", 0)] {
            waiting.add(hold, stream);
        }
        let of = |waiting: &Waiting, hold: &str| waiting.of(hold).collect::<Vec<_>>();
        assert_eq!((of(&waiting, "a"), of(&waiting, "b")), (vec![7, 9, u32::MAX], vec![0, 8]));
        assert_eq!(waiting.streams().len(), 5);
        waiting.remove("a", 9);
        waiting.remove("a", 9);
        waiting.remove("c", 7);
        waiting.remove("b", 8);
        waiting.remove("b", 0);
        assert_eq!((of(&waiting, "a"), of(&waiting, "b"), of(&waiting, "c")), (vec![7, u32::MAX], vec![], vec![]));
        assert_eq!(waiting.numbers.len(), 1);
    }

    /// The attack: one agent parks as many requests as it has room for on one hold, and hangs up on all of them. That once
    /// took the square of their number.
    #[test]
    fn many_on_one_hold_cost_no_more_than_as_many_on_their_own() {
        let took = |hold: &dyn Fn(u32) -> String| {
            let mut waiting = Waiting::default();
            let begun = Instant::now();
            (0..40_000).for_each(|stream| waiting.add(&hold(stream), stream));
            (0..40_000).for_each(|stream| waiting.remove(&hold(stream), stream));
            assert!(waiting.numbers.is_empty() && waiting.streams.is_empty());
            begun.elapsed()
        };
        let (apart, together) = (took(&|stream| format!("h{stream}")), took(&|_| "h".to_owned()));
        assert!(together < 10 * apart, "{together:?}, {apart:?}");
    }
}
