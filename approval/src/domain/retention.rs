//! How long is kept what is not kept for good.

use std::str::FromStr;

use holdgate_protocol::duration;

const DAY: u64 = 24 * 60 * 60;

/// How long what is named is kept, in seconds. Holds, decisions and the ledger are kept for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// What was captured of a request, after its hold has ended.
    pub captures: u64,
    /// Tries that came to holds, after they were last heard of.
    pub attempts: u64,
    /// Audit records and the gaps between them. The ledger keeps the hash of each batch and which numbers it covers.
    pub audit: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Retention { captures: 30 * DAY, attempts: DAY, audit: 400 * DAY }
    }
}

impl Retention {
    /// The same with one time set.
    #[must_use]
    pub fn with(self, kept: Kept) -> Self {
        match kept.what {
            What::Captures => Retention { captures: kept.seconds, ..self },
            What::Attempts => Retention { attempts: kept.seconds, ..self },
            What::Audit => Retention { audit: kept.seconds, ..self },
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Captures,
    Attempts,
    Audit,
}

/// One time as it is set: `audit=90d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    what: What,
    seconds: u64,
}

/// The text is not `NAME=TIME`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use NAME=TIME, where NAME is `captures`, `attempts` or `audit`, and TIME is as in `45s`, `10m`, `1h`, `7d`")]
pub struct KeptError;

impl FromStr for Kept {
    type Err = KeptError;

    fn from_str(text: &str) -> Result<Self, KeptError> {
        let (name, time) = text.split_once('=').ok_or(KeptError)?;
        let what = match name {
            "captures" => What::Captures,
            "attempts" => What::Attempts,
            "audit" => What::Audit,
            _ => return Err(KeptError),
        };
        Ok(Kept { what, seconds: duration::seconds(time).ok_or(KeptError)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_set_by_its_name() {
        let set = |text: &str| Retention::default().with(text.parse().unwrap());
        let Retention { captures, attempts, audit } = Retention::default();
        assert_eq!(set("captures=1h"), Retention { captures: 3600, attempts, audit });
        assert_eq!(set("attempts=45s"), Retention { captures, attempts: 45, audit });
        assert_eq!(set("audit=7d"), Retention { captures, attempts, audit: 7 * DAY });
        for wrong in ["", "audit", "audit=", "audit=0s", "audit=90", "ledger=1d", "audit=1d=2d"] {
            assert_eq!(wrong.parse::<Kept>(), Err(KeptError), "{wrong}");
        }
    }
}
