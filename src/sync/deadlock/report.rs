//! What was found, for people: who holds what since where, and where the next was taken.

use std::fmt;
use std::panic::Location;

use crate::sync::owner::LockOwner;

/// A place in the source: where a lock was taken, or is wanted.
pub(in crate::sync) type CodePlace = &'static Location<'static>;

/// A deadlock, or locks taken in opposite orders, with the places in the source.
///
/// [`Detection::on_report`](super::Detection::on_report) gets it. `Display` tells all there is, and
/// is what a lock panics with.
#[derive(Clone, Debug)]
pub struct Report(pub(super) Finding);

#[derive(Clone, Debug)]
pub(super) enum Finding {
    /// Each waits for a lock that the next one holds; the last waits for one that the first holds.
    Deadlock(Vec<WaitStep>),
    /// Two locks, and others between them perhaps, were taken the other way round `before`.
    Orders { now: WaitStep, before: Vec<Pair> },
}

/// One who holds a lock and wants another.
#[derive(Clone, Debug)]
pub(super) struct WaitStep {
    pub(super) owner: LockOwner,
    pub(super) places: Pair,
}

/// Where a lock was taken that is held, and where the next is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    pub(super) held: CodePlace,
    pub(super) wanted: CodePlace,
}

impl Report {
    /// Whether tasks wait for each other now, or one for itself. If not, they may do so another
    /// time, since they take locks in opposite orders.
    pub fn is_deadlock(&self) -> bool {
        matches!(self.0, Finding::Deadlock(_))
    }

    /// The places in the source, in pairs: where a lock was taken that is held, and where the next
    /// one was wanted by the same task. The pair of the task that this was noticed in comes first.
    pub fn places(&self) -> Vec<[&'static Location<'static>; 2]> {
        let pairs: Vec<Pair> = match &self.0 {
            Finding::Deadlock(steps) => steps.iter().map(|step| step.places).collect(),
            Finding::Orders { now, before } => [&[now.places], before.as_slice()].concat(),
        };
        let places = pairs.into_iter();
        places.map(|pair| [pair.held, pair.wanted]).collect()
    }

    /// The pair of places that it is told for once.
    pub(super) fn first_pair(&self) -> Pair {
        match &self.0 {
            Finding::Deadlock(steps) => steps[0].places,
            Finding::Orders { now, .. } => now.places,
        }
    }

    /// Whether one place in the source takes a lock that it holds itself. That can be a function
    /// which calls itself, but branches of one task that run the same code look just like it.
    pub(super) fn may_be_branches(&self) -> bool {
        match &self.0 {
            Finding::Deadlock(steps) => {
                steps.len() == 1 && steps[0].places.held == steps[0].places.wanted
            }
            Finding::Orders { .. } => false,
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
                    "deadlock: {owner} waits at {wanted} for a lock that it took itself at {held}"
                )?;
                if self.may_be_branches() {
                    f.write_str(" (unless another branch of the task has it and lets go)")?;
                }
                Ok(())
            }
            Finding::Deadlock(steps) => {
                write!(f, "deadlock: {} tasks wait for each other", steps.len())?;
                steps.iter().try_for_each(|step| {
                    let Pair { held, wanted } = step.places;
                    let owner = step.owner;
                    write!(
                        f,
                        "\n  {owner} has a lock from {held} and waits at {wanted}"
                    )
                })
            }
            Finding::Orders { now, before } => {
                let Pair { held, wanted } = now.places;
                let owner = now.owner;
                write!(
                    f,
                    "locks are taken in opposite orders, which can be a deadlock\
                     \n  {owner} has a lock from {held} and takes another at {wanted}"
                )?;
                before.iter().try_for_each(|Pair { held, wanted }| {
                    write!(
                        f,
                        "\n  before, a lock was had from {held} and another taken at {wanted}"
                    )
                })
            }
        }
    }
}
