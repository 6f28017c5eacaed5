use holdgate_protocol::{Actor, Agent, Json};

use super::*;

fn entry(length: usize) -> Entry {
    let agent = Agent { iss: "i".into(), sub: "s".into(), act: vec![], owner: None };
    let caller = Actor { iss: "i".into(), sub: "s".into() };
    let identity = Identity { agent, caller, claims: Json::Null, expires_at: 0 };
    Entry { identity: Rc::new(identity), issuer: 0, keys: 0, length }
}

fn token(number: u32) -> [u8; 32] {
    *holdgate_protocol::Hash::of(&number.to_be_bytes()).as_bytes()
}

#[test]
fn a_flood_of_good_tokens_drives_out_only_what_nobody_uses() {
    let mut cache = TokenCache::new(100);
    cache.insert(token(0), entry(800));
    cache.insert(token(1), entry(800));
    for number in 2..10_000 {
        cache.insert(token(number), entry(800));
        assert!(cache.get(&token(0)).is_some(), "after {number}");
        assert!(cache.size().0 <= 101);
    }
    assert!(cache.get(&token(1)).is_none());
    assert!(cache.get(&token(9_999)).is_some());
}

#[test]
fn long_tokens_are_bounded_by_their_bytes() {
    let mut cache = TokenCache::new(1_000_000);
    for number in 0..10_000 {
        cache.insert(token(number), entry(16 * 1024));
        let (entries, bytes) = cache.size();
        assert!(bytes <= MAX_BYTES && entries <= 256, "{entries} entries of {bytes} bytes");
    }
}

#[test]
fn what_is_removed_is_gone_from_both_generations_and_frees_its_bytes() {
    let mut cache = TokenCache::new(4);
    for number in 0..3 {
        cache.insert(token(number), entry(100));
    }
    cache.insert(token(2), entry(200));
    cache.remove(&token(0));
    assert!(cache.get(&token(0)).is_none());
    cache.retain(|entry| entry.length > 100);
    assert_eq!(cache.size(), (1, OVERHEAD + 400));
    cache.retain(|_| false);
    assert_eq!(cache.size(), (0, 0));
    let mut none = TokenCache::new(0);
    none.insert(token(1), entry(1));
    assert!(none.get(&token(1)).is_none());
}
