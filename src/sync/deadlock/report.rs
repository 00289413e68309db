//! The report for users: which task holds what, where it was taken, and where the next lock is taken.

use std::fmt;
use std::panic::Location;

use crate::sync::owner::LockOwner;

/// A place in the source that takes a lock.
pub(in crate::sync) type CodePlace = &'static Location<'static>;

/// A deadlock, or locks taken in opposite orders, with the places in the source.
///
/// [`Detection::on_report`](super::Detection::on_report) receives it. `Display` shows all of it; a lock that
/// panics uses the same text. The text begins with `deadlock: ` or `possible deadlock: `, then has one line for
/// each task or order.
///
/// ```
/// use concurrent_futures::sync::deadlock::Detection;
///
/// Detection::new()
///     .on_report(|report| {
///         eprintln!("{report}");
///         assert!(!report.is_deadlock(), "it did not panic");
///     })
///     .enable();
/// ```
#[derive(Clone, Debug)]
pub struct Report(pub(super) Finding);

#[derive(Clone, Debug)]
pub(super) enum Finding {
    /// Each task waits for a lock that the next one holds; the last waits for a lock that the first holds.
    Deadlock(Vec<WaitStep>),
    /// Two locks, perhaps with others between them, were taken in the opposite order `before`.
    Orders { now: WaitStep, before: Vec<Pair> },
}

/// A task that holds one lock and takes another.
#[derive(Clone, Debug)]
pub(super) struct WaitStep {
    pub(super) owner: LockOwner,
    pub(super) places: Pair,
}

/// Where the held lock was taken, and where the next one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    pub(super) held: CodePlace,
    pub(super) wanted: CodePlace,
}

impl Report {
    /// Whether tasks wait for each other now, or one waits for itself. If false, locks are taken in opposite
    /// orders, which can become a deadlock.
    pub fn is_deadlock(&self) -> bool {
        matches!(self.0, Finding::Deadlock(_))
    }

    /// The places in the source, in pairs: where a held lock was taken, and where the same task takes the next
    /// one. The pair of the reporting task comes first.
    pub fn places(&self) -> Vec<[&'static Location<'static>; 2]> {
        let pairs: Vec<Pair> = match &self.0 {
            Finding::Deadlock(steps) => steps.iter().map(|step| step.places).collect(),
            Finding::Orders { now, before } => [&[now.places], before.as_slice()].concat(),
        };
        let places = pairs.into_iter();
        places.map(|pair| [pair.held, pair.wanted]).collect()
    }

    /// The pair of places that identifies the report; each is reported once.
    pub(super) fn first_pair(&self) -> Pair {
        match &self.0 {
            Finding::Deadlock(steps) => steps[0].places,
            Finding::Orders { now, .. } => now.places,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Finding::Deadlock(steps) if steps.len() == 1 => {
                let WaitStep { owner, places } = &steps[0];
                let Pair { held, wanted } = places;
                write!(
                    f,
                    "deadlock: {owner} waits at {wanted} for a lock that it already holds, \
                     taken at {held}"
                )
            }
            Finding::Deadlock(steps) => {
                write!(f, "deadlock: {} tasks wait for each other", steps.len())?;
                steps.iter().try_for_each(|step| {
                    let Pair { held, wanted } = step.places;
                    let owner = step.owner;
                    write!(
                        f,
                        "\n  {owner} holds a lock taken at {held} and waits for the next at {wanted}"
                    )
                })
            }
            Finding::Orders { now, before } => {
                let Pair { held, wanted } = now.places;
                let owner = now.owner;
                write!(
                    f,
                    "possible deadlock: locks are taken in opposite orders\
                     \n  {owner} held a lock taken at {held} and took another at {wanted}"
                )?;
                before.iter().try_for_each(|Pair { held, wanted }| {
                    write!(
                        f,
                        "\n  earlier, another task held a lock taken at {held} and took another at {wanted}"
                    )
                })
            }
        }
    }
}
