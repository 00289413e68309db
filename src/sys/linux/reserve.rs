//! Reserves the memory of a whole file at once. A write to reserved memory cannot fault. So a lack of
//! memory is an error where the file is created, and does not kill a process that writes to it later.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::call::Call as _;
use super::limits::check_length;

/// For at least this size, checks that there is enough memory before any is allocated. If memory runs out during the
/// allocation, the system may kill a process rather than return an error.
const LARGE: u64 = 16 << 20;

/// The size of one step. A signal that arrives during a step makes it start again.
const STEP: u64 = 64 << 20;

/// Sets the length of a file in memory, and allocates all of its memory.
pub(super) fn reserve(file: impl AsFd, len: u64) -> io::Result<()> {
    if let Err(error) = check_length(len) {
        return Err(io::Error::new(io::ErrorKind::OutOfMemory, error));
    }
    match try_reserve(file.as_fd(), len) {
        Err((call, error @ (Errno::NOSPC | Errno::NOMEM | Errno::FBIG))) => Err(io::Error::new(
            io::ErrorKind::OutOfMemory,
            format!("no memory is left for {len} bytes of shared memory: {call}: {error}"),
        )),
        Err((call, error)) => Err(error).of_call(call),
        Ok(()) => Ok(()),
    }
}

/// The error has the name of its call.
fn try_reserve(file: impl AsFd, len: u64) -> Result<(), (&'static str, Errno)> {
    if len >= LARGE && len > available(Path::new("/")) {
        return Err(("fallocate", Errno::NOMEM));
    }
    rustix::fs::ftruncate(&file, len).map_err(|error| ("ftruncate", error))?;
    for start in (0..len).step_by(STEP as usize) {
        let part = STEP.min(len - start);
        let step = || rustix::fs::fallocate(&file, FallocateFlags::empty(), start, part);
        rustix::io::retry_on_intr(step).map_err(|error| ("fallocate", error))?;
    }
    Ok(())
}

/// How much memory, including swap, this process may still allocate, according to the system under `root`.
fn available(root: &Path) -> u64 {
    let system = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    let kib = |name| field(&system, name).map(|kib| kib.saturating_mul(1024));
    let swap = kib("SwapFree:").unwrap_or(0);
    let mut available = kib("MemAvailable:").map_or(u64::MAX, |memory| memory + swap);
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    for group in groups.lines() {
        let mut parts = group.splitn(3, ':').skip(1);
        let (Some(kind), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let files = match kind {
            "" => &V2,
            kind if kind.split(',').any(|kind| kind == "memory") => &V1,
            _ => continue,
        };
        let top = root.join("sys/fs/cgroup").join(files.folder);
        // In a container the path may be the one outside; its own limit is then at the top.
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            available = available.min(files.left(&top.join(group), swap));
        }
    }
    available
}

/// The files in which a control group reports its limit and its use of memory.
struct Files {
    folder: &'static str,
    limit: &'static str,
    used: &'static str,
    /// The memory for files on disk, which the group can free.
    cached: [&'static str; 2],
}

const V1: Files = Files {
    folder: "memory",
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cached: ["total_inactive_file", "total_active_file"],
};

const V2: Files = Files {
    folder: "",
    limit: "memory.max",
    used: "memory.current",
    cached: ["inactive_file", "active_file"],
};

impl Files {
    /// How much memory the group may still allocate. Unlimited without a limit.
    fn left(&self, group: &Path, swap: u64) -> u64 {
        let read = |name| fs::read_to_string(group.join(name)).unwrap_or_default();
        let number = |name| read(name).trim().parse::<u64>().ok();
        let (Some(limit), Some(used)) = (number(self.limit), number(self.used)) else {
            return u64::MAX;
        };
        let details = read("memory.stat");
        let cached = self.cached.iter().filter_map(|name| field(&details, name));
        let needed = used.saturating_sub(cached.sum());
        limit.saturating_sub(needed).saturating_add(swap)
    }
}

/// The number that follows a name in a table of the system's.
fn field(table: &str, name: &str) -> Option<u64> {
    let mut lines = table.lines().map(str::split_whitespace);
    let mut line = lines.find_map(|mut line| (line.next() == Some(name)).then_some(line))?;
    line.next()?.parse().ok()
}

#[cfg(all(test, not(properties)))]
#[path = "../../../tests/common/folder.rs"]
mod folder;

#[cfg(all(test, not(properties)))]
mod tests {
    use super::folder::Folder;
    use super::*;

    const MIB: u64 = 1 << 20;

    fn system(files: &[(&str, &str)]) -> Folder {
        let root = Folder::new();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
            fs::write(path, text).expect("a file");
        }
        root
    }

    #[test]
    fn available_memory_is_the_least_that_the_system_and_the_control_groups_have_left() {
        let memory = (
            "proc/meminfo",
            "MemTotal: 9000 kB\nMemAvailable: 4096 kB\nSwapFree: 1024 kB\n",
        );
        let root = system(&[memory]);
        assert_eq!(available(root.path()), 5 * MIB);
        let groups = ("proc/self/cgroup", "3:cpu,memory:/a/b\n0::/c/d\n");
        let root = system(&[
            memory,
            groups,
            ("sys/fs/cgroup/memory.max", "max\n"),
            ("sys/fs/cgroup/memory.current", "999999999\n"),
            ("sys/fs/cgroup/c/memory.max", "3145728\n"),
            ("sys/fs/cgroup/c/memory.current", "3145728\n"),
            (
                "sys/fs/cgroup/c/memory.stat",
                "file 3145728\ninactive_file 1048576\nactive_file 1048576\n",
            ),
        ]);
        assert_eq!(available(root.path()), 3 * MIB); // 2 of cached files, and 1 of swap.
        let root = system(&[
            memory,
            groups,
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2097152\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "4194304\n"),
        ]);
        assert_eq!(available(root.path()), MIB);
        assert_eq!(available(system(&[]).path()), u64::MAX);
    }
}
