use proptest::prelude::*;

use super::*;

fn results() -> impl Strategy<Value = StallCheck> {
    let stands = (
        0_u32..2,
        0_u32..2,
        prop::sample::select(vec![0, 1, LEAST_BYTES, 2 * LEAST_BYTES]),
    )
        .prop_map(|(seq, item, unsent)| StallCheck::Stands(Standstill { seq, item, unsent }));
    prop_oneof![
        1 => Just(StallCheck::Idles),
        1 => Just(StallCheck::Runs),
        4 => stands,
    ]
}

/// Results, each for a number of checks in a row.
fn checks() -> impl Strategy<Value = Vec<StallCheck>> {
    let runs = prop::collection::vec((results(), 1_usize..14), 0..8);
    runs.prop_map(|runs| {
        let checks = runs.into_iter().map(|(result, times)| vec![result; times]);
        checks.flatten().collect()
    })
}

fn is_still(before: StallCheck, now: StallCheck) -> bool {
    let (StallCheck::Stands(before), StallCheck::Stands(now)) = (before, now) else {
        return false;
    };
    let accepted = match now.unsent {
        0 => before.unsent > 0,
        left => before.unsent >= left + LEAST_BYTES,
    };
    (now.seq, now.item) == (before.seq, before.item) && !accepted
}

proptest! {
    #[test]
    fn only_a_worker_without_progress_for_all_checks_in_a_row_is_stalled(found in checks()) {
        let mut watch = StallWatch::default();
        let mut now = Instant::now();
        for (done, result) in found.iter().enumerate() {
            let is_busy = *result != StallCheck::Idles;
            if let Some(moment) = watch.moment(is_busy, || now) {
                prop_assert!(moment <= now + INTERVAL);
                prop_assert!(watch.is_armed() && watch.is_due(moment));
                now = moment;
            }
            let stalled = watch.check(*result, now);
            let pairs = found[..=done].windows(2).rev();
            let still = 1 + pairs.take_while(|pair| is_still(pair[0], pair[1])).count();
            let stands = matches!(result, StallCheck::Stands(_));
            prop_assert_eq!(stalled, stands && still >= MOST_CHECKS as usize);
            prop_assert_eq!(watch.is_armed(), is_busy);
        }
    }

    /// A pool sends a worker further calls, and takes them back, while the first does not begin.
    #[test]
    fn more_bytes_to_send_are_no_progress(more in prop::collection::vec(0_usize..3, MOST_CHECKS as usize - 1)) {
        let mut watch = StallWatch::default();
        let now = Instant::now();
        let mut check = |unsent| {
            watch.check(StallCheck::Stands(Standstill { seq: 1, item: 0, unsent }), now)
        };
        let mut unsent = 5;
        let first = check(unsent);
        let stalled: Vec<bool> = more.iter().map(|more| {
            unsent += more;
            check(unsent)
        }).collect();
        prop_assert!(!first && stalled.iter().filter(|stalled| **stalled).count() == 1);
        prop_assert!(stalled[stalled.len() - 1]);
        prop_assert!(check(unsent - 1), "it has accepted a byte");
        prop_assert!(!check(0), "it has accepted all of them");
    }

    #[test]
    fn a_worker_that_the_parent_holds_up_is_never_stalled(holds in 0_usize..40) {
        let mut watch = StallWatch::default();
        let mut now = Instant::now();
        let stands = StallCheck::Stands(Standstill { seq: 1, item: 0, unsent: 0 });
        for _ in 0..holds {
            now = watch.moment(true, || now).expect("it is busy");
            watch.postpone(now);
            prop_assert!(!watch.is_due(now));
        }
        for _ in 1..MOST_CHECKS {
            now = watch.moment(true, || now).expect("it is busy");
            prop_assert!(!watch.check(stands, now));
        }
        prop_assert!(watch.check(stands, now));
    }
}
