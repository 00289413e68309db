//! The signals of a new process. It blocks none, even if its parent does: no thread of it would accept them. A signal
//! that the parent ignores stays ignored, except for SIGINT and SIGCHLD.
//!
//! A worker leaves SIGINT and SIGTERM to its parent. The sender may be a terminal, or a service manager that signals
//! every process of a control group. A worker has a handler for them instead of ignoring them, because the programs
//! that a task starts would inherit an ignored signal. They do not inherit a handler.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicI32, Ordering};

/// The process whose SIGTERM ends this one. 0 stands for every process outside this one's pid namespace.
static PARENT: AtomicI32 = AtomicI32::new(0);

/// This process, unless a task forked it.
static OWN: AtomicI32 = AtomicI32::new(0);

/// Sets up the signals of a process that was executed. An exec has reset the handlers, but not the blocked signals.
pub(super) fn settle_signals() {
    note_own();
    note_parent();
    arrange();
    // Last: a SIGTERM that has arrived since the exec is handled now.
    unblock_signals();
}

/// Called in a process that its parent has just started or forked.
pub(super) fn note_parent() {
    let parent = rustix::process::getppid();
    let parent = parent.map_or(0, |parent| parent.as_raw_nonzero().get());
    PARENT.store(parent, Ordering::Relaxed);
}

/// Called in a process that this crate has executed or forked.
pub(super) fn note_own() {
    OWN.store(std::process::id().cast_signed(), Ordering::Relaxed);
}

/// A fork inherits the handlers and blocked signals of a program or a preload. The handlers may use resources that the
/// fork does not have. This resets them as in a new process, except for ignored signals and for faults, whose handlers
/// report a stack overflow. Then it sets up the signals of a worker.
pub(crate) fn reset_signals() {
    const KEPT: [libc::c_int; 8] = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGKILL,
        libc::SIGSTOP,
        // `arrange` replaces the handlers of these. In between, the default action could end this process.
        libc::SIGINT,
        libc::SIGTERM,
    ];
    for signal in (1..=libc::SIGRTMAX()).filter(|signal| !KEPT.contains(signal)) {
        if set(signal, libc::SIG_DFL) == libc::SIG_IGN {
            set(signal, libc::SIG_IGN);
        }
    }
    arrange();
    unblock_signals();
}

/// Sets up the signals of a worker, a fork server, or a process that is about to run one function.
fn arrange() {
    // A broken pipe is an error, as in every Rust program from its `main` on. A read from the terminal by a background
    // process is an error too; a write succeeds. By default, either would stop this process silently.
    for signal in [libc::SIGPIPE, libc::SIGTTIN, libc::SIGTTOU] {
        set(signal, libc::SIG_IGN);
    }
    // If SIGCHLD were ignored, a task could not determine how a program that it started has ended.
    if current(libc::SIGCHLD).sa_sigaction == libc::SIG_IGN {
        set(libc::SIGCHLD, libc::SIG_DFL);
    }
    let leave: extern "C" fn(libc::c_int) = leave_to_parent;
    handle(libc::SIGINT, leave as libc::sighandler_t, 0);
    if current(libc::SIGTERM).sa_sigaction != libc::SIG_IGN {
        handle(libc::SIGTERM, end_handler(), libc::SA_SIGINFO);
    }
}

/// Called in a process that runs one function: an interrupt or a request to end then ends it, like any other process.
pub(crate) fn restore_signals() {
    set(libc::SIGINT, libc::SIG_DFL);
    if current(libc::SIGTERM).sa_sigaction == end_handler() {
        set(libc::SIGTERM, libc::SIG_DFL);
    }
}

extern "C" fn leave_to_parent(_: libc::c_int) {}

fn end_handler() -> libc::sighandler_t {
    let end: extern "C" fn(libc::c_int, *const libc::siginfo_t, *mut libc::c_void) = end_if_meant;
    end as libc::sighandler_t
}

/// Ends this process by the signal if the parent or this process itself sent it. A task that handles the signal
/// replaces this handler, and may call it first.
extern "C" fn end_if_meant(
    signal: libc::c_int,
    info: *const libc::siginfo_t,
    _: *mut libc::c_void,
) {
    // SAFETY: the system passes the signal's information to a handler with SA_SIGINFO.
    let info = unsafe { &*info };
    if !matches!(
        info.si_code,
        libc::SI_USER | libc::SI_QUEUE | libc::SI_TKILL
    ) {
        return;
    }
    // SAFETY: a signal with one of these codes says which process sent it.
    let sender = unsafe { info.si_pid() };
    let is_replaced = current(signal).sa_sigaction != end_handler();
    let own = std::process::id().cast_signed();
    // A process that a task forked has the task's process as its parent.
    let is_meant = [PARENT.load(Ordering::Relaxed), own].contains(&sender)
        || own != OWN.load(Ordering::Relaxed);
    if is_meant && !is_replaced {
        set(signal, libc::SIG_DFL);
        // SAFETY: it may be called in a handler. The signal is blocked until the handler returns, and then ends this
        // process.
        unsafe { libc::raise(signal) };
    }
}

/// Sets `handler` for a signal. System calls that it interrupts continue, if the system supports that.
fn handle(signal: libc::c_int, handler: libc::sighandler_t, flags: libc::c_int) {
    // SAFETY: all zeros are the default action, no flags and an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags | libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: the handler has the signature that the flags require, and does only what a handler may do.
    unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
}

/// How a signal is handled now.
fn current(signal: libc::c_int) -> libc::sigaction {
    // SAFETY: all zeros are the default action, no flags and an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: it fills the action; the null means that nothing changes.
    unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
    action
}

/// Sets the default action, or ignores the signal. Returns what was set before.
fn set(signal: libc::c_int, action: libc::sighandler_t) -> libc::sighandler_t {
    // SAFETY: neither action is a function.
    unsafe { libc::signal(signal, action) }
}

/// Whether the system discards the exit statuses of this process's children.
pub(super) fn ignores_children() -> bool {
    let action = current(libc::SIGCHLD);
    action.sa_sigaction == libc::SIG_IGN || action.sa_flags & libc::SA_NOCLDWAIT != 0
}

/// Unblocks all signals of this thread.
fn unblock_signals() {
    let mut none = MaybeUninit::uninit();
    // SAFETY: it fills the set.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: the set was filled above; the null means that the old mask is not needed.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()) };
}

/// Blocks all signals of this thread, so that other threads handle them.
pub(super) fn block_signals() {
    let mut all = MaybeUninit::uninit();
    // SAFETY: it fills the set.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: the set was filled above; the null means that the old mask is not needed.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut()) };
}
