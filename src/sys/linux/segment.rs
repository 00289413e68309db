//! Memory files with a name, for processes that have no other way to reach each other's memory.
//!
//! A segment lives as long as it has an owner. A process that has it open or mapped holds a shared `flock` on it. The
//! kernel releases that lock with the last descriptor and mapping, by a drop or by the death of the process. Everything
//! else follows from one rule:
//!
//! > A process that gets the exclusive lock of a segment has found it without owners, and removes its name.
//!
//! - The last owner's drop closes the segment and then applies the rule. Any process may apply it, so an owner
//!   need not know whether it was the last. If two owners leave at the same time, both apply the rule, or the
//!   later one does.
//! - An owner that was killed, or ended without a drop, does not apply the rule. The last drop of the others
//!   does, and so do `open` and `create`, for that name. `create` also applies it to other names of this user: see
//!   [`sweep`](super::sweep). If no memory is left, it applies it to all of them.
//! - A segment gets its name when it is complete and has its owner's lock, by one `linkat`. So no process opens
//!   an incomplete one, or removes it because its owner has no lock yet.
//! - `open` races a removal: it may have the file open when the last owner leaves. If its shared lock comes
//!   first, the other process finds an owner. If the exclusive lock comes first, the shared lock fails, or it is
//!   a lock of a file that has no name any more. Both mean "not found", which was true at the moment of the
//!   removal.
//! - Only the holder of the exclusive lock of a file removes that file's name. Meanwhile no other process
//!   removes the name, so it cannot have become another file's name.
//!
//! - `create` waits while another process removes the name. Otherwise it could report a name that no longer exists. A
//!   removal takes almost no time, but its process may have been stopped, so the wait is limited. To find out whether
//!   the lock that it sees is an owner's, `create` takes a shared one for a moment. This also succeeds if the other
//!   process has just removed the name, which then has no file or another one, or if it was killed before. So the name
//!   must still be this file's, and `create` checks twice. If the last owner leaves right then, it takes `create` for
//!   an owner. So `create` also applies the rule when it is done.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::call::{Call as _, named};
use super::print::above_standard_streams;
use super::reserve::reserve;
use super::sweep::Sweep;

/// Where the system keeps files in memory.
const FOLDER: &str = "/dev/shm";

/// The longest name. With its prefix, it is still a valid name of a file.
const LONGEST: usize = 200;

/// The longest wait for another process that removes a name, and the pause between two checks.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_micros(50);

/// The name of a segment, or of none. Dropping it removes the segment if the segment has no owner. So drop it after
/// descriptor and mapping.
#[derive(Debug)]
pub(crate) struct SegmentName {
    path: String,
}

impl Drop for SegmentName {
    fn drop(&mut self) {
        let _ = self.remove_unowned();
    }
}

