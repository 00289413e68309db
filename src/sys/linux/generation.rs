//! Whether this process is a fork of the one whose memory it has, by this crate or by other means.

use std::sync::atomic::{AtomicU64, Ordering};

use super::own::{FORKS, PID_BITS, own_word};

/// The process that last read its generation, and that generation: `generation << PID_BITS | pid`. A fork finds the
/// values of its parent.
static CHECKED: AtomicU64 = AtomicU64::new(0);

/// The number of forks, by any means, between the process that was executed and this one. Values in memory that are
/// from another generation belong to the parent. The count starts at the first call, which the creation of a shared
/// object makes.
#[inline]
pub(crate) fn generation() -> u32 {
    let pid_of = |word| word & ((1 << PID_BITS) - 1);
    let own = || u64::from(std::process::id());
    let word = own_word(
        FORKS,
        |word| pid_of(word) == own(),
        || {
            // All threads of a process get the same number: a later thread finds this process in `CHECKED`.
            let generation = match CHECKED.load(Ordering::SeqCst) {
                0 => 0,
                looked if pid_of(looked) == own() => looked >> PID_BITS,
                parent => (parent >> PID_BITS) + 1,
            };
            let word = generation << PID_BITS | own();
            CHECKED.store(word, Ordering::SeqCst);
            word
        },
    );
    (word >> PID_BITS) as u32
}
