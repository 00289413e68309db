//! What the operating system calls a thread.

use std::ffi::CString;

/// Names the current thread. Its drop restores the name from before.
pub(crate) struct ThreadName {
    before: CString,
}

impl ThreadName {
    pub(crate) fn set(name: &str) -> Self {
        let before = rustix::thread::name().unwrap_or_default();
        let longest = name.floor_char_boundary(15);
        if let Ok(name) = CString::new(&name[..longest]) {
            let _ = rustix::thread::set_name(&name);
        }
        Self { before }
    }
}

impl Drop for ThreadName {
    fn drop(&mut self) {
        let _ = rustix::thread::set_name(&self.before);
    }
}
