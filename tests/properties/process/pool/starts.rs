use proptest::prelude::*;

use super::*;

/// Something that happens to a pool, some milliseconds after the last.
#[derive(Clone, Debug)]
enum Event {
    Failed {
        kind: FailureKind,
        others: usize,
        works: bool,
        is_kept: bool,
        is_needed: bool,
    },
    CutOff,
    Ready,
    Worked,
    DiedUnused,
    WorkArrived,
    WarmUp,
}

fn event() -> impl Strategy<Value = Event> {
    let kind = prop_oneof![
        4 => Just(FailureKind::Lost),
        3 => Just(FailureKind::Refused),
        2 => Just(FailureKind::Permanent),
    ];
    let failed = (
        kind,
        0..4_usize,
        any::<bool>(),
        any::<bool>(),
        prop::bool::weighted(0.8),
    );
    prop_oneof![
        8 => failed.prop_map(|(kind, others, works, is_kept, is_needed)| Event::Failed {
            kind,
            others,
            works: works && others > 0,
            is_kept,
            is_needed,
        }),
        1 => Just(Event::CutOff),
        1 => Just(Event::Ready),
        1 => Just(Event::Worked),
        3 => Just(Event::DiedUnused),
        2 => Just(Event::WorkArrived),
        1 => Just(Event::WarmUp),
    ]
}

/// Everything that has happened, with the verdicts. The model needs nothing else: it derives each answer from the
/// history.
#[derive(Default)]
struct History(Vec<(Instant, Event, Option<StartVerdict>)>);

impl History {
    /// What happened after the last event of some kind.
    fn since(
        &self,
        end: impl Fn(&Event, Option<&StartVerdict>) -> bool,
    ) -> &[(Instant, Event, Option<StartVerdict>)] {
        let last = self
            .0
            .iter()
            .rposition(|(_, event, verdict)| end(event, verdict.as_ref()));
        &self.0[last.map_or(0, |last| last + 1)..]
    }

    fn since_success(&self) -> &[(Instant, Event, Option<StartVerdict>)] {
        self.since(|event, _| matches!(event, Event::Ready | Event::WarmUp))
    }

    fn failures(&self) -> usize {
        let row = self.since(|event, verdict| {
            matches!(event, Event::Ready | Event::WarmUp)
                || verdict == Some(&StartVerdict::FailWaiting)
        });
        let mut count = 0;
        let mut refused_until = None;
        for (at, event, _) in row {
            let Event::Failed { kind, .. } = event else {
                continue;
            };
            if *kind == FailureKind::Refused {
                if refused_until.is_some_and(|until| *at < until) {
                    continue; // One of several refusals at the same time.
                }
                refused_until = Some(*at + pause(count));
            }
            count += 1;
        }
        count
    }

    fn is_broken(&self) -> bool {
        self.since_success().iter().any(|(_, event, verdict)| {
            matches!(
                event,
                Event::Failed {
                    kind: FailureKind::Permanent,
                    ..
                }
            ) && *verdict == Some(StartVerdict::FailWaiting)
        })
    }

    fn last_failed(&self) -> Option<usize> {
        let is_failed = |(_, event, _): &(_, Event, _)| matches!(event, Event::Failed { .. });
        self.0.iter().rposition(is_failed)
    }

    fn gave_up(&self) -> bool {
        let row = self
            .since(|event, _| matches!(event, Event::Ready | Event::WarmUp | Event::WorkArrived));
        row.iter()
            .any(|(_, _, verdict)| *verdict == Some(StartVerdict::FailWaiting))
    }

    fn delayed_until(&self) -> Option<Instant> {
        let row = self.since_success().iter().rev();
        row.filter_map(|(at, _, verdict)| match verdict {
            Some(StartVerdict::Release(pause)) => Some(*at + *pause),
            _ => None,
        })
        .next()
    }

    fn permit(&self, now: Instant) -> Option<StartPermit> {
        (!self.is_broken()).then(|| StartPermit {
            for_kept: !self.gave_up(),
            first_only: self.delayed_until().is_some_and(|until| now < until),
        })
    }

    fn starts_after(&self) -> Option<Instant> {
        let row = self.since(|event, _| matches!(event, Event::Worked));
        let deaths = row
            .iter()
            .filter(|(_, event, _)| matches!(event, Event::DiedUnused));
        let deaths: Vec<_> = deaths.map(|(at, ..)| *at).collect();
        deaths.last().map(|last| *last + pause(deaths.len() - 1))
    }

    fn missed(&self) -> usize {
        let is_missed = |(_, event, verdict): &&(_, Event, Option<StartVerdict>)| match verdict {
            Some(StartVerdict::TryAgain(_)) => false,
            Some(_) => true,
            None => matches!(event, Event::CutOff),
        };
        self.0.iter().filter(is_missed).count()
    }
}

