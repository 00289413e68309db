//! The outcomes of a task's items, gathered over its attempts. Pure.

use crate::cluster::lost::origin_of;
use crate::cluster::record::{ItemRun, ItemRuns, WorkerId};
use crate::executor::relayed_runs::{RelayedOutcomes, RelayedRun};

/// Adds the outcomes of one run, whose first item is `first`.
pub(super) fn gather(outcomes: &mut ItemRuns, ran: RelayedOutcomes, first: u32) {
    outcomes.nanos += u64::try_from(ran.time.as_nanos()).unwrap_or(u64::MAX);
    outcomes
        .runs
        .extend(ran.runs.into_iter().map(|run| match run {
            RelayedRun::Values(mut values) => {
                values.first += first;
                ItemRun::Values(values)
            }
            RelayedRun::Failed {
                first: nth,
                count,
                error,
            } => ItemRun::Failed {
                first: first + nth,
                count,
                error,
            },
        }));
}

/// Adds the worker to errors that name no host.
pub(super) fn name_worker(outcomes: &mut ItemRuns, worker: &WorkerId) {
    for run in &mut outcomes.runs {
        if let ItemRun::Failed { error, .. } = run
            && error.host().is_none()
        {
            *error = error.clone().of_worker(origin_of(worker));
        }
    }
}

/// The name of the outcome of an item with a result, in metrics and spans.
pub(super) const RETURNED: &str = "ok";

/// The name of each outcome in metrics, and the number of its items.
pub(super) fn kinds_of(outcomes: &ItemRuns) -> Vec<(&'static str, usize)> {
    let kind = |run: &ItemRun| match run {
        ItemRun::Values(_) => RETURNED,
        ItemRun::Failed { error, .. } => error.kind(),
    };
    let runs = outcomes.runs.iter();
    runs.map(|run| (kind(run), run.items().len())).collect()
}

/// The name of the outcome in a span.
pub(super) fn kind_of(outcomes: &ItemRuns) -> &'static str {
    match &*outcomes.runs {
        [ItemRun::Failed { error, .. }] => error.kind(),
        _ => RETURNED, // Each item has an outcome of its own.
    }
}

/// Whether the local executor refused all items, because it is shut down.
pub(super) fn is_refused(outcomes: &ItemRuns) -> bool {
    outcomes.runs.iter().all(|run| match run {
        ItemRun::Values(_) => false,
        ItemRun::Failed { error, .. } => error.is_shutdown() && !error.was_started(),
    })
}

/// Removes the items that lost their local worker, and returns their numbers.
pub(super) fn take_lost(outcomes: &mut ItemRuns) -> Vec<u32> {
    let mut lost = Vec::new();
    outcomes.runs.retain(|run| match run {
        ItemRun::Failed {
            first,
            count,
            error,
        } if error.is_worker_lost() => {
            lost.extend(*first..first + count);
            false
        }
        _ => true,
    });
    lost
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;
    use crate::executor::error::{Cause, Death, TaskError};
    use crate::executor::options::TaskName;

    fn error(cause: Cause) -> TaskError {
        TaskError::new(TaskName::Function("f"), true, cause)
    }

    #[test]
    fn the_items_that_lost_their_worker_are_taken_out_one_by_one() {
        let lost = error(Cause::WorkerLost(Death::default()));
        let mut outcomes = ItemRuns::failed(0..2, &error(Cause::Cancelled));
        outcomes.runs.extend(ItemRuns::failed(2..4, &lost).runs);
        outcomes.runs.extend(ItemRuns::failed(7..8, &lost).runs);
        assert_eq!(take_lost(&mut outcomes), [2, 3, 7]);
        assert_eq!(outcomes.runs.len(), 1);
        assert!(take_lost(&mut outcomes).is_empty());
    }

    #[test]
    fn the_outcome_of_a_part_keeps_its_place_in_the_task() {
        let mut outcomes = ItemRuns::default();
        let ran = RelayedOutcomes {
            time: std::time::Duration::from_nanos(7),
            runs: vec![RelayedRun::Failed {
                first: 0,
                count: 1,
                error: error(Cause::Cancelled),
            }],
        };
        gather(&mut outcomes, ran, 5);
        assert_eq!(outcomes.nanos, 7);
        assert_eq!(
            outcomes
                .runs
                .iter()
                .map(|run| run.items().start)
                .collect::<Vec<_>>(),
            [5]
        );
        assert_eq!(kind_of(&outcomes), "cancelled");
    }

    #[test]
    fn only_a_shutdown_before_the_start_of_all_is_a_refusal() {
        let refused = TaskError::new(TaskName::Function("f"), false, Cause::Shutdown);
        assert!(is_refused(&ItemRuns::failed(0..3, &refused)));
        assert!(!is_refused(&ItemRuns::failed(
            0..3,
            &error(Cause::Shutdown)
        )));
        let mut some = ItemRuns::failed(0..1, &refused);
        some.runs
            .extend(ItemRuns::failed(1..2, &error(Cause::Cancelled)).runs);
        assert!(!is_refused(&some));
    }
}
