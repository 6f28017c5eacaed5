//! The corpus on every host profile: as written where the host has what the filter needs, closed where it has not.

use holdgate_host::{
    Profile,
    cases::{
        harness::{Conditions, Harness},
        play::{End, play},
    },
};

use crate::corpus::{corpus, filter};

#[test]
fn cases_come_out_on_every_profile_or_nothing_passes() {
    let files = corpus();
    for profile in Profile::ALL {
        let (mut passed, mut closed, mut skipped, mut wrong) = (0, 0, 0, Vec::new());
        for file in &files {
            for case in &file.file.cases {
                let conditions = Conditions { profile, quiet: true, ..Conditions::default() };
                let make = |setup| Ok(Box::new(Harness::start(filter(), setup, conditions.clone())?) as Box<_>);
                let own = Some(profile.name()).filter(|_| profile != Profile::Envoy);
                let places: Vec<&str> = std::iter::once("harness").chain(own).collect();
                match play(case, &file.file.policy, &file.policies, &places, &make).end {
                    End::Passed => passed += 1,
                    End::Closed => closed += 1,
                    End::Skipped(_) => skipped += 1,
                    end => wrong.push(format!("{}: {}: {end:?}", file.name, case.name)),
                }
            }
        }
        println!("{profile}: {passed} passed, {closed} only stayed closed, {skipped} skipped");
        assert!(wrong.is_empty(), "{profile}: {} went wrong:\n{}", wrong.len(), wrong.join("\n"));
        let complete = matches!(profile, Profile::Envoy | Profile::NgxWasm);
        assert_eq!(closed > 0, !complete, "{profile}");
        assert!(passed > if complete { 300 } else { 0 }, "{profile}: {passed}");
        // Skipped is what a case says of a host; on Envoy's profile nearly nothing is.
        assert!(profile != Profile::Envoy || skipped <= 2, "{skipped}");
    }
}
