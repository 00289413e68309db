//! The name of a thread, as the operating system shows it. With the feature `process`, system calls read and set it.
//! Without it, `rustix` is not a dependency, and a file is used; each access takes about twenty times as long.

#[cfg(all(target_os = "linux", feature = "process"))]
use std::ffi::CString;

/// The longest name that Linux keeps, in bytes.
#[cfg(target_os = "linux")]
const LONGEST: usize = 15;

/// Names the current thread until it is dropped. The thread then has its former name again.
pub(crate) struct ThreadName {
    #[cfg(target_os = "linux")]
    before: Option<Vec<u8>>,
}

impl ThreadName {
    /// Does nothing where a name cannot be read.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(unused_variables, reason = "names are for Linux")
    )]
    pub(crate) fn set(name: &str) -> Self {
        #[cfg(target_os = "linux")]
        {
            let before = current();
            if before.is_some() {
                rename(cut(name).as_bytes());
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
        if let Some(before) = &self.before {
            rename(before);
        }
    }
}

#[cfg(all(target_os = "linux", feature = "process"))]
fn current() -> Option<Vec<u8>> {
    rustix::thread::name().ok().map(CString::into_bytes)
}

#[cfg(all(target_os = "linux", feature = "process"))]
fn rename(name: &[u8]) {
    if let Ok(name) = CString::new(name) {
        let _ = rustix::thread::set_name(&name);
    }
}

/// Where Linux keeps the name of the current thread, with a newline.
#[cfg(all(target_os = "linux", not(feature = "process")))]
const FILE: &str = "/proc/thread-self/comm";

#[cfg(all(target_os = "linux", not(feature = "process")))]
fn current() -> Option<Vec<u8>> {
    let mut name = std::fs::read(FILE).ok()?;
    name.pop_if(|last| *last == b'\n');
    Some(name)
}

#[cfg(all(target_os = "linux", not(feature = "process")))]
fn rename(name: &[u8]) {
    let _ = std::fs::write(FILE, name);
}

/// Cuts a name at a character, so that it stays text.
#[cfg(target_os = "linux")]
fn cut(name: &str) -> &str {
    let mut ends = (0..=LONGEST.min(name.len())).rev();
    let end = ends.find(|end| name.is_char_boundary(*end));
    &name[..end.unwrap_or(0)]
}

#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_long_name_is_cut_at_a_character() {
        assert_eq!(cut("fifteen letters"), "fifteen letters");
        assert_eq!(cut("fifteen letters!"), "fifteen letters");
        assert_eq!(cut("fourteen is \u{20ac}"), "fourteen is \u{20ac}");
        assert_eq!(cut("fourteen is a \u{20ac}"), "fourteen is a ");
        assert_eq!(cut(""), "");
    }

    #[test]
    fn a_dropped_name_brings_the_former_one_back() {
        let name = || fs::read_to_string("/proc/thread-self/comm").expect("a name");
        let before = name();
        let named = ThreadName::set("for a while");
        assert_eq!(name(), "for a while\n");
        drop(named);
        assert_eq!(name(), before);
    }
}
