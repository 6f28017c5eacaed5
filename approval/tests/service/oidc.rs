//! Sign-in at a real OpenID provider, by a browser and by access tokens.

#[path = "oidc/bearer.rs"]
mod bearer;
#[path = "oidc/browser.rs"]
mod browser;
#[path = "oidc/idp.rs"]
mod idp;
#[path = "oidc/keys.rs"]
mod keys;


use axum::http::Request;
use holdgate_approval::{
    clock::{Clock as _, WallClock},
    http::{App, routes},
    oidc::{Config, Provider},
    store::{Command, StoreError, Tx, ledger},
};
use serde_json::Value;
use tokio::sync::watch;

use crate::support::{Answer, NOW, World, send};
use idp::{AUDIENCE, PUBLIC};

/// A service at whose provider alice, bob and olivia have accounts under their names. Its clock stands a little ahead
/// of the provider's, which goes on while a test runs.
async fn world(issuer: &str) -> World {
    let mut world = World::new().await;
    world.clock.advance((WallClock.now() + 30).wrapping_sub(NOW));
    let text = format!(
        "{{format: 1, issuer: '{issuer}', name: Example ID, client_id: holdgate, client_secret_file: secret,
           public_url: '{PUBLIC}', api: {{audience: '{AUDIENCE}', clients: [cli, delegate, robot]}}}}"
    );
    std::fs::write(world.folder.path().join("secret"), "se cr&et\n").unwrap();
    let config = Config::parse(&text, world.folder.path()).unwrap();
    let (_, stopping) = watch::channel(false);
    let app = App::new(world.service.clone(), false, stopping).with_provider(Provider::new(config).unwrap());
    world.people = routes::people(app);
    for person in ["alice", "bob", "olivia"] {
        link(&world, person, issuer, person).await;
    }
    world
}

async fn link(world: &World, person: &str, iss: &str, sub: &str) {
    let (person, iss, sub) = (person.to_owned(), iss.to_owned(), sub.to_owned());
    world.service.store.write(Link { person, iss, sub }).await.unwrap();
}

struct Link {
    person: String,
    iss: String,
    sub: String,
}

impl Command for Link {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        tx.insert_link(&self.person, &self.iss, &self.sub).await
    }
}

/// A request to the API with a bearer token.
async fn call(world: &World, token: &str, method: &str, path: &str, body: Value) -> Answer {
    let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
    let body = if body.is_null() { String::new() } else { body.to_string() };
    send(&world.people, request.body(body.into()).unwrap()).await
}

/// What the ledger has of one kind.
async fn recorded(world: &World, kind: &str) -> Vec<Value> {
    let entries = ledger::page(&mut world.service.store.read().await.unwrap(), None, 0, 1000).await.unwrap();
    let of_kind = entries.into_iter().filter(|entry| entry.kind == kind);
    of_kind.map(|entry| serde_json::from_str(&entry.data.to_string()).unwrap()).collect()
}
