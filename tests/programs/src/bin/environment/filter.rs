//! Denies system calls by a filter of the kernel (seccomp), as a container runtime does. Processes that this one
//! starts inherit the filter.

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, EINVAL, ENOSYS,
    SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS, sock_filter,
};

/// The filter's response.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    Error(i32),
    Kill,
}

/// Which calls are denied: all calls of a number, or those with such an argument.
#[derive(Clone, Copy)]
enum When {
    Always,
    /// The argument has one of these bits.
    HasBits(u32, u32),
    /// The argument has none of these bits.
    LacksBits(u32, u32),
    /// The argument is at least this number.
    IsAtLeast(u32, u32),
}

struct Denial(libc::c_long, When, Answer);

/// Denies one call by name.
pub(crate) fn deny(name: &str, answer: Answer) {
    install(&[Denial(number(name), When::Always, answer)]);
}

/// Forbids creating a file in memory that could be executed, as the policy `vm.memfd_noexec=2` does.
pub(crate) fn deny_executable_memory() {
    const MFD_NOEXEC_SEAL: u32 = 8;
    install(&[Denial(
        libc::SYS_memfd_create,
        When::LacksBits(1, MFD_NOEXEC_SEAL),
        Answer::Error(libc::EACCES),
    )]);
}

/// Denies everything that Linux 5.4 lacks.
pub(crate) fn behave_like_linux_5_4() {
    let unknown = [
        libc::SYS_openat2,
        libc::SYS_pidfd_getfd,
        libc::SYS_faccessat2,
        libc::SYS_close_range,
        libc::SYS_epoll_pwait2,
        libc::SYS_process_madvise,
        libc::SYS_landlock_create_ruleset,
        libc::SYS_memfd_secret,
        libc::SYS_process_mrelease,
        libc::SYS_futex_waitv,
        libc::SYS_fchmodat2,
    ];
    let unknown = unknown.map(|call| Denial(call, When::Always, Answer::Error(ENOSYS)));
    let invalid = [
        // Operations that read and write a structure: of those, this crate uses only PIDFD_GET_INFO.
        (libc::SYS_ioctl, When::IsAtLeast(1, 0xc000_0000)),
        (libc::SYS_madvise, When::IsAtLeast(2, 22)), // MADV_POPULATE_READ and later.
        (libc::SYS_memfd_create, When::HasBits(1, !7)),
        (libc::SYS_pidfd_open, When::HasBits(1, !0)),
        (libc::SYS_pidfd_send_signal, When::HasBits(3, !0)),
    ];
    let invalid = invalid.map(|(call, when)| Denial(call, when, Answer::Error(EINVAL)));
    install(&unknown.into_iter().chain(invalid).collect::<Vec<_>>());
}

fn number(name: &str) -> libc::c_long {
    match name {
        "clone3" => libc::SYS_clone3,
        "close_range" => libc::SYS_close_range,
        "eventfd2" => libc::SYS_eventfd2,
        "fallocate" => libc::SYS_fallocate,
        "getpriority" => libc::SYS_getpriority,
        "madvise" => libc::SYS_madvise,
        "memfd_create" => libc::SYS_memfd_create,
        "pidfd_open" => libc::SYS_pidfd_open,
        "pidfd_send_signal" => libc::SYS_pidfd_send_signal,
        "prlimit64" => libc::SYS_prlimit64,
        "pwritev2" => libc::SYS_pwritev2,
        "socketpair" => libc::SYS_socketpair,
        "statx" => libc::SYS_statx,
        "waitid" => libc::SYS_waitid,
        other => panic!("{other} is not in this list yet"),
    }
}

fn install(denials: &[Denial]) {
    let mut program = Vec::new();
    for Denial(call, when, answer) in denials {
        let answer = match answer {
            Answer::Error(code) => SECCOMP_RET_ERRNO | code.unsigned_abs(),
            Answer::Kill => SECCOMP_RET_KILL_PROCESS,
        };
        let call = u32::try_from(*call).expect("a number of a call");
        program.push(step(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0)); // The number of the call.
        match *when {
            When::Always => program.push(step(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1)),
            When::HasBits(argument, value)
            | When::LacksBits(argument, value)
            | When::IsAtLeast(argument, value) => {
                // Where to continue if the test holds, and if not: after the response, or at it.
                let (test, holds, fails) = match when {
                    When::LacksBits(..) => (BPF_JSET, 1, 0),
                    When::HasBits(..) => (BPF_JSET, 0, 1),
                    _ => (BPF_JGE, 0, 1),
                };
                program.push(step(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 3));
                // The lower half of the argument, on a little-endian machine.
                program.push(step(BPF_LD | BPF_W | BPF_ABS, 16 + 8 * argument, 0, 0));
                program.push(step(BPF_JMP | test | BPF_K, value, holds, fails));
            }
        }
        program.push(step(BPF_RET | BPF_K, answer, 0, 0));
    }
    program.push(step(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0));
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("a short program"),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: it only sets a flag of this process.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: the system copies the program, which lives until the call returns.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

fn step(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    let code = u16::try_from(code).expect("a code");
    sock_filter { code, jt, jf, k }
}
