//! What the operating system calls a thread.

use std::ffi::CString;

/// A name for the current thread, for a while; dropping it brings the old one back.
pub(crate) struct ThreadName {
    #[cfg(target_os = "linux")]
    before: CString,
}

impl ThreadName {
    /// Does nothing where threads have no names that can be read back.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(unused_variables, reason = "names are for Linux")
    )]
    pub(crate) fn set(name: &str) -> Self {
        #[cfg(target_os = "linux")]
        {
            let before = rustix::thread::name().unwrap_or_default();
            let longest = name.floor_char_boundary(15);
            if let Ok(name) = CString::new(&name[..longest]) {
                let _ = rustix::thread::set_name(&name);
            }
            Self { before }
        }
        #[cfg(not(target_os = "linux"))]
        Self {}
    }
}

#[cfg(target_os = "linux")]
impl Drop for ThreadName {
    fn drop(&mut self) {
        let _ = rustix::thread::set_name(&self.before);
    }
}
