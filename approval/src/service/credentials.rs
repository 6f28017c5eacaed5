//! Credentials of gateways and publishers, made by the command line.

use holdgate_protocol::Hash;
use serde_json::json;

use crate::store::{Command, StoreError, Tx, access::fingerprint, ledger::Event};

/// Whose credential it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gateway,
    Publisher,
}

/// Adds a credential of a gateway group or a publisher; only its hash comes here.
pub struct AddCredential {
    pub kind: Kind,
    /// A gateway group, or a publisher's name.
    pub name: String,
    pub hash: Hash,
    pub now: u64,
}

impl Command for AddCredential {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        let (name, time) = (&self.name, self.now);
        let data = |fingerprint: &str| json!({"name": name, "fingerprint": fingerprint});
        let kind = match self.kind {
            Kind::Gateway => {
                for retired in tx.add_gateway(name, &self.hash, time).await? {
                    let data = data(&fingerprint(&retired));
                    let event = Event { time, kind: "gateway.retired", hold: None, decided_by: None, data };
                    tx.record(event)?;
                }
                "gateway.added"
            }
            Kind::Publisher => {
                tx.add_publisher(name, &self.hash, time).await?;
                "publisher.added"
            }
        };
        let data = data(&fingerprint(&self.hash));
        tx.record(Event { time, kind, hold: None, decided_by: None, data })
    }
}
