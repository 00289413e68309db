use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Close,
    Stop,
    Announce(u64),
    Withdraw(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::Close),
        1 => Just(Step::Stop),
        4 => (0..6_u64).prop_map(Step::Announce),
        4 => (0..6_u64).prop_map(Step::Withdraw),
    ]
}

proptest! {
    /// The model: two flags, neither of which is reset, and a list of deadlines.
    #[test]
    fn a_pool_never_opens_again_and_heeds_the_nearest_deadline_in_progress(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut phase = PoolPhase::default();
        let (mut closed, mut stopped) = (false, false);
        let mut deadlines = Vec::new();
        for step in steps {
            let nearest = |deadlines: &[u64]| deadlines.iter().min().map(|seconds| at(*seconds));
            match step {
                Step::Close => {
                    prop_assert_eq!(phase.close(), !closed);
                    closed = true;
                }
                Step::Stop => {
                    phase.stop();
                    (closed, stopped) = (true, true);
                }
                Step::Announce(seconds) => {
                    deadlines.push(seconds);
                    prop_assert_eq!(phase.announce(at(seconds)), nearest(&deadlines));
                    closed = true;
                }
                Step::Withdraw(seconds) => {
                    // Notices of the same deadline are equal: any of them may be withdrawn.
                    if let Some(place) = deadlines.iter().rposition(|known| *known == seconds) {
                        deadlines.remove(place);
                    }
                    prop_assert_eq!(phase.withdraw(at(seconds)), nearest(&deadlines));
                }
            }
            prop_assert_eq!(phase.is_open(), !closed);
            prop_assert_eq!(phase.is_stopped(), stopped);
            prop_assert_eq!(phase.deadline(), nearest(&deadlines));
            let submitted = match (closed, stopped) {
                (_, true) => Some(TooLate::Stopped),
                (true, false) => Some(TooLate::Closed),
                (false, false) => None,
            };
            prop_assert_eq!(phase.refusal(CallOrigin::Submitted), submitted);
            let given_back = stopped.then_some(TooLate::Stopped);
            prop_assert_eq!(phase.refusal(CallOrigin::GivenBack), given_back);
        }
    }
}
