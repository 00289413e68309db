//! The operating system's name of a thread. Needs nothing but files, so it exists without worker
//! processes too.

#[cfg(target_os = "linux")]
use std::fs;

/// Where Linux keeps the name of the current thread.
#[cfg(target_os = "linux")]
const FILE: &str = "/proc/thread-self/comm";

/// The longest name that Linux keeps, in bytes.
#[cfg(target_os = "linux")]
const LONGEST: usize = 15;

/// Names the current thread until it is dropped. Then the thread has its former name again.
pub(crate) struct ThreadName {
    #[cfg(target_os = "linux")]
    before: Option<Vec<u8>>,
}

impl ThreadName {
    /// Does nothing where a name cannot be read back.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(unused_variables, reason = "names are for Linux")
    )]
    pub(crate) fn set(name: &str) -> Self {
        #[cfg(target_os = "linux")]
        {
            let before = fs::read(FILE).ok();
            if before.is_some() {
                let _ = fs::write(FILE, cut(name));
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
            let _ = fs::write(FILE, before.trim_ascii_end());
        }
    }
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
        let name = || String::from_utf8(fs::read(FILE).expect("a name")).expect("text");
        let before = name();
        let named = ThreadName::set("for a while");
        assert_eq!(name(), "for a while\n");
        drop(named);
        assert_eq!(name(), before);
    }
}
