use proptest::prelude::*;

use super::*;

fn results() -> impl Strategy<Value = LookResult> {
    let stands = (
        0_u32..2,
        0_u32..2,
        prop::sample::select(vec![0, 1, LEAST_BYTES, 2 * LEAST_BYTES]),
    )
        .prop_map(|(seq, item, unsent)| LookResult::Stands(Standstill { seq, item, unsent }));
    prop_oneof![
        1 => Just(LookResult::Idles),
        1 => Just(LookResult::Runs),
        4 => stands,
    ]
}

/// Each result for a number of looks in a row.
fn looks() -> impl Strategy<Value = Vec<LookResult>> {
    let runs = prop::collection::vec((results(), 1_usize..14), 0..8);
    runs.prop_map(|runs| {
        let looks = runs.into_iter().map(|(result, times)| vec![result; times]);
        looks.flatten().collect()
    })
}

fn is_still(before: LookResult, now: LookResult) -> bool {
    let (LookResult::Stands(before), LookResult::Stands(now)) = (before, now) else {
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
    fn only_a_worker_that_stands_still_for_all_looks_in_a_row_is_stalled(looks in looks()) {
        let mut watch = StallWatch::default();
        let mut now = Instant::now();
        for (done, result) in looks.iter().enumerate() {
            let is_busy = *result != LookResult::Idles;
            if let Some(moment) = watch.moment(is_busy, || now) {
                prop_assert!(moment <= now + INTERVAL);
                prop_assert!(watch.is_armed() && watch.is_due(moment));
                now = moment;
            }
            let stalled = watch.look(*result, now);
            let pairs = looks[..=done].windows(2).rev();
            let still = 1 + pairs.take_while(|pair| is_still(pair[0], pair[1])).count();
            let stands = matches!(result, LookResult::Stands(_));
            prop_assert_eq!(stalled, stands && still >= MOST_LOOKS as usize);
            prop_assert_eq!(watch.is_armed(), is_busy);
        }
    }

    /// A pool gives a worker further calls, and takes them back, while the first does not begin.
    #[test]
    fn more_to_send_is_no_move(more in prop::collection::vec(0_usize..3, MOST_LOOKS as usize - 1)) {
        let mut watch = StallWatch::default();
        let now = Instant::now();
        let mut look = |unsent| {
            watch.look(LookResult::Stands(Standstill { seq: 1, item: 0, unsent }), now)
        };
        let mut unsent = 5;
        let first = look(unsent);
        let stalled: Vec<bool> = more.iter().map(|more| {
            unsent += more;
            look(unsent)
        }).collect();
        prop_assert!(!first && stalled.iter().filter(|stalled| **stalled).count() == 1);
        prop_assert!(stalled[stalled.len() - 1]);
        prop_assert!(look(unsent - 1), "it has accepted a byte");
        prop_assert!(!look(0), "it has accepted all of them");
    }

    #[test]
    fn a_worker_that_the_parent_holds_up_is_never_stalled(holds in 0_usize..40) {
        let mut watch = StallWatch::default();
        let mut now = Instant::now();
        let stands = LookResult::Stands(Standstill { seq: 1, item: 0, unsent: 0 });
        for _ in 0..holds {
            now = watch.moment(true, || now).expect("it is busy");
            watch.postpone(now);
            prop_assert!(!watch.is_due(now));
        }
        for _ in 1..MOST_LOOKS {
            now = watch.moment(true, || now).expect("it is busy");
            prop_assert!(!watch.look(stands, now));
        }
        prop_assert!(watch.look(stands, now));
    }
}
