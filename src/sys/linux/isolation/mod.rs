//! The rights that a process gives up permanently. Reading order: [`privilege`]: its privileges, its user and its
//! network, which belong to each thread; [`threads`]: whether there are other threads; [`access`]: files and ports, by
//! Landlock; [`calls`]: system calls, by seccomp.

mod access;
mod calls;
mod privilege;
mod threads;

pub(crate) use access::AccessRules;
pub(crate) use calls::deny_calls;
pub(crate) use privilege::{
    change_user, check_change_of_user, drop_capabilities, forbid_new_privileges, leave_network,
};
pub(crate) use threads::check_no_other_thread;

/// What this system lacks for a complete isolation, as far as that can be determined beforehand. `limits_ports`:
/// whether TCP ports are limited too.
pub(crate) fn missing_for_isolation(limits_ports: bool) -> Vec<&'static str> {
    let mut missing = Vec::new();
    missing.extend(access::missing(limits_ports));
    missing.extend(calls::missing());
    missing
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::fs::File;

    use super::super::fork::{end_after, go_on_in_another_thread, on_copied_thread};
    use super::*;
    use crate::sys::again;

    /// Runs in a process of its own, because the test isolates that process.
    #[test]
    fn rules_for_files_count_for_the_copied_thread_too() {
        const NAME: &str =
            "sys::linux::isolation::tests::rules_for_files_count_for_the_copied_thread_too";
        if !again::is_alone(NAME) {
            return again::start(
                &std::env::current_exe().expect("the test's executable exists"),
                NAME,
            );
        }
        let opens = || File::open("/etc/passwd").is_ok();
        let work = move || {
            let rules = AccessRules::new(true, false).expect("Landlock");
            assert_eq!((opens(), on_copied_thread(opens)), (true, Some(true)));
            rules.apply().expect("it restricts both threads");
            assert_eq!((opens(), on_copied_thread(opens)), (false, Some(false)));
        };
        // SAFETY: the other thread of this process waits, and holds no lock that the child needs.
        let pid = match unsafe { libc::fork() } {
            0 => end_after(|_| {
                go_on_in_another_thread(move || {
                    end_after(|_| {
                        work();
                        0
                    })
                })
            }),
            pid => rustix::process::Pid::from_raw(pid).expect("it was forked"),
        };
        let waited = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        let (_, status) = waited.expect("it is a child").expect("it has ended");
        assert_eq!(status.exit_status(), Some(0));
    }
}
