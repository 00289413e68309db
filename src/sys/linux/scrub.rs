//! Overwrites the environment that a fork inherits from its parent. Removing a variable does not clear its memory.

use std::ffi::{CStr, c_char};
use std::ops::Range;

use rustix::process::getpid;

unsafe extern "C" {
    /// The variables, up to a null pointer.
    static mut environ: *const *const c_char;
}

/// Clears the environment of this process, which has one thread, and its memory: the variables at their current place,
/// and the block that the system shows as `/proc/self/environ`. Copies that the program made elsewhere stay.
pub(super) fn clear_environment() {
    for variable in variables() {
        overwrite(&variable);
    }
    if let Some(block) = environment_block() {
        overwrite(&block);
    }
    // SAFETY: there is no other thread that could use the environment.
    unsafe { libc::clearenv() };
}

/// The memory of the variables.
fn variables() -> Vec<Range<usize>> {
    let mut found = Vec::new();
    // SAFETY: there is no other thread that could change the environment.
    let mut at = unsafe { environ };
    if at.is_null() {
        return found;
    }
    loop {
        // SAFETY: a null pointer ends the array, and the one before was not null.
        let variable = unsafe { *at };
        if variable.is_null() {
            return found;
        }
        // SAFETY: every other pointer of the array points to a string that ends with NUL.
        let len = unsafe { CStr::from_ptr(variable) }.count_bytes();
        found.push(variable.addr()..variable.addr() + len);
        at = at.wrapping_add(1);
    }
}

/// Where the system stored the environment of this program when it was executed.
fn environment_block() -> Option<Range<usize>> {
    // The number of the field. The fields after the name have the numbers from 3 on.
    const START: usize = 50;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.trim().split(' ').skip(START - 3);
    let mut next = || fields.next()?.parse().ok();
    let block: Range<usize> = next()?..next()?;
    (block.start > 0 && block.start <= block.end).then_some(block)
}

/// Fills memory with zeros. A program may have put a variable into memory that is not writable: the system refuses that
/// part, whereas a write by this process would end it.
fn overwrite(memory: &Range<usize>) {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut at = memory.start;
    while at < memory.end {
        let len = ZEROS.len().min(memory.end - at);
        let zeros = libc::iovec {
            iov_base: ZEROS.as_ptr().cast_mut().cast(),
            iov_len: len,
        };
        let target = libc::iovec {
            iov_base: std::ptr::without_provenance_mut(at),
            iov_len: len,
        };
        let own = getpid().as_raw_nonzero().get();
        // SAFETY: only the environment refers to the variables, and the caller clears it. The zeros are only read.
        unsafe { libc::process_vm_writev(own, &raw const zeros, 1, &raw const target, 1, 0) };
        at += len;
    }
}
