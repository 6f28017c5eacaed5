//! Kleene's logic with a fourth value for what the body has still to tell.

/// What an atom, an entry or a rule says about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    False,
    /// The attribute is missing or has another type: no body changes that.
    Unknown,
    /// The body decides and has not been read.
    Pending,
    True,
}

impl Truth {
    /// The conjunction: `False` dominates, then `Pending`, then `Unknown`.
    pub fn and(self, other: Truth) -> Truth {
        use Truth::{False, Pending, True, Unknown};
        match (self, other) {
            (False, _) | (_, False) => False,
            (Pending, _) | (_, Pending) => Pending,
            (Unknown, _) | (_, Unknown) => Unknown,
            (True, True) => True,
        }
    }

    /// The disjunction: `True` dominates, then `Pending`, then `Unknown`.
    pub fn or(self, other: Truth) -> Truth {
        !(!self).and(!other)
    }
}

impl std::ops::Not for Truth {
    type Output = Truth;

    fn not(self) -> Truth {
        match self {
            Truth::False => Truth::True,
            Truth::True => Truth::False,
            same => same,
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Truth::True } else { Truth::False }
    }
}

#[cfg(test)]
mod tests {
    use super::Truth::{self, False, Pending, True, Unknown};

    #[test]
    fn tables_are_kleenes_with_pending_over_unknown() {
        let all = [False, Unknown, Pending, True];
        // Rows: the left operand; columns: the right one; both in the order of `all`.
        let and = [
            [False, False, False, False],
            [False, Unknown, Pending, Unknown],
            [False, Pending, Pending, Pending],
            [False, Unknown, Pending, True],
        ];
        let or = [
            [False, Unknown, Pending, True],
            [Unknown, Unknown, Pending, True],
            [Pending, Pending, Pending, True],
            [True, True, True, True],
        ];
        for (i, a) in all.into_iter().enumerate() {
            for (j, b) in all.into_iter().enumerate() {
                assert_eq!((a.and(b), a.or(b)), (and[i][j], or[i][j]), "{a:?} {b:?}");
            }
        }
        assert_eq!(!Truth::from(true), False);
    }
}