/// 50 ms, then 100 ms, and so on, up to about a minute.
fn pause(doublings: usize) -> Duration {
    Duration::from_millis(50 << doublings.min(10))
}

proptest! {
    #[test]
    fn the_reaction_to_a_start_follows_from_the_history_of_starts(
        events in prop::collection::vec((event(), 0..2_000_u64), 1..60),
    ) {
        let mut starts = Starts::default();
        let mut history = History::default();
        let mut now = Instant::now();
        for (number, (event, millis)) in events.into_iter().enumerate() {
            now += Duration::from_millis(millis);
            let mut verdict = None;
            match event {
                Event::Failed { kind, others, works, is_kept, is_needed } => {
                    let known = Event::Failed { kind, others, works, is_kept, is_needed };
                    history.0.push((now, known, None));
                    let failures = history.failures();
                    history.0.pop();
                    let failure = InitFailure { reason: number.to_string(), ..InitFailure::default() };
                    let start = FailedStart { failure, kind, others, works, is_kept, is_needed };
                    let found = starts.failed(start, now);
                    let is_over = failures >= 3 || history.is_broken() || !is_needed;
                    let is_hopeless = others == 0 || !works && failures >= 3 * (2 + others);
                    let expected = match (is_over, is_hopeless) {
                        (false, _) => StartVerdict::TryAgain(pause(failures - 1)),
                        (true, true) => StartVerdict::FailWaiting,
                        (true, false) if works && is_kept && is_needed => StartVerdict::KeepTrying(pause(failures)),
                        (true, false) => StartVerdict::Release(pause(failures)),
                    };
                    prop_assert_eq!(&found, &expected);
                    verdict = Some(found);
                    prop_assert_eq!(starts.last_failure().reason, number.to_string());
                }
                Event::CutOff => starts.cut_off(),
                Event::Ready => starts.ready(),
                Event::Worked => starts.worked(),
                Event::DiedUnused => starts.died_unused(now),
                Event::WorkArrived => starts.work_arrived(),
                Event::WarmUp => starts.warm_up(),
            }
            history.0.push((now, event, verdict));
            prop_assert_eq!(starts.permit(now), history.permit(now));
            prop_assert_eq!(starts.starts_after(), history.starts_after());
            prop_assert_eq!(starts.missed(), history.missed() as u64);
            let refusal = starts.refusal();
            let told = refusal.map(|failure| (failure.broken, failure.reason));
            let number = history.last_failed().map(|number| (true, number.to_string()));
            prop_assert_eq!(told, number.filter(|_| history.is_broken()));
        }
    }

    #[test]
    fn a_pool_without_workers_gives_up_after_three_starts_of_each_place(
        places in 1..8_usize,
        for_good in any::<bool>(),
    ) {
        let kind = if for_good { FailureKind::Permanent } else { FailureKind::Lost };
        let mut starts = Starts::default();
        let now = Instant::now();
        let mut left = places;
        for _ in 0..3 * places {
            let start = FailedStart {
                failure: InitFailure::default(),
                kind,
                others: left - 1,
                works: false,
                is_kept: false,
                is_needed: true,
            };
            match starts.failed(start, now) {
                StartVerdict::TryAgain(_) => {}
                StartVerdict::KeepTrying(_) => prop_assert!(false, "nothing works"),
                StartVerdict::Release(_) => left -= 1,
                StartVerdict::FailWaiting => {
                    let permit = starts.permit(now);
                    prop_assert_eq!(permit.is_none(), for_good);
                    prop_assert!(permit.is_none_or(|permit| !permit.for_kept));
                    return Ok(());
                }
            }
            prop_assert!(left > 0);
        }
        prop_assert!(false, "it never gave up");
    }

    /// For example, forty starts that compete for descriptors.
    #[test]
    fn refusals_of_many_starts_at_once_count_as_one_failure(places in 2..100_usize) {
        let mut starts = Starts::default();
        let now = Instant::now();
        let refused = |others| FailedStart {
            failure: InitFailure::default(),
            kind: FailureKind::Refused,
            others,
            works: false,
            is_kept: false,
            is_needed: true,
        };
        for (round, at) in [(0, 0), (1, 50), (2, 150)] {
            for left in (0..places).rev() {
                let verdict = starts.failed(refused(left), now + Duration::from_millis(at));
                match (round, left) {
                    (2, 0) => prop_assert_eq!(verdict, StartVerdict::FailWaiting),
                    (2, _) => prop_assert_eq!(verdict, StartVerdict::Release(pause(3))),
                    (round, _) => prop_assert_eq!(verdict, StartVerdict::TryAgain(pause(round))),
                }
            }
        }
    }
}
