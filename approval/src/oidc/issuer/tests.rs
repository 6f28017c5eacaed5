use std::sync::atomic::{AtomicU32, Ordering};

use axum::{Json, Router, routing::get};
use holdgate_protocol::jws::PrivateKey;
use serde_json::{Value, json};

use super::*;

/// An issuer that counts how often it is asked, and says of itself what it is told to.
async fn issuer(change: Value) -> (Issuer, Arc<AtomicU32>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicU32::new(0));
    let mut description = json!({"issuer": address, "authorization_endpoint": format!("{address}/auth"),
                                 "token_endpoint": format!("{address}/token"), "jwks_uri": format!("{address}/jwks")});
    change.as_object().unwrap().iter().for_each(|(name, value)| description[name] = value.clone());
    let count = Arc::clone(&asked);
    let jwks = description.get("keys").cloned().unwrap_or(json!([PrivateKey::from_seed(&[1; 32]).to_public_jwk()]));
    let describe = move || {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Json(description.clone()))
    };
    let router = Router::new()
        .route("/.well-known/openid-configuration", get(describe))
        .route("/jwks", get(move || std::future::ready(Json(json!({"keys": jwks})))));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (Issuer::new(address.clone(), Client::new(&address).unwrap()), asked)
}

#[tokio::test]
async fn provider_is_asked_rarely_whatever_tokens_name() {
    let (issuer, asked) = issuer(json!({})).await;
    let issuer = Arc::new(issuer);
    let many = (0..50).map(|_| {
        let issuer = Arc::clone(&issuer);
        tokio::spawn(async move { issuer.known(1000).await.map(drop) })
    });
    for one in many.collect::<Vec<_>>() {
        one.await.unwrap().unwrap();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let known = issuer.known(1000).await.unwrap();
    for _ in 0..50 {
        assert!(issuer.newer(&known, 1004).await.is_none());
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let newer = issuer.newer(&known, 1005).await.unwrap();
    // Who still has the older keys takes the newer ones without asking.
    assert!(Arc::ptr_eq(&issuer.newer(&known, 1005).await.unwrap(), &newer));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    issuer.known(1005 + REFRESH - 1).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    issuer.known(1005 + REFRESH).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn description_that_leads_elsewhere_is_refused() {
    for (change, why) in [
        (json!({"issuer": "https://evil.example"}), "is about `https://evil.example`"),
        (json!({"token_endpoint": "http://evil.example/token"}), "must begin with `https://`"),
        (json!({"authorization_endpoint": "http://evil.example/auth"}), "must begin with `https://`"),
        (json!({"jwks_uri": "http://evil.example/jwks"}), "must begin with `https://`"),
        (json!({"jwks_uri": "file:///etc/passwd"}), "cannot be asked"),
        (json!({"token_endpoint": null}), "does not describe it"),
        (json!({"keys": []}), "is no set of keys"),
        (json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}), "is no set of keys"),
    ] {
        let (issuer, _) = issuer(change.clone()).await;
        let error = issuer.known(1000).await.err().unwrap();
        assert!(error.contains(why), "{change}: {error}");
    }
}

#[tokio::test]
async fn answer_without_end_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let long = get(|| std::future::ready("a".repeat(300 * 1024)));
    let router = Router::new().route("/.well-known/openid-configuration", long);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let error = Client::new(&address).unwrap().get(&format!("{address}/.well-known/openid-configuration")).await;
    assert!(error.unwrap_err().to_string().contains("cannot be asked"));
}
