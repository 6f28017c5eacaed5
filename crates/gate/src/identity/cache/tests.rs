use holdgate_protocol::{Agent, Json};

use super::*;

/// An entry with a claim of so many bytes.
fn entry(length: usize) -> Entry {
    Entry::new(Rc::new(identity(Json::String("x".repeat(length)))))
}

fn identity(claims: Json) -> Identity {
    let agent = Agent { iss: "i".into(), sub: "s".into(), act: vec![], owner: None };
    Identity::new(agent.clone(), agent.caller(), claims, 0)
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
        assert!(bytes <= MAX_BYTES && entries <= 512, "{entries} entries of {bytes} bytes");
    }
}

#[test]
fn what_is_removed_is_gone_from_both_generations_and_frees_its_bytes() {
    let mut cache = TokenCache::new(4);
    for number in 0..3 {
        cache.insert(token(number), entry(100));
    }
    cache.insert(token(2), entry(200));
    let large = entry(200).cost;
    cache.remove(&token(0));
    assert!(cache.get(&token(0)).is_none());
    cache.retain(|entry| entry.cost == large);
    assert_eq!(cache.size(), (1, large));
    cache.retain(|_| false);
    assert_eq!(cache.size(), (0, 0));
    let mut none = TokenCache::new(0);
    none.insert(token(1), entry(1));
    assert!(none.get(&token(1)).is_none());
}

/// The attack: claims of a great many small parts, each of which takes many times its text. What they take was once taken
/// for twice the token's length.
#[test]
fn small_claims_cost_what_they_take() {
    let ones = format!("[{}1]", "1,".repeat(6_000));
    let names = format!("{{{}\"z\":1}}", (0..1_500).map(|name| format!("\"{name:x}\":1,")).collect::<String>());
    for (claims, parts, part) in [(ones, 6_001, size_of::<Json>()), (names, 1_501, size_of::<(String, Json)>())] {
        let cost = Entry::new(Rc::new(identity(Json::parse(claims.as_bytes()).unwrap()))).cost;
        let least = parts * (part + 1);
        assert!(least > OVERHEAD + 2 * claims.len() && (least..8 * least).contains(&cost), "{cost} for {least} bytes");
    }
}
