//! System calls that no task needs, denied by seccomp: inspecting other processes, loading code into the system,
//! mounting, gaining rights in a namespace, and new or rare interfaces, in which most faults of the system are found.
//!
//! A denied call returns an error, as it does for an ordinary user. So libraries that try one continue without it.

use std::io;
use std::ops::Range;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads, sock_filter,
};

type Calls = Vec<(c_long, Vec<SeccompRule>)>;

// Numbers that libc does not name on each of the processors. Numbers from 424 on are the same on all.
const QUOTACTL_FD: c_long = 443;
const PROCESS_MRELEASE: c_long = 448;
const FCHMODAT2: c_long = 452;
const SETXATTRAT: c_long = 463;
const REMOVEXATTRAT: c_long = 466;
const OPEN_TREE_ATTR: c_long = 467;
const FILE_SETATTR: c_long = 469;
const KEXEC_FILE_LOAD: c_long = if cfg!(target_arch = "x86_64") {
    320
} else {
    294
};

/// Calls that are denied for all arguments.
const DENIED: &[c_long] = &[
    // Access to other processes, their memory and their descriptors.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    PROCESS_MRELEASE,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_perf_event_open,
    libc::SYS_fanotify_init,
    // Keys of the user.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Objects of System V and message queues, which only the user protects. Their ids can be guessed, so calls that
    // take an id are denied too.
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    // Mounts, and other views of the files.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    QUOTACTL_FD,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // Namespaces.
    libc::SYS_unshare,
    libc::SYS_setns,
    // Code for the system, and its state.
    libc::SYS_bpf,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    KEXEC_FILE_LOAD,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    // Large interfaces that reach deep into the system.
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// Calls that are denied to a process that may write no file, because Landlock does not cover them.
const METADATA: &[c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    SETXATTRAT,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    REMOVEXATTRAT,
    FILE_SETATTR,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
    libc::SYS_utimensat,
];

/// The flags of `clone` that create a namespace.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// The kinds of sockets that a process may create. A socket with a path or an abstract name could reach any service of
/// the user, so only pairs of these are allowed.
const FAMILIES: [libc::c_int; 3] = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Denies, for all threads, the calls that no task needs. Without `may_write`, also those that change attributes of
/// files. `guarded` is the parent if Landlock cannot forbid signals to it here.
pub(crate) fn deny_calls(may_write: bool, guarded: Option<u32>) -> io::Result<()> {
    let all = |calls: &'static [c_long]| calls.iter().map(|call| (*call, Vec::new()));
    let mut denied: Calls = all(DENIED).collect();
    denied.extend(limited());
    if !may_write {
        denied.extend(all(METADATA));
    }
    if let Some(parent) = guarded {
        denied.extend(signals(parent));
    }
    install(denied, libc::EPERM)?;
    // Its flags are in memory, which a filter cannot read. Libraries then use `clone`.
    install(vec![(libc::SYS_clone3, Vec::new())], libc::ENOSYS)
}

/// Calls that are denied only for arguments that no task needs.
fn limited() -> Calls {
    let is = |at, value: libc::c_int| rule(&[(at, SeccompCmpOp::Eq, value)]);
    let masked = |mask: libc::c_int| SeccompCmpOp::MaskedEq(mask as u64);
    let flag = |flag: &libc::c_int| rule(&[(0, masked(*flag), *flag)]);
    let other_families = FAMILIES.map(|family| (0, SeccompCmpOp::Ne, family));
    let kind = |kind| rule(&[(1, masked(0xf), kind)]);
    vec![
        (libc::SYS_clone, NAMESPACES.iter().map(flag).collect()),
        (libc::SYS_socket, vec![rule(&other_families)]),
        // A socket of this kind can send to any path.
        (
            libc::SYS_socketpair,
            vec![kind(libc::SOCK_DGRAM), kind(libc::SOCK_RAW)],
        ),
        // Input for the terminal, as if the user had typed it.
        (
            libc::SYS_ioctl,
            vec![
                is(1, libc::TIOCSTI as libc::c_int),
                is(1, libc::TIOCLINUX as libc::c_int),
            ],
        ),
        // Limits and priorities of another process, of a group, or of all processes of the user.
        (libc::SYS_prlimit64, vec![rule(&[(0, SeccompCmpOp::Ne, 0)])]),
        (
            libc::SYS_setpriority,
            vec![rule(&[(
                0,
                SeccompCmpOp::Ne,
                libc::PRIO_PROCESS as libc::c_int,
            )])],
        ),
        (
            libc::SYS_ioprio_set,
            vec![rule(&[(0, SeccompCmpOp::Ne, IOPRIO_WHO_PROCESS)])],
        ),
    ]
}

const IOPRIO_WHO_PROCESS: libc::c_int = 1;

/// Signals to certain processes, to all, and through descriptors, whose process a filter cannot see.
fn signals(parent: u32) -> Calls {
    let forked_by = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    let group_of = |pid: &i32| rustix::process::getpgid(rustix::process::Pid::from_raw(*pid)).ok();
    let processes: Vec<_> = [parent.cast_signed()]
        .into_iter()
        .chain(forked_by)
        .collect();
    let first = |value: &libc::c_int| rule(&[(0, SeccompCmpOp::Eq, *value)]);
    let to_them = || processes.iter().map(first);
    // A negative number is a process group, named by its first process, or stands for all processes.
    let groups = processes.iter().filter_map(group_of);
    let groups: Vec<_> = groups
        .map(|group| -group.as_raw_nonzero().get())
        .chain([-1])
        .collect();
    let owner = |at, command: libc::c_int| rule(&[(at, SeccompCmpOp::Eq, command)]);
    const FIOSETOWN: libc::c_int = 0x8901;
    const SIOCSPGRP: libc::c_int = 0x8902;
    vec![
        (
            libc::SYS_kill,
            to_them().chain(groups.iter().map(first)).collect(),
        ),
        (libc::SYS_tkill, to_them().collect()),
        (libc::SYS_tgkill, to_them().collect()),
        (libc::SYS_rt_sigqueueinfo, to_them().collect()),
        (libc::SYS_rt_tgsigqueueinfo, to_them().collect()),
        (libc::SYS_pidfd_send_signal, Vec::new()),
        // The system sends signals to the owner of a descriptor.
        (
            libc::SYS_fcntl,
            [F_SETSIG, libc::F_SETOWN, F_SETOWN_EX]
                .map(|command| owner(1, command))
                .into(),
        ),
        (
            libc::SYS_ioctl,
            [FIOSETOWN, SIOCSPGRP]
                .map(|command| owner(1, command))
                .into(),
        ),
    ]
}

const F_SETSIG: libc::c_int = 10;
const F_SETOWN_EX: libc::c_int = 15;

/// Matches a call if each of these arguments, as a 32-bit number, satisfies its comparison.
fn rule(conditions: &[(u8, SeccompCmpOp, libc::c_int)]) -> SeccompRule {
    let conditions = conditions.iter().map(|(at, operator, value)| {
        let value = u64::from(value.cast_unsigned());
        SeccompCondition::new(*at, SeccompCmpArgLen::Dword, operator.clone(), value)
            .expect("a call has six arguments")
    });
    SeccompRule::new(conditions.collect()).expect("each rule has a condition")
}

/// Makes these calls fail with this error, on all threads.
fn install(calls: Calls, errno: libc::c_int) -> io::Result<()> {
    let mut rules = std::collections::BTreeMap::<_, Vec<_>>::new();
    for (call, limited) in calls {
        rules.entry(call).or_default().extend(limited);
    }
    let answer = SeccompAction::Errno(errno.cast_unsigned());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, processor()?);
    let filter: BpfProgram = filter
        .and_then(TryInto::try_into)
        .map_err(io::Error::other)?;
    let mut program = without_x32();
    program.extend(filter);
    apply_filter_all_threads(&program).map_err(io::Error::other)
}

/// On x86-64 the system may accept a second number for each call, with this bit. Filters by number do not cover these
/// numbers, so all of them are denied as unknown.
fn without_x32() -> BpfProgram {
    const X32: Range<u32> = 0x4000_0000..0x8000_0000;
    const NUMBER: u32 = 0; // The offset of the call's number.
    let step = |code: u32, jt, jf, k| sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    vec![
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, NUMBER),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 2, X32.start),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, 0, X32.end),
        step(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32,
        ),
    ]
}

fn processor() -> io::Result<TargetArch> {
    std::env::consts::ARCH.try_into().map_err(io::Error::other)
}

/// What this system lacks.
pub(super) fn missing() -> Option<&'static str> {
    let action = libc::SECCOMP_RET_ERRNO;
    // SAFETY: it reads the action, and changes nothing.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        )
    };
    (answer != 0)
        .then_some("seccomp, which denies system calls (Linux 4.14 with CONFIG_SECCOMP_FILTER)")
}
