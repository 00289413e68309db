//! Whether this process is a fork of the one whose memory it has, whoever forked it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::own::{FORKS, PID_BITS, own_word};

/// The process that last looked at its generation, and that generation: `generation << PID_BITS | pid`. A fork finds
/// its parent's.
static LOOKED: AtomicU64 = AtomicU64::new(0);

/// The number of forks between the process that was executed and this one, whoever made them. What a process finds in
/// memory from another generation belongs to its parent. It counts from the first call on: what makes a shared object
/// calls it.
pub(crate) fn generation() -> u32 {
    let pid_of = |word| word & ((1 << PID_BITS) - 1);
    let own = || u64::from(std::process::id());
    let word = own_word(
        FORKS,
        |word| pid_of(word) == own(),
        || {
            // All threads of a process find the same: who looks later finds this process here.
            let generation = match LOOKED.load(Ordering::SeqCst) {
                0 => 0,
                looked if pid_of(looked) == own() => looked >> PID_BITS,
                parent => (parent >> PID_BITS) + 1,
            };
            let word = generation << PID_BITS | own();
            LOOKED.store(word, Ordering::SeqCst);
            word
        },
    );
    (word >> PID_BITS) as u32
}
