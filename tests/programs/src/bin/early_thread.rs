//! As `tasks`, but a thread starts before `main`, as an allocator may do. An environment variable contains the thread's
//! name.

use std::ffi::{CStr, c_void};
use std::ptr::{null, null_mut};

fn main() {
    programs::tasks::main();
}

#[expect(unsafe_code, reason = "a constructor, as a C library has it")]
mod constructor {
    use super::*;

    // SAFETY: the section contains addresses of such functions.
    #[unsafe(link_section = ".init_array")]
    #[used]
    static CONSTRUCTOR: extern "C" fn() = start;

    extern "C" fn start() {
        // SAFETY: no other thread runs yet.
        let name = unsafe { libc::getenv(c"PROGRAMS_THREAD".as_ptr()) };
        let mut thread = 0;
        // SAFETY: the variable remains, and the function accepts it, or null.
        unsafe { libc::pthread_create(&raw mut thread, null(), run, name.cast()) };
    }

    extern "C" fn run(name: *mut c_void) -> *mut c_void {
        if !name.is_null() {
            // SAFETY: it is the value of a variable, which ends with a NUL.
            let name = unsafe { CStr::from_ptr(name.cast()) };
            // SAFETY: the call has no precondition.
            let own = unsafe { libc::pthread_self() };
            // SAFETY: the thread names itself.
            unsafe { libc::pthread_setname_np(own, name.as_ptr()) };
        }
        loop {
            // SAFETY: it only waits.
            unsafe { libc::poll(null_mut(), 0, -1) };
        }
    }
}
