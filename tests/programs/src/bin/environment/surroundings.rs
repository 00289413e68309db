//! The changes of its surroundings that this program can make, each by its name.

use std::ffi::CString;
use std::io;
use std::ptr::null;

use super::filter::{self, Answer};

/// Makes a change. The error says why this system does not permit it.
pub(crate) fn change(change: &str) -> Result<(), String> {
    let (what, value) = change.split_once('=').unwrap_or((change, ""));
    match what {
        "as-it-is" => {}
        "deny" => {
            let (call, error) = value.split_once(':').expect("a call and an error");
            let code = match error {
                "EPERM" => libc::EPERM,
                "ENOSYS" => libc::ENOSYS,
                "EINVAL" => libc::EINVAL,
                other => panic!("{other} is not in this list yet"),
            };
            filter::deny(call, Answer::Error(code));
        }
        "deny-by-kill" => filter::deny(value, Answer::Kill),
        "linux" => filter::behave_like_linux_5_4(),
        "no-executable-memory" => filter::deny_executable_memory(),
        "ignore" => {
            assert_eq!(value, "CHLD", "{value} is not in this list yet");
            // SAFETY: no handler is installed.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        }
        "limit" => limit(value),
        "close" => {
            // SAFETY: no code in this program uses a standard stream from here on.
            unsafe { libc::close(value.parse().expect("a descriptor")) };
        }
        "without" => return without(value),
        "read-only" => return read_only(value),
        "removed-directory" => {
            let name = format!("concurrent-futures-removed-{}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir(&folder).expect("a directory");
            std::env::set_current_dir(&folder).expect("it is there");
            std::fs::remove_dir(&folder).expect("it is empty");
        }
        "deleted-executable" => {
            std::fs::remove_file(std::env::current_exe().expect("it is there")).expect("a copy");
        }
        // SAFETY: it only asks.
        "not-root" if unsafe { libc::geteuid() } != 0 => {}
        "not-root" => {
            const NOBODY: u32 = 65534;
            let (id, none) = (NOBODY, null());
            // SAFETY: the list of groups is empty.
            unsafe { libc::setgroups(0, none) };
            // SAFETY: it only changes this process.
            unsafe { libc::setresgid(id, id, id) };
            // SAFETY: as above.
            if unsafe { libc::setresuid(id, id, id) } != 0 {
                return Err(why("setresuid"));
            }
        }
        other => panic!("{other} is no change of the surroundings"),
    }
    Ok(())
}

fn why(call: &str) -> String {
    format!("{call}: {}", io::Error::last_os_error())
}

/// Sets the soft limit: above the hard one, as far as the hard one allows.
fn limit(value: &str) {
    let (name, most) = value.split_once(':').expect("a limit and a number");
    let resource = match name {
        "AS" => libc::RLIMIT_AS,
        "FSIZE" => libc::RLIMIT_FSIZE,
        "NOFILE" => libc::RLIMIT_NOFILE,
        "NPROC" => libc::RLIMIT_NPROC,
        "STACK" => libc::RLIMIT_STACK,
        other => panic!("{other} is not in this list yet"),
    };
    let most = match most {
        "unlimited" => libc::RLIM_INFINITY,
        most => most.parse().expect("a number"),
    };
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: it fills the limit.
    let done = unsafe { libc::getrlimit(resource, &raw mut limit) };
    assert_eq!(done, 0);
    limit.rlim_cur = most.min(limit.rlim_max);
    // SAFETY: it reads the limit.
    let done = unsafe { libc::setrlimit(resource, &raw const limit) };
    assert_eq!(done, 0, "{}", why("setrlimit"));
}

/// Mounts an empty directory over another one, for this process and those that it starts.
fn without(folder: &str) -> Result<(), String> {
    own_mounts()?;
    mount(Some("tmpfs"), folder, Some("tmpfs"), 0)
}

fn read_only(folder: &str) -> Result<(), String> {
    own_mounts()?;
    mount(Some("tmpfs"), folder, Some("tmpfs"), libc::MS_RDONLY)
}

fn own_mounts() -> Result<(), String> {
    // SAFETY: it only changes this process, which has one thread.
    let alone = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    // A user other than root also needs a user namespace.
    // SAFETY: as above.
    if alone != 0 && unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) } != 0 {
        return Err(why("unshare"));
    }
    mount(None, "/", None, libc::MS_REC | libc::MS_PRIVATE)
}

fn mount(
    source: Option<&str>,
    target: &str,
    kind: Option<&str>,
    flags: libc::c_ulong,
) -> Result<(), String> {
    let text = |text: &str| CString::new(text).expect("no NUL");
    let (source, kind) = (source.map(text), kind.map(text));
    let pointer = |text: &Option<CString>| text.as_ref().map_or(null(), |text| text.as_ptr());
    let target = text(target);
    // SAFETY: each text ends with a NUL, and lives until the call returns. A null means none.
    let done = unsafe {
        libc::mount(
            pointer(&source),
            target.as_ptr(),
            pointer(&kind),
            flags,
            null(),
        )
    };
    if done == 0 { Ok(()) } else { Err(why("mount")) }
}
