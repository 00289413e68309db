//! Memory that two processes share: a few atomic words and buffers.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64};

use memmap2::{Advice, MmapOptions, MmapRaw, UncheckedAdvice};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::thread::futex;

use super::call::Call as _;
use super::copy_once::{LONG, copy_out};
use super::growing::memory_file;
use super::limits::check_length;
use super::received::{check_mappable, check_reserved};
use super::reserve::reserve;

/// A mapped memory file. Its memory is freed with the last process that has it mapped or open.
#[derive(Debug)]
pub(crate) struct SharedMapping {
    map: MmapRaw,
}

impl SharedMapping {
    /// New memory, all zeros, and the descriptor to send to the other process. The system may not have allocated the
    /// memory yet: see `secure`.
    pub(crate) fn create(len: usize) -> io::Result<(Self, OwnedFd)> {
        check_length(len as u64)?;
        Self::with(len, |file| {
            rustix::fs::ftruncate(file, len as u64).of_call("ftruncate")
        })
    }

    /// Memory of this process only, all zeros, for when none can be shared.
    pub(crate) fn private(len: usize) -> io::Result<Self> {
        let map = MmapOptions::new().len(len).map_anon().of_call("mmap")?;
        Ok(Self { map: map.into() })
    }

    /// As `create`, with all of its memory allocated. Otherwise fails with the kind `OutOfMemory`.
    pub(crate) fn create_reserved(len: usize) -> io::Result<(Self, OwnedFd)> {
        Self::with(len, |file| reserve(file, len as u64))
    }

