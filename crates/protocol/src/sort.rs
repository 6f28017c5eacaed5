//! One sort for all types: the standard library's are 5 KB of code for each type that is sorted, and holdgate.wasm has a
//! limit.

use std::cmp::Ordering;

/// Sorts in place. Items that compare equal may change places. Takes n log n steps at most, whatever the order was, and n
/// where the items are sorted already, as those of a canonical text are; allocates nothing.
pub fn sort_by<T>(items: &mut [T], compare: impl Fn(&T, &T) -> Ordering) {
    heap_sort(&mut Slice { items, compare });
}

/// Sorts and drops repeats.
#[must_use]
pub fn sorted_set<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    sort_by(&mut items, T::cmp);
    items.dedup();
    items
}

/// Items by their places; a place that is not there is not less than any.
trait Sortable {
    fn len(&self) -> usize;
    fn less(&self, a: usize, b: usize) -> bool;
    fn swap(&mut self, a: usize, b: usize);
}

struct Slice<'a, T, C> {
    items: &'a mut [T],
    compare: C,
}

impl<T, C: Fn(&T, &T) -> Ordering> Sortable for Slice<'_, T, C> {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn less(&self, a: usize, b: usize) -> bool {
        self.items.get(a).zip(self.items.get(b)).is_some_and(|(a, b)| (self.compare)(a, b).is_lt())
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.items.swap(a, b);
    }
}

fn heap_sort(items: &mut dyn Sortable) {
    let len = items.len();
    if (1..len).all(|at| !items.less(at, at - 1)) {
        return;
    }
    for root in (0..len / 2).rev() {
        sift_down(items, root, len);
    }
    for end in (1..len).rev() {
        items.swap(0, end);
        sift_down(items, 0, end);
    }
}

/// Lets an item sink to its place in the heap below it, which ends before `end`.
fn sift_down(items: &mut dyn Sortable, mut root: usize, end: usize) {
    loop {
        let left = 2 * root + 1;
        if left >= end {
            return;
        }
        let right = left + 1;
        let child = if right < end && items.less(left, right) { right } else { left };
        if !items.less(root, child) {
            return;
        }
        items.swap(root, child);
        root = child;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sorts_as_the_standard_library_does(mut items in prop::collection::vec(0..50_u32, 0..200)) {
            let mut expected = items.clone();
            expected.sort_unstable();
            sort_by(&mut items, Ord::cmp);
            prop_assert_eq!(&items, &expected);
            expected.dedup();
            prop_assert_eq!(sorted_set(items), expected);
        }
    }

    #[test]
    fn no_order_costs_more_than_n_log_n() {
        const COUNT: u32 = 1 << 14;
        type Order = fn(u32) -> u32;
        let orders: [(Order, u32); 4] = [
            (|index| index, 1),
            (|index| COUNT - index, 28),
            (|index| index % 7, 28),
            (|index| if index.is_multiple_of(2) { index } else { COUNT - index }, 28),
        ];
        for (order, steps) in orders {
            let compared = Cell::new(0);
            let mut items: Vec<u32> = (0..COUNT).map(order).collect();
            sort_by(&mut items, |a, b| {
                compared.set(compared.get() + 1);
                a.cmp(b)
            });
            assert!(items.is_sorted());
            assert!(compared.get() <= COUNT * steps, "{}", compared.get());
        }
    }
}
