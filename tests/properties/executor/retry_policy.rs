use proptest::prelude::*;

use super::*;

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0..5_000_000_000_u64).prop_map(Duration::from_nanos),
        (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
        Just(Duration::MAX),
    ]
}

proptest! {
    #[test]
    fn a_pause_without_jitter_doubles_up_to_its_limit(
        first in duration(), most in duration(), retry in 0..200_u32,
    ) {
        let policy = Retry::new(u32::MAX).backoff(first, most).without_jitter();
        let pause = policy.pause(retry, 0);
        if retry == 0 {
            prop_assert_eq!(pause, first.min(most));
        } else {
            prop_assert_eq!(pause, policy.pause(retry - 1, 0).saturating_mul(2).min(most));
        }
    }

    #[test]
    fn a_pause_with_jitter_is_the_random_part_of_its_ceiling(
        first in duration(), most in duration(), retry in 0..200_u32, random: u64, other: u64,
    ) {
        let policy = Retry::new(u32::MAX).backoff(first, most);
        let ceiling = policy.without_jitter().pause(retry, random);
        let (low, high) = (random.min(other), random.max(other));
        prop_assert!(policy.pause(retry, low) <= policy.pause(retry, high));
        prop_assert!(policy.pause(retry, high) <= ceiling);
        prop_assert_eq!(policy.pause(retry, 0), Duration::ZERO);
        let (half, quarter) = (policy.pause(retry, 1 << 63), policy.pause(retry, 1 << 62));
        prop_assert_eq!(half.as_nanos(), ceiling.as_nanos() / 2);
        prop_assert_eq!(quarter.as_nanos(), ceiling.as_nanos() / 4);
        let missing = ceiling - policy.pause(retry, u64::MAX);
        prop_assert!(missing.as_nanos() <= (ceiling.as_nanos() >> 64) + 1);
    }

    #[test]
    fn there_are_as_many_retries_as_the_policy_says(
        retries: u32, attempts in 1..=u32::MAX, elapsed in duration(), random: u64,
    ) {
        let pause = Retry::new(retries).next_pause(attempts, elapsed, random);
        prop_assert_eq!(pause.is_some(), attempts <= retries);
    }

    #[test]
    fn no_attempt_begins_after_the_limit(
        first in duration(), most in duration(), limit in duration(), elapsed in duration(),
        attempts in 1..200_u32, random: u64,
    ) {
        let free = Retry::new(u32::MAX).backoff(first, most);
        let pause = free.next_pause(attempts, elapsed, random);
        let pause = pause.expect("without a limit there is one");
        let limited = free.give_up_after(limit).next_pause(attempts, elapsed, random);
        prop_assert_eq!(limited, (elapsed.saturating_add(pause) <= limit).then_some(pause));
    }
}