    fn with(
        len: usize,
        lengthen: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
    ) -> io::Result<(Self, OwnedFd)> {
        let fd = memory_file(MemfdFlags::ALLOW_SEALING)?;
        lengthen(fd.as_fd())?;
        // No process can shorten the file, so no access to the mapping can fault.
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&fd, seals).of_call("fcntl")?;
        Ok((Self::map(fd.as_fd(), len)?, fd))
    }

    /// The memory of a descriptor that `create` returned in this process or another. Fails if a process could shorten
    /// it.
    pub(crate) fn open(fd: impl AsFd, len: usize) -> io::Result<Self> {
        check_mappable(&fd, len as u64)?;
        Self::map(fd.as_fd(), len)
    }

    /// As `open`, for memory that was created by `create_reserved`. Also fails if the memory has holes.
    pub(crate) fn open_reserved(fd: impl AsFd, len: usize) -> io::Result<Self> {
        check_reserved(&fd, len as u64)?;
        Self::open(fd, len)
    }

    /// A part of a file that no process can shorten. It starts at a page boundary.
    pub(crate) fn window(file: impl AsFd, offset: u64, len: usize) -> io::Result<Self> {
        let end = offset
            .checked_add(len as u64)
            .ok_or(io::ErrorKind::InvalidData)?;
        check_mappable(&file, end)?;
        Ok(Self {
            map: MmapOptions::new()
                .offset(offset)
                .len(len)
                .map_raw(&file.as_fd())
                .of_call("mmap")?,
        })
    }

    fn map(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        // Rounded up to whole words, which are in the same page: the last word has a few more bytes.
        let len = len.checked_next_multiple_of(8);
        let len = len.ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self {
            map: MmapOptions::new().len(len).map_raw(&fd).of_call("mmap")?,
        })
    }

    /// The words that contain `len` bytes at `offset`.
    pub(crate) fn words(&self, offset: usize, len: usize) -> &[AtomicU64] {
        assert!(offset <= self.map.len() && len <= self.map.len() - offset);
        let first = offset / 8;
        let count = (offset + len).div_ceil(8) - first;
        // SAFETY: the mapping begins on a page boundary, is a whole number of words, and contains these.
        let start = unsafe { self.map.as_mut_ptr().cast::<AtomicU64>().add(first) };
        // SAFETY: mapped and aligned, see above, as long as `self` lives. The callers use them only as atomics, and so
        // do all others that may use them at this time.
        unsafe { std::slice::from_raw_parts(start, count) }
    }

    /// The address of `len` values at `offset`.
    pub(super) fn place<T>(&self, offset: usize, len: usize) -> *mut T {
        let room = self.map.len().checked_sub(offset);
        let size = size_of::<T>().checked_mul(len);
        assert!(size.is_some() && size <= room, "out of bounds");
        // SAFETY: in bounds, see above.
        let place = unsafe { self.map.as_mut_ptr().add(offset) }.cast::<T>();
        assert!(place.is_aligned());
        place
    }

    /// Copies bytes in. The other process must not read them until it is notified of them.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        let target = self.place::<u8>(offset, bytes.len());
        // SAFETY: the target is mapped for this many bytes, and `bytes` is not in the mapping. There are no references
        // into the mapping. A process that writes there at the same time leaves arbitrary bytes; no code here relies on
        // the written bytes, because it reads them by a copy that `copy_out` makes.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) }
    }

    /// Writes bytes to a file. Returns how many were written. No process may change them meanwhile, because the file
    /// could then get a mix.
    pub(crate) fn write_to(
        &self,
        file: BorrowedFd<'_>,
        offset: usize,
        len: usize,
    ) -> io::Result<usize> {
        let start = self.place::<u8>(offset, len);
        // SAFETY: `len` bytes are mapped from there on; the system only reads them.
        let written = unsafe { libc::write(file.as_raw_fd(), start.cast(), len) };
        usize::try_from(written)
            .map_err(|_| io::Error::last_os_error())
            .of_io("write")
    }

    /// Copies bytes out, once. If the other process is still writing them, the copy may be a mix.
    pub(crate) fn read(&self, offset: usize, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len);
        self.read_onto(offset, len, &mut bytes);
        bytes
    }

    /// As `read`, but appends to `target`.
    pub(crate) fn read_onto(&self, offset: usize, len: usize, target: &mut Vec<u8>) {
        if len < LONG {
            let start = target.len();
            target.resize(start + len, 0);
            return self.load(offset, &mut target[start..]);
        }
        let source = self.place::<u8>(offset, len);
        target.reserve(len);
        let spare = target.spare_capacity_mut().as_mut_ptr();
        // SAFETY: the source is mapped for `len` bytes, and `len` bytes were just reserved in the target, which is not
        // in the mapping.
        unsafe { copy_out(source, spare.cast(), len) }
        // SAFETY: `len` bytes after the old length have just been written.
        unsafe { target.set_len(target.len() + len) }
    }

    /// Allocates the memory of whole pages at `offset`, so that a later write cannot fail. Fails if there is no memory.
    pub(crate) fn secure(&self, offset: usize, len: usize) -> io::Result<()> {
        let advised = self.map.advise_range(Advice::PopulateWrite, offset, len);
        match advised.as_ref().err().and_then(Errno::from_io_error) {
            // Linux before 5.14, or a filter that denies the call.
            Some(Errno::INVAL | Errno::NOSYS | Errno::PERM) => self.touch(offset, len),
            _ => advised.of_call("madvise"),
        }
    }

    /// As `secure`, page by page. A write to a page without memory would raise a signal. Waking the waiters at a word
    /// of a page also allocates its memory, changes nothing, and fails with an error.
    fn touch(&self, offset: usize, len: usize) -> io::Result<()> {
        let size = rustix::param::page_size();
        for page in (offset / size * size..offset + len).step_by(size) {
            match futex::wake(self.gate(page), futex::Flags::empty(), 0) {
                Err(Errno::FAULT) => return Err(Errno::NOMEM).of_call("futex"),
                outcome => outcome.of_call("futex")?,
            };
        }
        Ok(())
    }

    /// Returns the memory of whole pages at `offset` to the system. The pages are then zeros, and need `secure` again.
    pub(crate) fn release(&self, offset: usize, len: usize) {
        assert!(offset <= self.map.len() && len <= self.map.len() - offset);
        // SAFETY: in bounds, see above. The pages stay mapped and readable, and there are no references to their
        // content.
        let _ = unsafe {
            self.map
                .unchecked_advise_range(UncheckedAdvice::Remove, offset, len)
        };
    }
}

