use std::collections::VecDeque;

use super::*;

const NOW: u64 = 1_790_000_000_000;

/// Numbers that look random and are the same in each run.
fn numbers(mut state: u64) -> impl Iterator<Item = u64> {
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    })
}

/// Between the exact count of the window and that of a window longer by a sixteenth, whatever comes when.
#[test]
fn a_count_is_never_too_low_and_hardly_ever_too_high() {
    for per in [1, 7, 60, 3_600, 86_400] {
        let (mut page, mut now, window) = (Page::default(), NOW, per * 1000);
        let mut times = VecDeque::new();
        for (at, random) in numbers(per).take(4_000).enumerate() {
            // Bursts, steady rates, and silence.
            now += [0, random % (window / 50 + 2), random % (window / 3 + 1), random % (3 * window)][at / 40 % 4];
            times.push_back(now);
            let within = |length: u64| times.iter().filter(|time| now - **time < length).count() as u64;
            let count = page.add(now, 1, per).unwrap();
            let longer = window + window.div_ceil(PARTS) + 17;
            assert!((within(window)..=within(longer)).contains(&count), "{count} of {} at {now}", within(window));
            assert_eq!(Page::read(&page.write()), page);
        }
    }
}

/// The attack: as many new keys as one likes, to have a count forgotten that is near its limit.
#[test]
fn inventing_keys_makes_no_count_smaller_and_no_page_larger() {
    let mut page = Page::default();
    for count in 1..=20 {
        assert_eq!(page.add(NOW, 7, 60), Some(count));
    }
    let unknown = (1_000..100_000).filter(|key| page.add(NOW + 1_000, *key, 60).is_none()).count();
    assert_eq!(unknown, 99_000 - (PLACES - 1));
    assert!(page.write().len() <= 1 + PLACES * Place::SIZE);
    assert_eq!(page.add(NOW + 2_000, 7, 60), Some(21), "the count goes on");
    // Once their windows are over, their places are free.
    assert_eq!(page.add(NOW + 70_000, 8, 60), Some(1));
    assert_eq!(page.0.len(), 1);
    let all = usize::from(PAGES + SHADOW_PAGES) * (1 + PLACES * Place::SIZE);
    assert!(all < 7 * 1024 * 1024, "{all}");
}

#[test]
fn a_clock_that_goes_back_forgets_nothing() {
    let mut page = Page::default();
    assert_eq!(page.add(NOW, 7, 60), Some(1));
    assert_eq!(page.add(NOW - 3_600_000, 7, 60), Some(2));
    assert_eq!(page.add(0, 7, 60), Some(3));
    assert_eq!(page.add(u64::MAX, 7, 60), Some(1), "and one that leaps forward ends the window");
}

/// Shared data in which another worker is first, so many times.
struct Contended {
    page: Option<Vec<u8>>,
    version: u32,
    lost: usize,
}

impl Host for Contended {
    fn nonce(&mut self) -> Option<[u8; 16]> {
        None
    }

    fn verify_signature(&mut self, _key: &[u8], _signature: &[u8], _text: &[u8]) -> Option<bool> {
        None
    }

    fn peer(&mut self) -> Option<String> {
        None
    }

    fn shared(&mut self, _key: &str) -> (Option<Vec<u8>>, u32) {
        let seen = (self.page.clone(), self.version);
        if self.lost > 0 {
            self.lost -= 1;
            let mut page = Page::read(self.page.as_deref().unwrap_or_default());
            page.add(NOW, 7, 60).unwrap();
            (self.page, self.version) = (Some(page.write()), self.version + 1);
        }
        seen
    }

    fn share(&mut self, _key: &str, value: &[u8], version: u32) -> bool {
        let current = self.page.is_none() || version == 0 || version == self.version;
        if current {
            (self.page, self.version) = (Some(value.to_vec()), self.version + 1);
        }
        current
    }
}

/// Two workers once made the same page at the same time, and the second one's empty page took the first one's count away: whoever
/// sends its first requests to all workers at once had some of them for nothing.
#[test]
fn workers_that_make_a_page_at_the_same_time_lose_no_count() {
    let rates = Rates::new("credential", "edge");
    for others in 1..TRIES {
        let mut host = Contended { page: None, version: 0, lost: others };
        assert_eq!(rates.add(&mut host, NOW, Key { page: 3, place: 7 }, 60), Some(others as u64 + 1));
    }
}

#[test]
fn workers_that_count_at_the_same_time_lose_no_count() {
    let rates = Rates::new("credential", "edge");
    let key = Key { page: 3, place: 7 };
    let mut host = Contended { page: None, version: 0, lost: 5 };
    assert_eq!(rates.add(&mut host, NOW, key, 60), Some(6));
    assert_eq!(rates.add(&mut host, NOW, key, 60), Some(7));
    // Without end the count is given up, which holds and denies.
    host.lost = 1_000;
    assert_eq!(rates.add(&mut host, NOW, key, 60), None);
    assert_eq!(host.lost, 1_000 - TRIES);
}
