use std::mem::discriminant;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Event {
    Vacate,
    Dismiss(Dismissal),
    Terminate,
    TerminateBy(Ending, u64),
    Condemn(Ending),
    Kill(Ending),
    Die,
}

impl Event {
    /// Makes the step, if the event has one.
    fn happen_to(&self, phase: &mut WorkerPhase, start: Instant) -> Option<PhaseStep> {
        match self.clone() {
            Self::Vacate => phase.vacate(),
            Self::Dismiss(why) => return Some(phase.dismiss(why)),
            Self::Terminate => return Some(phase.terminate()),
            Self::TerminateBy(why, at) => return Some(phase.terminate_by(why, after(start, at))),
            Self::Condemn(why) => return Some(phase.condemn(why)),
            Self::Kill(why) => return Some(phase.kill(why)),
            Self::Die => phase.die(),
        }
        None
    }

    /// The reason, if the worker is killed for it, at once or at a time.
    fn kills(&self) -> Option<&Ending> {
        match self {
            Self::TerminateBy(why, _) | Self::Condemn(why) | Self::Kill(why) => Some(why),
            _ => None,
        }
    }
}

fn after(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

fn endings() -> impl Strategy<Value = Ending> {
    prop_oneof![
        (0_u64..3).prop_map(|limit| Ending::TimedOut {
            limit: Duration::from_secs(limit)
        }),
        Just(Ending::Cancelled),
        Just(Ending::Shutdown),
        "[ab]".prop_map(Ending::Protocol),
    ]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let dismissals = [Dismissal::Closed, Dismissal::Retired, Dismissal::Idle];
    let event = prop_oneof![
        4 => Just(Event::Vacate),
        4 => prop::sample::select(dismissals.to_vec()).prop_map(Event::Dismiss),
        4 => Just(Event::Terminate),
        4 => (endings(), 0_u64..10).prop_map(|(why, at)| Event::TerminateBy(why, at)),
        2 => endings().prop_map(Event::Condemn),
        2 => endings().prop_map(Event::Kill),
        1 => Just(Event::Die),
    ];
    prop::collection::vec(event, 0..8)
}

/// What happened to a worker, oldest first, and what follows from it.
struct History<'a>(&'a [Event]);

impl History<'_> {
    /// The events before the worker died. Later ones have no effect.
    fn lifetime(&self) -> &[Event] {
        let death = self.0.iter().position(|event| matches!(event, Event::Die));
        &self.0[..death.unwrap_or(self.0.len())]
    }

    fn is_terminated(&self) -> bool {
        let mut events = self.lifetime().iter();
        events.any(|event| matches!(event, Event::Terminate))
    }

    fn ending(&self) -> Option<Ending> {
        if let Some(why) = self.lifetime().iter().find_map(Event::kills) {
            return Some(why.clone());
        }
        if self.is_terminated() {
            return Some(Ending::Terminated);
        }
        self.lifetime().iter().find_map(|event| match event {
            Event::Dismiss(why) => Some(Ending::Dismissed(*why)),
            _ => None,
        })
    }

    /// When it is killed, in seconds: the first serious ending decides, and a later `kill` makes it earlier.
    fn killed_at(&self) -> Option<u64> {
        let mut events = self
            .lifetime()
            .iter()
            .filter(|event| event.kills().is_some());
        match events.next()? {
            Event::TerminateBy(_, at) => {
                let hastens = events.any(|event| matches!(event, Event::Kill(_)));
                Some(if hastens { 0 } else { *at })
            }
            _ => Some(0),
        }
    }

    /// `asked`: what the supervisor was asked to send before.
    fn fate(
        &self,
        (start, now): (Instant, u64),
        item_ends: Option<Instant>,
        asked: &mut Vec<Fate>,
    ) -> Option<Fate> {
        if self.lifetime().len() < self.0.len() {
            return Some(Fate::Kill);
        }
        let request = match (self.killed_at(), self.ending()) {
            (Some(at), _) if at <= now => return Some(Fate::Kill),
            (Some(at), _) => Fate::Terminate(Some(after(start, at))),
            (None, Some(Ending::Terminated)) => Fate::Terminate(item_ends),
            (None, Some(_)) => Fate::Dismiss(after(start, now) + EXIT_GRACE),
            (None, None) => return None,
        };
        let is_alike = |before: &Fate| discriminant(before) == discriminant(&request);
        if !asked.iter().any(is_alike) {
            asked.push(request);
            return Some(request);
        }
        Some(Fate::Wait(match request {
            Fate::Dismiss(end) => Some(end),
            Fate::Terminate(moment) => moment,
            _ => None,
        }))
    }
}

/// How far a phase is.
fn rank(phase: &mut WorkerPhase, now: Instant) -> u8 {
    let fate = phase.fate(None, || now);
    match (fate, phase.ending()) {
        (None | Some(Fate::Serve(_)), _) => 0,
        (Some(Fate::Kill), _) => 4,
        (Some(_), Some(Ending::Dismissed(_))) => 1,
        (Some(Fate::Terminate(None) | Fate::Wait(None)), _) => 2,
        (Some(_), _) => 3,
    }
}

