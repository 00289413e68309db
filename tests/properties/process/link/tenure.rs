use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Event {
    /// Checks whether it is due, after some seconds, while the worker uses too much memory or not.
    Ask(u64, bool),
    /// A successor could not be started; the pause in seconds.
    Postpone(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        3 => (0_u64..5, any::<bool>()).prop_map(|(pause, grown)| Event::Ask(pause, grown)),
        1 => (0_u64..9).prop_map(Event::Postpone),
    ];
    prop::collection::vec(event, 0..30)
}

proptest! {
    #[test]
    fn each_reason_makes_a_successor_due_once_and_never_too_early(
        max_age in prop::option::of(0_u64..20),
        events in events(),
    ) {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut retirement = Retirement::new(max_age.map(Duration::from_secs), start);
        // The reasons that have not been used: an instant, and the memory.
        let (mut due, mut has_outgrown) = (max_age, false);
        let (mut now, mut failures) = (0, 0);
        for event in events {
            match event {
                Event::Ask(pause, grown) => {
                    now += pause;
                    let is_old = due.is_some_and(|due| due <= now);
                    let outgrows = grown && !has_outgrown;
                    prop_assert_eq!(retirement.is_due(grown, || at(now)), is_old || outgrows);
                    has_outgrown |= grown;
                    due = due.filter(|_| !is_old);
                    prop_assert!(!retirement.is_due(grown, || at(now)), "once");
                }
                Event::Postpone(pause) => {
                    failures += 1;
                    retirement.postpone(at(now), |count| {
                        assert_eq!(count, failures);
                        Duration::from_secs(pause)
                    });
                    due = Some(now + pause);
                }
            }
            prop_assert_eq!(retirement.moment(), due.map(at));
        }
    }
}

#[test]
fn an_age_beyond_the_clock_is_never_reached() {
    let mut retirement = Retirement::new(Some(Duration::MAX), Instant::now());
    assert_eq!(retirement.moment(), None);
    assert!(!retirement.is_due(false, || panic!("there is nothing to compare")));
    retirement.postpone(Instant::now(), |_| Duration::MAX);
    assert!(!retirement.is_due(false, Instant::now));
}
