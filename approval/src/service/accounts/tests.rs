use super::*;

const NOW: u64 = 1_790_000_000;

fn fail(sign_ins: &SignIns, account: &str, times: u32) {
    for _ in 0..times {
        sign_ins.note(sign_ins.bucket(account), NOW, false);
    }
}

#[test]
fn invented_names_put_no_failure_out_and_keep_none_from_being_counted() {
    let sign_ins = SignIns::new().unwrap();
    let wait = |account: &str| sign_ins.wait(sign_ins.bucket(account), NOW);
    fail(&sign_ins, "alice", FREE_FAILURES + 2);
    for number in 0..20_000 {
        fail(&sign_ins, &format!("invented{number}"), 1);
    }
    fail(&sign_ins, "bob", FREE_FAILURES + 1);
    assert!(wait("alice") >= Some(4) && wait("bob") >= Some(2), "{:?} {:?}", wait("alice"), wait("bob"));
    sign_ins.note(sign_ins.bucket("alice"), NOW, true);
    assert_eq!(wait("alice"), None);
}

#[test]
fn nobody_outside_can_tell_who_shares_a_bucket() {
    let (one, other) = (SignIns::new().unwrap(), SignIns::new().unwrap());
    let buckets = |sign_ins: &SignIns| ["alice", "bob", "carol"].map(|account| sign_ins.bucket(account));
    assert_ne!(buckets(&one), buckets(&other));
    assert!(buckets(&one).into_iter().all(|bucket| bucket < BUCKETS));
}
