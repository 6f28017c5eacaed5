//! Which configuration of this gateway group came last.
//!
//! A new configuration is a new gate, and the old one serves the requests that wait in it to their end. It must not do
//! so by what the new one has taken back, such as an issuer or a key. So each gate leaves the hash of what it says of identities in the
//! proxy's shared data. Where that has changed while a request was held, its agent sends it again: the hold stays as
//! it is, and the retry is judged by the configuration that is in force.

use super::Gate;
use crate::{Config, Host};

/// What stood in shared data last.
pub(super) struct Latest {
    place: String,
    hash: Option<Vec<u8>>,
    /// Rises with each change that was seen.
    changes: u32,
}

impl Latest {
    /// Leaves word of a configuration that comes into force.
    pub(super) fn publish(config: &Config, host: &mut dyn Host) -> Self {
        let place = format!("holdgate/identity/{}", config.group);
        let hash = config.identity_hash.as_bytes();
        // The last one to come wins. Where nothing is shared there is nobody to tell.
        let (_, version) = host.shared(&place);
        let _told = host.share(&place, hash, version);
        Latest { place, hash: Some(hash.to_vec()), changes: 0 }
    }
}

impl Gate {
    /// A number that has another value once a configuration with other identities has come.
    pub(super) fn configuration(&mut self) -> u32 {
        let Latest { place, hash, changes } = &mut self.latest;
        let (now, _) = self.host.shared(place);
        if now != *hash {
            (*hash, *changes) = (now, changes.wrapping_add(1));
        }
        *changes
    }
}
