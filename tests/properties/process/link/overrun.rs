use proptest::prelude::*;

use super::*;

const ITEM: u32 = 5;

#[derive(Clone, Debug)]
enum Event {
    Cancel(Option<u64>),
    MakeLast,
    ShutDown(Option<u64>),
    /// Some seconds pass, and its time may be up.
    Pass(u64),
}

/// Why an item was asked to end.
#[derive(Clone, Copy, Debug)]
enum Origin {
    TimedOut(Option<u64>),
    Condemned,
    Warned(u64),
    Cancelled(Option<u64>),
    Last,
}

fn times() -> impl Strategy<Value = Option<u64>> {
    prop::option::of(0_u64..20)
}

fn origins() -> impl Strategy<Value = Origin> {
    prop_oneof![
        times().prop_map(Origin::TimedOut),
        Just(Origin::Condemned),
        (0_u64..20).prop_map(Origin::Warned),
        times().prop_map(Origin::Cancelled),
        Just(Origin::Last),
    ]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        times().prop_map(Event::Cancel),
        Just(Event::MakeLast),
        times().prop_map(Event::ShutDown),
        (0_u64..5).prop_map(Event::Pass),
    ];
    prop::collection::vec(event, 0..12)
}

proptest! {
    #[test]
    fn an_item_that_was_asked_to_end_is_answered_once_and_expires_in_time(
        origin in origins(),
        events in events(),
    ) {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (mut overrun, mut ends, mut answered, mut is_last) = match origin {
            Origin::TimedOut(ends) => {
                (Overrun::timed_out(ITEM, Duration::ZERO, ends.map(at)), ends, true, false)
            }
            Origin::Condemned => (Overrun::condemned(ITEM, Duration::ZERO), None, false, false),
            Origin::Warned(end) => (Overrun::warned(ITEM, at(end)), Some(end), false, false),
            Origin::Cancelled(ends) => (Overrun::cancelled(ITEM, ends.map(at)), ends, true, true),
            Origin::Last => (Overrun::last(ITEM), None, false, true),
        };
        let why = overrun.why();
        let mut now = 0;
        for event in events {
            match event {
                Event::Cancel(end) => {
                    prop_assert_eq!(overrun.cancel(end.map(at)), !answered, "one answer");
                    (ends, answered, is_last) = (ends.or(end), true, true);
                }
                Event::MakeLast => {
                    overrun.make_last();
                    is_last = true;
                }
                Event::ShutDown(end) => {
                    overrun.shut_down(end.map(at));
                    ends = match (origin, ends, end) {
                        (Origin::Warned(_), _, end) => end, // It continues if the shutdown is called off.
                        (_, Some(own), Some(end)) => Some(own.min(end)),
                        (_, own, _) => own,
                    };
                }
                Event::Pass(seconds) => {
                    now += seconds;
                    let is_over = ends.is_some_and(|end| end <= now);
                    prop_assert_eq!(overrun.expires(at(now)), is_over);
                    ends = ends.filter(|_| !is_over);
                    prop_assert!(!overrun.expires(at(now)), "once");
                }
            }
            prop_assert_eq!(overrun.ends(), ends.map(at));
            prop_assert_eq!((overrun.is_answered(), overrun.is_last()), (answered, is_last));
            prop_assert_eq!(overrun.is_void(), matches!(origin, Origin::Condemned) && !answered);
            prop_assert_eq!(overrun.why(), why.clone());
        }
    }

    #[test]
    fn it_is_settled_by_itself(next in 0..2 * ITEM) {
        let until = Overrun::last(ITEM).settles_until(next);
        let together = if next < ITEM { next..ITEM } else { next..next + 1 };
        prop_assert_eq!(next..until, together);
    }
}
