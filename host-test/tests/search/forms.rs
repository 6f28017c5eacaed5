//! The same request in other forms: cut in other places, its headers in another order and case. What comes of it is the same.

use std::time::Duration;

use holdgate_authoring::cases::{Act, Chunks, Play, Restart, SentRequest, UpstreamBehaviour, Version};
use holdgate_host::cases::{
    driver::{Driver, Handle, Observed, Sending, TraceLine, Trouble},
    harness::{Conditions, Harness},
    play::End,
};
use serde_json::Value;

use crate::corpus::{corpus, is_playable, played};

/// Changes requests on their way to the harness.
struct Changing<F>(Harness, F);

impl<F: Fn(&mut Sending)> Driver for Changing<F> {
    fn now(&self) -> u64 {
        self.0.now()
    }

    fn send(&mut self, mut request: Sending) -> Result<Handle, Trouble> {
        (self.1)(&mut request);
        self.0.send(request)
    }

    fn hang_up(&mut self, request: Handle) -> Result<(), Trouble> {
        self.0.hang_up(request)
    }

    fn pass(&mut self, limit: Duration, done: &mut dyn FnMut(&Observed) -> bool) -> Result<bool, Trouble> {
        self.0.pass(limit, done)
    }

    fn upstream(&mut self, behaviour: &UpstreamBehaviour) -> Result<(), Trouble> {
        self.0.upstream(behaviour)
    }

    fn reconfigure(&mut self, configuration: &Value) -> Result<(), Trouble> {
        self.0.reconfigure(configuration)
    }

    fn restart(&mut self, what: Restart) -> Result<(), Trouble> {
        self.0.restart(what)
    }

    fn observe(&mut self) -> Observed {
        self.0.observe()
    }

    fn findings(&mut self) -> Vec<String> {
        self.0.findings()
    }

    fn trace(&mut self) -> Vec<TraceLine> {
        self.0.trace()
    }
}

/// Plays all cases whose requests may be changed so, and counts them.
fn all_come_out_the_same(may: impl Fn(&SentRequest) -> bool, change: fn(&mut Sending)) -> usize {
    let mut wrong = Vec::new();
    let mut count = 0;
    for file in &corpus() {
        for case in file.file.cases.iter().filter(|case| is_playable(case)) {
            let applies = match &case.play {
                Play::Verdict(_) => true,
                Play::Scenario(scenario) => scenario.steps.iter().all(|step| match &step.act {
                    Act::Send(all) => all.iter().all(|named| may(&named.request)),
                    _ => true,
                }),
            };
            if !applies {
                continue;
            }
            count += 1;
            let made = |harness| Box::new(Changing(harness, change)) as Box<dyn Driver>;
            let end = played(file, case, Conditions::default(), &made).end;
            if !matches!(end, End::Passed) {
                wrong.push(format!("{}: {}: {end:?}", file.name, case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    count
}

fn is_whole(request: &SentRequest) -> bool {
    request.chunks == Chunks::Whole && request.pause == 0 && request.body.len() < 4096
}

#[test]
fn a_body_that_comes_byte_by_byte_meets_what_it_meets_whole() {
    assert!(all_come_out_the_same(is_whole, |request| request.chunks = Chunks::EveryByte) > 80);
}

#[test]
fn a_body_in_two_pieces_meets_what_it_meets_whole_wherever_it_is_cut() {
    fn first(request: &mut Sending) {
        request.chunks = Chunks::Sizes(vec![1]);
    }
    fn last(request: &mut Sending) {
        request.chunks = Chunks::Sizes(vec![request.body.len().saturating_sub(1)]);
    }
    fn middle(request: &mut Sending) {
        request.chunks = Chunks::Sizes(vec![request.body.len() / 2, 1]);
    }
    for change in [first, last, middle] {
        assert!(all_come_out_the_same(is_whole, change) > 80);
    }
}

#[test]
fn a_body_that_takes_its_time_meets_what_it_meets_at_once() {
    fn slowly(request: &mut Sending) {
        request.chunks = Chunks::Sizes(vec![1, 1]);
        request.pause = Duration::from_millis(40);
    }
    // In a scenario, steps would come between the pieces.
    assert!(all_come_out_the_same(|_| false, slowly) > 60);
}

#[test]
fn headers_in_another_order_and_case_are_the_same_headers() {
    fn reversed(request: &mut Sending) {
        // Fields of one name keep their order among themselves: it is part of what they say.
        let name = |field: &(Vec<u8>, Vec<u8>)| field.0.to_ascii_lowercase();
        let mut names: Vec<Vec<u8>> = request.headers.iter().map(name).collect();
        names.dedup();
        names.reverse();
        let order = |field: &(Vec<u8>, Vec<u8>)| names.iter().position(|other| *other == name(field));
        request.headers.sort_by_key(order);
    }
    fn shouted(request: &mut Sending) {
        if request.version == Version::Http1 {
            request.headers.iter_mut().for_each(|(name, _)| name.make_ascii_uppercase());
        }
    }
    for change in [reversed, shouted] {
        assert!(all_come_out_the_same(|_| true, change) > 80);
    }
}
