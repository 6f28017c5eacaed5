use serde_json::Value;

use super::*;

fn spool() -> Spool {
    Spool { epoch: Some("epoch".into()), ..Spool::new() }
}

fn add(spool: &mut Spool, now: u64, size: usize, verified: bool) {
    spool.add(now, verified, &mut |text| {
        text.extend(b",\"x\":\"");
        text.resize(text.len() + size, b'y');
        text.push(b'"');
    });
}

/// A batch in short: from, to, dropped, and the numbers of its records.
fn read(body: &[u8]) -> (u64, u64, u64, Vec<u64>) {
    let batch: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(batch["vm_epoch"], "epoch");
    assert!(body.len() <= MAX_BATCH);
    let number = |name: &str| batch[name].as_u64().unwrap();
    let records = batch["records"].as_array().unwrap();
    let numbers = records.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    (number("from_seq"), number("to_seq"), number("dropped"), numbers)
}

#[test]
fn a_batch_goes_when_it_is_full_or_a_second_old() {
    let mut spool = spool();
    assert_eq!(spool.due(5_000), None);
    add(&mut spool, 5_000, 10, true);
    add(&mut spool, 5_500, 10, true);
    assert_eq!(spool.due(5_999), None);
    assert_eq!(read(&spool.due(6_000).unwrap()), (1, 2, 0, vec![1, 2]));
    for _ in 0..300 {
        add(&mut spool, 6_000, 10, true);
    }
    assert_eq!(spool.due(6_000), None, "one batch at a time");
    assert!(spool.answered(6_000, Some(202)));
    assert_eq!(read(&spool.due(6_000).unwrap()), (3, 258, 0, (3..=258).collect()));
    assert!(spool.answered(6_000, Some(202)));
    assert_eq!(spool.due(6_000), None);
    assert_eq!(read(&spool.due(7_000).unwrap()).3.len(), 44);
}

#[test]
fn a_batch_that_was_not_taken_is_sent_again_as_it_was_and_less_and_less_often() {
    let mut spool = spool();
    add(&mut spool, 0, 10, true);
    let first = spool.due(1_000).unwrap();
    let (mut now, mut waits) = (1_000, Vec::new());
    for status in [None, Some(500), Some(504), Some(404), Some(401), Some(429), Some(200)] {
        add(&mut spool, now, 10, true);
        assert!(!spool.answered(now, status));
        let failed = now;
        while spool.due(now).is_none() {
            now += 500;
        }
        waits.push(now - failed);
        spool.in_flight = false;
        assert_eq!(spool.due(now).unwrap(), first, "{status:?}");
    }
    assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
    assert!(spool.answered(now, Some(202)));
    assert_eq!(read(&spool.due(now).unwrap()).3, (2..=8).collect::<Vec<_>>());
    // One that will never be taken makes way.
    assert!(spool.answered(now, Some(422)));
    assert_eq!((spool.refused, spool.len(), spool.bytes), (7, 0, 0));
}

/// Anyone can send requests without a token, and each record of one is stored for good.
#[test]
fn of_a_flood_without_tokens_only_so_many_are_written_down_each_second() {
    let mut spool = spool();
    for second in [0, 1_000] {
        for _ in 0..10_000 {
            add(&mut spool, second, 100, false);
        }
        add(&mut spool, second, 100, true);
    }
    assert_eq!(spool.len(), u64::from(2 * MAX_UNVERIFIED) + 2);
    assert_eq!((spool.seq, spool.dropped), (20_002, 20_002 - spool.len()), "the others are counted");
}

/// The attack: requests without end, to fill the memory or to have one's own records lost without a trace.
#[test]
fn what_finds_no_room_is_missed_by_number_and_agents_are_not_displaced_by_strangers() {
    let mut spool = spool();
    for second in 0..100 {
        for _ in 0..200 {
            add(&mut spool, second * 1_000, 100, false);
        }
    }
    assert_eq!(spool.len(), MAX_SPOOLED / 2);
    for _ in 0..10_000 {
        add(&mut spool, 0, 100, true);
    }
    assert_eq!((spool.len(), spool.seq), (MAX_SPOOLED, 30_000));
    assert_eq!(spool.dropped, 30_000 - MAX_SPOOLED);
    let (mut next, mut dropped, mut records) = (1, 0, 0);
    while let Some(body) = spool.due(1_000) {
        let (from, to, lost, numbers) = read(&body);
        assert_eq!(from, next, "no number is skipped between batches");
        assert_eq!(to - from + 1, lost + numbers.len() as u64, "and within them those that are dropped are told");
        (next, dropped, records) = (to + 1, dropped + lost, records + numbers.len() as u64);
        assert!(spool.answered(1_000, Some(202)));
    }
    assert_eq!((next - 1, dropped, records), (30_000, 30_000 - MAX_SPOOLED, MAX_SPOOLED));
    assert_eq!((spool.len(), spool.bytes), (0, 0));

    let mut spool = self::spool();
    for _ in 0..1_000 {
        add(&mut spool, 0, 60_000, true);
    }
    add(&mut spool, 0, MAX_RECORD, true);
    let kept: usize = spool.full.iter().map(|batch| batch.text.capacity()).sum();
    assert!(kept < 3 * MAX_SPOOLED_BYTES, "{kept}");
    assert!(spool.bytes <= MAX_SPOOLED_BYTES + MAX_RECORD);
    while let Some(body) = spool.due(1_000) {
        read(&body);
        assert!(spool.answered(1_000, Some(202)));
    }
}
