//! What many held requests have in common, kept once: those that one rule holds have the same checkpoint, and those of one client
//! cover the same header fields.

use std::{collections::VecDeque, rc::Rc};

/// Values that are looked through for an equal one.
const MAX_KNOWN: usize = 16;

pub(super) struct Common<T>(VecDeque<Rc<T>>);

impl<T> Default for Common<T> {
    fn default() -> Self {
        Common(VecDeque::new())
    }
}

impl<T: PartialEq> Common<T> {
    /// The value, from now on shared with those who bring an equal one soon.
    pub(super) fn share(&mut self, value: T) -> Rc<T> {
        if let Some(known) = self.0.iter().find(|known| ***known == value) {
            return known.clone();
        }
        self.0.truncate(MAX_KNOWN - 1);
        let value = Rc::new(value);
        self.0.push_front(value.clone());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_kept_once_and_few_are_remembered() {
        let mut common = Common::default();
        let first = common.share("a".to_owned());
        assert!(Rc::ptr_eq(&first, &common.share("a".to_owned())));
        assert!(!Rc::ptr_eq(&first, &common.share("b".to_owned())));
        (0..1_000).for_each(|number| drop(common.share(number.to_string())));
        assert_eq!((common.0.len(), Rc::strong_count(&first)), (MAX_KNOWN, 1));
    }
}