/// Waits until `gate` has a value other than `seen`. May return early.
pub(crate) fn wait_at(gate: &AtomicU32, seen: u32) {
    let _ = futex::wait(gate, futex::Flags::empty(), seen, None);
}

/// Wakes all threads that wait at `gate`.
pub(crate) fn open_gate(gate: &AtomicU32) {
    let _ = futex::wake(gate, futex::Flags::empty(), i32::MAX as u32);
}

/// A buffer of this size or more benefits from huge pages: the system prepares it in a third of the time.
const WORTH_HUGE_PAGES: usize = 4 << 20;

/// Makes a buffer large enough for `len` bytes in all. Fails if there is no memory for it.
pub(crate) fn enlarge(buffer: &mut Vec<u8>, len: usize) -> io::Result<()> {
    if len < WORTH_HUGE_PAGES {
        return Ok(buffer.try_reserve_exact(len.saturating_sub(buffer.len()))?);
    }
    // New memory, to which the bytes are copied: memory that grows in place keeps its small pages.
    let mut larger = Vec::new();
    larger.try_reserve_exact(len)?;
    let page = rustix::param::page_size();
    let spare = larger.spare_capacity_mut();
    let first = spare.as_ptr().align_offset(page);
    let pages: &mut [_] = spare.get_mut(first..).unwrap_or_default();
    let whole = pages.len() / page * page;
    // SAFETY: whole pages of memory that this process owns. Their content stays as it is.
    let _ = unsafe {
        rustix::mm::madvise(
            pages.as_mut_ptr().cast(),
            whole,
            rustix::mm::Advice::LinuxHugepage,
        )
    };
    larger.extend_from_slice(buffer);
    *buffer = larger;
    Ok(())
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn two_mappings_of_one_memory_see_the_same() {
        let (ours, fd) = SharedMapping::create(8192).expect("memory");
        let theirs = SharedMapping::open(fd, 8192).expect("the same memory");
        ours.word(64).store(7, Ordering::Release);
        ours.write(4096, b"hello");
        assert_eq!(theirs.word(64).load(Ordering::Acquire), 7);
        assert_eq!(theirs.read(4096, 5), b"hello");
    }

    #[test]
    fn memory_is_allocated_without_the_call_that_is_for_it_and_keeps_its_content() {
        use std::os::unix::fs::MetadataExt as _;

        let page = rustix::param::page_size();
        let (memory, fd) = SharedMapping::create(3 * page).expect("memory");
        memory.write(2 * page + 5, b"hello");
        // From the middle of the second page to the beginning of the third.
        memory.touch(page + 8, page).expect("there is memory");
        let file = std::fs::File::from(fd.try_clone().expect("a descriptor"));
        let taken = file.metadata().expect("the system tells").blocks() * 512;
        assert_eq!(taken, 2 * page as u64);
        assert_eq!(memory.read(2 * page + 5, 5), b"hello");
        // There is no memory behind the end of a file: a plain write would raise a signal.
        let short = super::super::growing::growing_file().expect("a file");
        rustix::fs::ftruncate(&short, page as u64).expect("it grows");
        let beyond = SharedMapping::map(short.as_fd(), 2 * page).expect("a mapping");
        beyond.touch(0, page).expect("there is memory");
        let error = beyond.touch(0, 2 * page).expect_err("there is none");
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
    }

    #[test]
    fn a_memory_that_is_too_short_is_refused() {
        let (_ours, fd) = SharedMapping::create(4096).expect("memory");
        assert!(SharedMapping::open(fd, 8192).is_err());
    }
}