proptest! {
    #[test]
    fn the_first_serious_ending_wins_whatever_happens_before_and_after(
        events in events(),
        now in 0_u64..10,
        item_ends in any::<Option<u8>>(),
    ) {
        let start = Instant::now();
        let item_ends = item_ends.map(|at| after(start, at.into()));
        let (mut phase, mut asked) = (WorkerPhase::new(), Vec::new());
        for (done, event) in events.iter().enumerate() {
            let _ = event.happen_to(&mut phase, start);
            let history = History(&events[..=done]);
            prop_assert_eq!(phase.ending(), history.ending());
            let fate = phase.fate(item_ends, || after(start, now));
            prop_assert_eq!(fate, history.fate((start, now), item_ends, &mut asked));
        }
    }

    #[test]
    fn a_phase_never_goes_backwards(events in events(), pauses in prop::collection::vec(0_u64..4, 8)) {
        let start = Instant::now();
        let (mut phase, mut now) = (WorkerPhase::new(), 0);
        let (mut before, mut had_vacated, mut served) = (0, false, true);
        for (event, pause) in events.iter().zip(pauses) {
            let _ = event.happen_to(&mut phase, start);
            now += pause;
            let reached = rank(&mut phase, after(start, now));
            prop_assert!(before <= reached, "{:?} in {:?}", event, phase);
            prop_assert!(!had_vacated || phase.has_vacated());
            prop_assert!(served || !phase.is_serving());
            prop_assert!(!phase.takes_more() || phase.is_serving() && !phase.has_vacated());
            (before, had_vacated, served) = (reached, phase.has_vacated(), phase.is_serving());
        }
    }

    #[test]
    fn a_step_says_what_has_changed_and_asks_to_exit_once(events in events(), now in 0_u64..10) {
        let start = Instant::now();
        let seen = |phase: &mut WorkerPhase| {
            let _request = phase.fate(None, || after(start, now)); // A request is returned only once.
            (phase.is_serving(), phase.ending(), phase.fate(None, || after(start, now)))
        };
        let mut phase = WorkerPhase::new();
        let mut requests = 0;
        for event in events {
            let before = seen(&mut phase);
            let step = event.happen_to(&mut phase, start);
            requests += usize::from(step == Some(PhaseStep::AsksToExit));
            let by_itself = matches!(event, Event::Die | Event::Vacate);
            prop_assert_eq!(step.is_none(), by_itself);
            if step == Some(PhaseStep::Stays) {
                prop_assert_eq!(before, seen(&mut phase));
            } else if !by_itself {
                // A kill may come when the time is up anyway.
                let hastened = matches!(event, Event::Kill(_));
                prop_assert!(hastened || before != seen(&mut phase), "{:?}", event);
            }
        }
        prop_assert!(requests <= 1);
    }

    #[test]
    fn a_condemned_worker_never_serves_again(why in endings(), events in events()) {
        let start = Instant::now();
        let mut phase = WorkerPhase::new();
        prop_assert_eq!(phase.condemn(why.clone()), PhaseStep::Moves);
        for event in events {
            let _ = event.happen_to(&mut phase, start);
            prop_assert!(!phase.is_serving() && !phase.takes_more());
            prop_assert_eq!(phase.fate(None, || start), Some(Fate::Kill));
            prop_assert_eq!(phase.ending(), Some(why.clone()));
        }
    }

    #[test]
    fn a_dismissed_worker_may_still_be_terminated_and_condemned(why in endings()) {
        let start = Instant::now();
        let mut phase = WorkerPhase::new();
        prop_assert_eq!(phase.dismiss(Dismissal::Idle), PhaseStep::AsksToExit);
        prop_assert_eq!(phase.fate(None, || start), Some(Fate::Dismiss(start + EXIT_GRACE)));
        prop_assert_eq!(phase.terminate(), PhaseStep::Moves);
        prop_assert_eq!(phase.fate(None, || start), Some(Fate::Terminate(None)));
        prop_assert_eq!(phase.condemn(why.clone()), PhaseStep::Moves);
        prop_assert_eq!(phase.fate(None, || start), Some(Fate::Kill));
        prop_assert_eq!(phase.ending(), Some(why));
    }
}

#[test]
fn a_dismissed_worker_that_stays_is_killed_after_its_time() {
    let start = Instant::now();
    let end = start + EXIT_GRACE;
    let mut phase = WorkerPhase::new();
    let _ = phase.dismiss(Dismissal::Retired);
    assert_eq!(phase.fate(None, || start), Some(Fate::Dismiss(end)));
    let just_before = end - Duration::from_nanos(1);
    let waits = Some(Fate::Wait(Some(end)));
    assert_eq!(phase.fate(None, || just_before), waits);
    assert_eq!(phase.fate(None, || end), Some(Fate::Kill));
    let why = Some(Ending::Dismissed(Dismissal::Retired));
    assert_eq!(phase.ending(), why);
    assert_eq!(phase.terminate(), PhaseStep::Stays, "it is too late");
    assert_eq!(
        (phase.fate(None, || start), phase.ending()),
        (Some(Fate::Kill), why)
    );
}

#[test]
fn a_leaving_worker_takes_no_further_calls_and_finishes_its_own() {
    let mut phase = WorkerPhase::new();
    phase.vacate();
    assert!(phase.is_serving() && !phase.takes_more());
    assert_eq!(phase.fate(None, Instant::now), None);
    assert_eq!(phase.ending(), None);
}
