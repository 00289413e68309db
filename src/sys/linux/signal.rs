//! What a new process makes of the signals that it finds.

/// Interrupts are the parent's business, and a broken pipe is an error, not an end, as in every
/// Rust program (where `main` has not begun yet, the latter is not yet so).
pub(super) fn settle_signals() {
    for signal in [libc::SIGINT, libc::SIGPIPE] {
        // SAFETY: to ignore a signal installs no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// In a process that is on its own: an interrupt ends it, as any other.
pub(crate) fn restore_interrupts() {
    // SAFETY: the default action is no function that could be missing.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
}

/// A fork inherits the handlers and blocked signals of a program or a preload. The handlers may use
/// resources that the fork does not have. This resets them as in a new process, except for faults, whose
/// handlers report a stack overflow, and for ignored signals.
pub(crate) fn reset_signals() {
    const KEPT: [libc::c_int; 6] = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGKILL,
        libc::SIGSTOP,
    ];
    for signal in (1..=libc::SIGRTMAX()).filter(|signal| !KEPT.contains(signal)) {
        // SAFETY: the default action is no function that could be missing.
        let before = unsafe { libc::signal(signal, libc::SIG_DFL) };
        if before == libc::SIG_IGN {
            // SAFETY: neither is ignoring.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
    }
    let mut none = std::mem::MaybeUninit::uninit();
    // SAFETY: it fills the set that it receives.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: the set was filled above; the null says that the old mask is not wanted.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()) };
}

/// From now on no signal interrupts this thread, if another can take it.
pub(super) fn block_signals() {
    let mut all = std::mem::MaybeUninit::uninit();
    // SAFETY: it fills the set that it receives.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: the set was filled above; the null says that the old mask is not wanted.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut()) };
}
