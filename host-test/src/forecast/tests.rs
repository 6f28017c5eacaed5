use std::collections::VecDeque;

use super::*;

fn queue(per_hour: f64, minutes: f64, reviewers: u32, patience: &[(f64, f64)]) -> Queue {
    let patience = patience.iter().map(|(minutes, share)| (minutes * 60.0, *share)).collect();
    Queue { arrivals: per_hour / 3600.0, handling: minutes * 60.0, reviewers, patience }
}

/// A random number in (0, 1]: SplitMix64.
fn random(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 + f64::EPSILON
}

/// Plays the queue hold by hold: share that expires, share that waits, mean wait.
fn simulate(queue: &Queue, holds: usize) -> (f64, f64, f64) {
    let mut state = 7;
    let mut exponential = |mean: f64| -mean * random(&mut state).ln();
    let mut now = 0.0;
    // When each reviewer is free again.
    let mut free = vec![0.0_f64; queue.reviewers as usize];
    let (mut expired, mut waited, mut total) = (0, 0, 0.0);
    let mut choices = VecDeque::new();
    for index in 0..holds {
        now += exponential(1.0 / queue.arrivals);
        let share = (index as f64 * 0.618_033_988_749_895).fract();
        choices.push_back(share);
        let mut below = 0.0;
        let patience = queue.patience.iter().find(|(_, part)| {
            below += part;
            share < below
        });
        let patience = patience.or(queue.patience.last()).unwrap().0;
        let first = free.iter_mut().min_by(|a, b| a.total_cmp(b)).unwrap();
        let wait = (*first - now).max(0.0);
        waited += usize::from(wait > 0.0);
        if wait > patience {
            expired += 1;
            total += patience;
        } else {
            total += wait;
            *first = now + wait + exponential(queue.handling);
        }
    }
    let holds = holds as f64;
    (expired as f64 / holds, waited as f64 / holds, total / holds)
}

#[test]
fn the_formulas_agree_with_a_simulation() {
    for (per_hour, minutes, reviewers, patience) in [
        (20.0, 2.0, 1, &[(30.0, 1.0)][..]),
        (28.0, 2.0, 1, &[(10.0, 1.0)]),
        (90.0, 2.0, 2, &[(5.0, 1.0)]),
        (100.0, 2.0, 3, &[(30.0, 1.0)]),
        (60.0, 5.0, 4, &[(10.0, 0.5), (30.0, 0.5)]),
        (45.0, 2.0, 1, &[(4.0, 0.3), (15.0, 0.7)]),
    ] {
        let queue = queue(per_hour, minutes, reviewers, patience);
        let forecast = queue.forecast();
        let (expires, waits, mean_wait) = simulate(&queue, 400_000);
        let near = |a: f64, b: f64, most: f64| (a - b).abs() <= most;
        assert!(near(forecast.expires, expires, 0.006), "{queue:?}: {forecast:?}, simulated {expires}");
        assert!(near(forecast.waits, waits, 0.01), "{queue:?}: {forecast:?}, simulated {waits}");
        assert!(near(forecast.mean_wait, mean_wait, 0.03 * mean_wait + 2.0), "{queue:?}: {forecast:?}, {mean_wait}");
    }
}

#[test]
fn the_limits_are_those_of_the_text_books() {
    // Without patience it is Erlang's loss formula: 2 erlang, 3 servers: 4/19.
    let loss = queue(60.0, 2.0, 3, &[(0.0, 1.0)]).forecast();
    assert!((loss.expires - 4.0 / 19.0).abs() < 1e-9, "{loss:?}");
    // With endless patience it is M/M/1: half the time busy, a mean wait of one handling time.
    let patient = queue(15.0, 2.0, 1, &[(60.0 * 24.0 * 30.0, 1.0)]).forecast();
    assert!((patient.waits - 0.5).abs() < 1e-9 && (patient.mean_wait - 120.0).abs() < 1e-6, "{patient:?}");
    assert!(patient.expires < 1e-9, "{patient:?}");
    // Ten times too much work: nine in ten expire, and no number overflows.
    let flood = queue(3000.0, 2.0, 10, &[(60.0 * 24.0, 1.0)]).forecast();
    assert!((flood.expires - 0.9).abs() < 1e-3 && flood.waits > 0.999, "{flood:?}");
    assert_eq!(queue(0.0, 2.0, 1, &[]).forecast().expires, 0.0);
}