impl SegmentName {
    /// Each user has separate names, and other programs use other prefixes.
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        let fits = |c: char| c.is_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > LONGEST || !name.chars().all(fits) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "{name:?} is not a valid name of shared memory; use 1 to {LONGEST} bytes of letters, \
                     digits, `-`, `_` and `.`"
                ),
            ));
        }
        Ok(Self {
            path: format!("{FOLDER}/{}{name}", prefix()),
        })
    }

    /// A new segment, all zeros.
    pub(crate) fn create(&self, len: u64) -> io::Result<OwnedFd> {
        clear_some();
        self.vacate()?; // Before memory is allocated needlessly.
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::open(FOLDER, flags, Mode::RUSR | Mode::WUSR);
        let file = above_standard_streams(file.map_err(|error| without_folder("open", error))?)?;
        reserve(&file, len).or_else(|_| {
            clear(names()); // Memory without an owner may have taken the space.
            reserve(&file, len)
        })?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).of_call("flock")?;
        let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
        let link = || rustix::fs::linkat(CWD, &unnamed, CWD, &self.path, AtFlags::SYMLINK_FOLLOW);
        loop {
            match link() {
                // Another process was faster. If its segment has no owner any more, try again.
                Err(Errno::EXIST) => self.vacate()?,
                Err(Errno::NOENT) if !fs::exists(&unnamed).unwrap_or(false) => {
                    return Err(io::Error::new(
                        io::ErrorKind::NotFound,
                        "named shared memory needs /proc, and /proc/self/fd is missing; mount it with \
                         `mount -t proc proc /proc`, or create memory without a name",
                    ));
                }
                outcome => return outcome.map(|()| file).of_call("linkat"),
            }
        }
    }

    /// The segment that has this name, and its length.
    pub(crate) fn open(&self) -> io::Result<(OwnedFd, u64)> {
        let missing = || {
            let text = format!("shared memory {} does not exist", self.path);
            io::Error::new(io::ErrorKind::NotFound, text)
        };
        let (file, stat) = self.remove_unowned()?.ok_or_else(missing)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) if self.is_of(&stat)? => Ok((file, stat.st_size.unsigned_abs())),
            Ok(()) | Err(Errno::WOULDBLOCK) => Err(missing()), // The segment is being removed, or was.
            Err(error) => Err(error).of_call("flock"),
        }
    }

    /// Frees the name. Fails if a segment with an owner has it.
    fn vacate(&self) -> io::Result<()> {
        let (begun, mut times_owned) = (Instant::now(), 0);
        while let Some((file, stat)) = self.remove_unowned()? {
            if self.is_owned(&file, &stat)? {
                times_owned += 1;
            } else {
                std::thread::sleep(PAUSE); // The segment is being removed.
            }
            if times_owned == 2 || begun.elapsed() > LONGEST_WAIT {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    format!(
                        "shared memory {} exists already; open it, or choose another name",
                        self.path
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Whether the holder of a lock of the file that had this name is an owner, as far as can be determined.
    fn is_owned(&self, file: &OwnedFd, stat: &Stat) -> io::Result<bool> {
        let shared = rustix::fs::flock(file, FlockOperation::NonBlockingLockShared);
        Ok(shared.is_ok() && self.is_of(stat)?)
    }

    /// The file with this name. If the file has no owner, its name is removed.
    fn remove_unowned(&self) -> io::Result<Option<(OwnedFd, Stat)>> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::open(&self.path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            file => above_standard_streams(file.of_call("open")?)?,
        };
        let stat = rustix::fs::fstat(&file).of_call("fstat")?;
        let ours = stat.st_uid == rustix::process::geteuid().as_raw();
        if !ours || FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            // Any user may create a file there.
            let text = format!(
                "{} is not shared memory of this user; choose another name",
                self.path
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Ok(Some((file, stat))),
            outcome => outcome.of_call("flock")?,
        }
        if self.is_of(&stat)? {
            rustix::fs::unlink(&self.path).of_call("unlink")?;
        }
        Ok(None)
    }

    /// Whether the name now belongs to this file.
    fn is_of(&self, file: &Stat) -> io::Result<bool> {
        match rustix::fs::lstat(&self.path) {
            Ok(named) => Ok((named.st_dev, named.st_ino) == (file.st_dev, file.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error).of_call("lstat"),
        }
    }
}

/// Why no new file can be created in the folder.
fn without_folder(call: &'static str, error: Errno) -> io::Error {
    let named = named(call, error.into());
    match error {
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOSPC => named,
        _ => io::Error::new(
            named.kind(),
            format!(
                "named shared memory needs a file system in memory at {FOLDER}, writable for this user; {named}; \
                 mount one with `mount -t tmpfs tmpfs {FOLDER}`, or create memory without a name"
            ),
        ),
    }
}

/// The prefix of the names of this user's segments.
fn prefix() -> String {
    let user = rustix::process::geteuid().as_raw();
    format!("concurrent-futures.{user}.")
}

/// The names of all segments of this user.
fn names() -> Vec<String> {
    let prefix = prefix();
    let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(&prefix)).collect()
}

/// Removes the names of segments that have no owner.
fn clear(names: Vec<String>) {
    for name in names {
        drop(SegmentName {
            path: format!("{FOLDER}/{name}"),
        });
    }
}

/// Removes segments of this user that have no owner, as many as [`Sweep`] finds.
fn clear_some() {
    static SWEEP: Mutex<Sweep> = Mutex::new(Sweep::new());
    // Another thread lists the names, or did when this process was forked, and never releases the lock.
    let names = SWEEP.try_lock().map(|mut sweep| sweep.next(names));
    clear(names.unwrap_or_default());
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    fn name(of: &str) -> SegmentName {
        let name = format!("test.segment.{}.{of}", std::process::id());
        SegmentName::new(&name).expect("it can be a name")
    }

    #[test]
    fn who_has_just_removed_a_name_was_no_owner() {
        let name = name("removed");
        let owner = name.create(1).expect("it is free");
        let found = name.remove_unowned().expect("it can be looked at");
        let (file, stat) = found.expect("it has an owner");
        assert!(name.is_owned(&file, &stat).expect("it can be looked at"));
        // Treats that lock as a remover's.
        rustix::fs::unlink(&name.path).expect("it is there");
        drop(owner);
        assert!(!name.is_owned(&file, &stat).expect("it can be looked at"));
        let _owner = name.create(1).expect("it is free");
        assert!(!name.is_owned(&file, &stat).expect("it can be looked at"));
        assert!(name.create(1).is_err());
    }

    #[test]
    fn who_is_killed_while_it_removes_a_name_leaves_it_to_the_next_one() {
        let name = name("killed");
        drop(name.create(1).expect("it is free"));
        let remover = rustix::fs::open(&name.path, OFlags::RDWR, Mode::empty());
        let remover = remover.expect("it is there");
        let exclusive = FlockOperation::NonBlockingLockExclusive;
        rustix::fs::flock(&remover, exclusive).expect("it has no owner");
        let found = name.remove_unowned().expect("it can be looked at");
        let (file, stat) = found.expect("it is being removed");
        assert!(!name.is_owned(&file, &stat).expect("it can be looked at"));
        drop((remover, file));
        name.create(1).expect("it is free");
    }
}
