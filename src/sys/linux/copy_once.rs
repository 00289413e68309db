//! A copy out of memory that another process may write at the same time.

/// A copy of at least this size is faster by [`copy_out`] than word by word.
#[cfg(target_arch = "x86_64")]
pub(super) const LONG: usize = 256;
#[cfg(not(target_arch = "x86_64"))]
pub(super) const LONG: usize = usize::MAX;

/// Copies bytes out of memory that another process may write at the same time, once, as fast as any copy.
///
/// A plain copy would be undefined: the compiler may read the source again later, instead of the copy that was checked.
/// The compiler does not know what this instruction reads, as with a copy by the system.
///
/// # Safety
/// `from` is mapped for `len` bytes, and `to` is valid for writes of `len` bytes, which do not overlap the source.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn copy_out(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: it writes `len` bytes to `to`, as the caller promises; the direction flag is clear in all Rust code.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") len => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
}

/// Never called: no copy is long.
///
/// # Safety
/// As on the other processors.
#[cfg(not(target_arch = "x86_64"))]
pub(super) unsafe fn copy_out(_: *const u8, _: *mut u8, _: usize) {
    unreachable!("no copy is that long");
}
