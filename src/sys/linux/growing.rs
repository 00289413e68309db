//! Memory files: new ones, and files that grow and are mapped by windows.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;

use super::call::Call as _;
use super::limits::check_length;
use super::print::above_standard_streams;

/// A new, empty file. No process can ever shorten it, so a mapping of it stays valid.
pub(crate) fn growing_file() -> io::Result<OwnedFd> {
    let fd = memory_file(MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::SEAL).of_call("fcntl")?;
    Ok(fd)
}

/// A new, empty file that [`seal`] can make final.
pub(crate) fn sealable_file() -> io::Result<OwnedFd> {
    memory_file(MemfdFlags::ALLOW_SEALING)
}

/// Makes the file final: no process can change it from now on. Fails if a process has mapped it for writing.
pub(crate) fn seal(file: impl AsFd) -> io::Result<()> {
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(file, seals).of_call("fcntl")
}

/// A new, empty file in memory. It is not executable, if the kernel supports that (Linux 6.3): with a policy that
/// demands it (`vm.memfd_noexec`), the kernel creates no other files.
pub(super) fn memory_file(flags: MemfdFlags) -> io::Result<OwnedFd> {
    let create = |more| rustix::fs::memfd_create("concurrent-futures", flags | more);
    let created = match create(MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => create(MemfdFlags::CLOEXEC),
        outcome => outcome,
    };
    above_standard_streams(created.of_call("memfd_create")?)
}

/// Makes the file at least `len` bytes long. Does not allocate memory yet.
pub(crate) fn lengthen(file: impl AsFd, len: u64) -> io::Result<()> {
    if rustix::fs::fstat(&file)
        .of_call("fstat")?
        .st_size
        .unsigned_abs()
        >= len
    {
        return Ok(());
    }
    check_length(len)?;
    rustix::fs::ftruncate(file, len).of_call("ftruncate")
}

/// How many bytes of memory a file in memory takes: less than its length if it has holes.
pub(crate) fn file_memory(file: impl AsFd) -> io::Result<u64> {
    let blocks = rustix::fs::fstat(file).of_call("fstat")?.st_blocks;
    Ok(blocks.unsigned_abs().saturating_mul(512))
}

/// Returns the memory of a part to the system. The part is then zeros, and must be secured again.
pub(crate) fn give_back(file: impl AsFd, offset: u64, len: u64) {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let _ = rustix::fs::fallocate(file, flags, offset, len);
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::sys::SharedMapping;

    const PAGE: usize = 64 * 1024; // The largest page size.

    fn taken(file: &OwnedFd) -> u64 {
        let file = std::fs::File::from(file.try_clone().expect("a descriptor"));
        file.metadata().expect("the system tells").blocks() * 512
    }

    #[test]
    fn a_window_sees_its_part_and_what_is_given_back_is_zeros() {
        let file = growing_file().expect("a file");
        lengthen(&file, 2 * PAGE as u64).expect("it grows");
        lengthen(&file, PAGE as u64).expect("it is long enough");
        let first = SharedMapping::window(&file, 0, PAGE).expect("a window");
        let second = SharedMapping::window(&file, PAGE as u64, PAGE).expect("a window");
        let all = SharedMapping::window(&file, 0, 2 * PAGE).expect("a window");
        assert_eq!(taken(&file), 0);
        first.secure(0, PAGE).expect("there is memory");
        second.secure(0, PAGE).expect("there is memory");
        second.write(5, b"hello");
        assert_eq!(all.read(PAGE + 5, 5), b"hello");
        let before = taken(&file);
        give_back(&file, PAGE as u64, PAGE as u64);
        assert!(taken(&file) < before);
        assert_eq!(all.read(PAGE + 5, 5), [0; 5]);
    }

    #[test]
    fn a_window_beyond_the_end_is_refused() {
        let file = growing_file().expect("a file");
        lengthen(&file, PAGE as u64).expect("it grows");
        assert!(SharedMapping::window(&file, PAGE as u64, PAGE).is_err());
        assert!(SharedMapping::window(&file, u64::MAX - 7, PAGE).is_err());
    }
}
