//! The state of all locks of the process, and the thread that waits for suspects. User code never runs under
//! this lock or on that thread.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Write as _};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::order::LockOrder;
use super::report::{Pair, Report};
use super::suspects::{Suspects, Verdict};
use super::takes::{LockNumber, Take, Taker, Takes};

static STATE: LazyLock<Mutex<DetectorState>> = LazyLock::new(Mutex::default);

/// Wakes the thread when the suspects change.
static SUSPECTS_CHANGED: Condvar = Condvar::new();

#[derive(Debug, Default)]
pub(super) struct DetectorState {
    pub(super) takes: Takes,
    pub(super) order: LockOrder,
    suspects: Suspects,
    is_watched: bool,
    settings: Settings,
    /// The reports made so far, and whether each was a deadlock. Bounded by the places in the source.
    reported: HashSet<(bool, Pair)>,
}

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) patience: Duration,
    pub(super) panics: bool,
    pub(super) hook: Arc<dyn Fn(&Report) + Send + Sync>,
}

pub(super) fn state() -> MutexGuard<'static, DetectorState> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Applies settings. A new hook also receives reports that an earlier hook has received, when they recur.
pub(super) fn set(settings: Settings) {
    let mut state = state();
    state.settings = settings;
    state.reported.clear();
}

/// Records a wait, and adds a suspect if it closes a cycle.
pub(super) fn begin_wait(by: Taker, lock: LockNumber) -> (Take, Option<Arc<Verdict>>) {
    let mut state = state();
    let wait = state.takes.wait(by, lock);
    let verdict = state.suspect(&wait);
    (wait, verdict)
}

/// Records that a lock is taken.
pub(super) fn begin_hold(by: Taker, lock: LockNumber) -> Take {
    state().takes.hold(by, lock)
}

/// Records the end of a hold. Returns a report if the orders in which locks were taken under it are opposite to others.
pub(super) fn end_hold(hold: &Take) -> Option<Report> {
    let mut state = state();
    state.takes.release(hold);
    state.order.close(hold, hold.by.owner.is_current())
}

/// Records the order of all locks that the taker holds and the one that it takes.
pub(super) fn note_order(by: Taker, lock: LockNumber) {
    let state = &mut *state();
    let holds = state.takes.held_by(by.owner);
    let held: Vec<LockNumber> = holds.iter().map(|hold| hold.lock).collect();
    for hold in holds.iter().filter(|hold| by.flow.follows(hold.by.flow)) {
        state.order.note(hold, &held, lock, by.place);
    }
}

pub(super) fn end_wait(wait: &Take, is_suspect: bool) {
    let mut state = state();
    state.takes.end_wait(wait);
    if is_suspect {
        state.suspects.remove(wait);
        SUSPECTS_CHANGED.notify_one(); // Lets the thread end.
    }
}

/// Runs until there are no suspects.
fn watch_suspects() {
    let mut state = state();
    while let Some(due) = state.suspects.next_due() {
        let now = Instant::now();
        if due > now {
            let timeout = SUSPECTS_CHANGED.wait_timeout(state, due - now);
            state = timeout.unwrap_or_else(PoisonError::into_inner).0;
            continue;
        }
        let judged = state.judge_due(now);
        drop(state); // A waker is code of another crate.
        judged.iter().for_each(|verdict| verdict.wake());
        state = self::state();
    }
    state.is_watched = false;
}

impl DetectorState {
    fn suspect(&mut self, wait: &Take) -> Option<Arc<Verdict>> {
        let circle = self.takes.circle(wait)?;
        let patience = self.settings.patience;
        if patience.is_zero() {
            return Some(Arc::new(Verdict::new(circle.report())));
        }
        let due = Instant::now().checked_add(patience)?;
        let verdict = self.suspects.add(due, *wait, circle);
        if self.is_watched {
            SUSPECTS_CHANGED.notify_one();
        } else {
            let watch = thread::Builder::new().name("deadlock-watch".to_owned());
            self.is_watched = watch.spawn(watch_suspects).is_ok();
        }
        Some(verdict)
    }

    fn judge_due(&mut self, now: Instant) -> Vec<Arc<Verdict>> {
        let mut judged = Vec::new();
        while self.suspects.next_due().is_some_and(|due| due <= now) {
            let patience = self.settings.patience.max(Duration::from_millis(1));
            judged.extend(self.suspects.judge_next(&self.takes, patience));
        }
        judged
    }
}

/// Panics or calls the hook, without holding the lock.
///
/// # Panics
/// If this is a deadlock and deadlocks panic.
pub(super) fn deliver(report: &Report) {
    let (settings, is_new) = {
        let mut state = state();
        let what = (report.is_deadlock(), report.first_pair());
        (state.settings.clone(), state.reported.insert(what))
    };
    if settings.panics && report.is_deadlock() {
        panic!("{report}");
    }
    if is_new {
        (settings.hook)(report);
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(5),
            panics: true,
            hook: Arc::new(print),
        }
    }
}

/// Not `eprintln`: the test harness captures that, and never shows it if the test hangs.
fn print(report: &Report) {
    let _ = writeln!(io::stderr(), "{report}");
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("patience", &self.patience)
            .field("panics", &self.panics)
            .finish_non_exhaustive()
    }
}
