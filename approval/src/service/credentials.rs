//! Credentials of gateways and publishers, made by the command line.

use holdgate_protocol::Hash;
use serde_json::json;

use crate::store::{Command, StoreError, Tx, ledger::Event};

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
        let kind = match self.kind {
            Kind::Gateway => {
                tx.add_gateway(&self.name, &self.hash, self.now).await?;
                "gateway.added"
            }
            Kind::Publisher => {
                tx.add_publisher(&self.name, &self.hash, self.now).await?;
                "publisher.added"
            }
        };
        let data = json!({"name": self.name});
        tx.record(Event { time: self.now, kind, hold: None, decided_by: None, data }).await
    }
}
