//! The provider's keys change while the service runs.

use axum::http::StatusCode;
use holdgate_protocol::jws::PrivateKey;
use serde_json::Value;

use super::{
    bearer::access_token,
    call,
    idp::Idp,
    world,
};
use crate::support::World;

async fn status(world: &World, token: &str) -> StatusCode {
    call(world, token, "GET", "/api/session", Value::Null).await.status
}

#[tokio::test]
async fn new_key_counts_at_once_and_a_removed_one_not_for_long() {
    let (old, new) = (PrivateKey::from_seed(&[1; 32]), PrivateKey::from_seed(&[2; 32]));
    let idp = Idp::with_keys(0, &[&old]);
    let port = idp.port;
    let world = world(&idp.issuer()).await;
    let by_old = access_token(&idp, "alice", "cli").await;
    assert_eq!(status(&world, &by_old).await, StatusCode::OK);

    drop(idp);
    let idp = Idp::with_keys(port, &[&new, &old]);
    let by_new = access_token(&idp, "alice", "cli").await;
    // The provider was asked just now: whether the key is a new one cannot be told yet.
    assert_eq!(status(&world, &by_new).await, StatusCode::SERVICE_UNAVAILABLE);
    world.clock.advance(5);
    assert_eq!(status(&world, &by_new).await, StatusCode::OK);
    assert_eq!(status(&world, &by_old).await, StatusCode::OK);

    drop(idp);
    let idp = Idp::with_keys(port, &[&new]);
    world.clock.advance(5 * 60);
    assert_eq!(status(&world, &by_new).await, StatusCode::OK);
    world.clock.advance(5);
    assert_eq!(status(&world, &by_old).await, StatusCode::UNAUTHORIZED);

    // Without the provider its keys count for a while, and then no more.
    drop(idp);
    world.clock.advance(14 * 60);
    assert_eq!(status(&world, &by_new).await, StatusCode::OK);
    world.clock.advance(60);
    assert_eq!(status(&world, &by_new).await, StatusCode::SERVICE_UNAVAILABLE);
}
