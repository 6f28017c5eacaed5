//! The permit: the only thing with which a request can go on.

use holdgate_engine::Verdict;
use holdgate_protocol::{
    grant::{self, Expected, GrantError},
    jws::Keys,
};

/// Leave for one request to go on to the upstream. There are two ways to get one: an allow verdict, and a verified grant.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    by: By,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Verdict,
    Grant,
}

impl Permit {
    /// A permit where the engine's verdict is allow.
    pub(crate) fn of_verdict(verdict: Verdict) -> Option<Permit> {
        match verdict {
            Verdict::Allow(_) => Some(Permit { by: By::Verdict }),
            Verdict::Deny(_) | Verdict::Hold(_) => None,
        }
    }

    /// A permit where the grant is signed by a pinned key and covers exactly the expected request.
    pub(crate) fn of_grant(token: &str, keys: &Keys, expected: &Expected<'_>) -> Result<Permit, GrantError> {
        grant::verify(token, keys, expected).map(|_claims| Permit { by: By::Grant })
    }

    /// Whether a person approved this very request, so that the proxy must not send it twice.
    pub fn is_single_use(&self) -> bool {
        self.by == By::Grant
    }

    /// The word for access logs.
    pub fn decision(&self) -> &'static str {
        match self.by {
            By::Verdict => "allow",
            By::Grant => "granted",
        }
    }
}
