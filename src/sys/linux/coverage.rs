//! Coverage profiles of forked processes, in a program that was built with `-C instrument-coverage`.
//!
//! LLVM's part of such a program writes the profile when the program exits, into the file that `LLVM_PROFILE_FILE`
//! names. A forked process ends without the program's exit handlers, and LLVM has read the process id for that name
//! before the fork. So this crate sets the name, and makes LLVM write the profile.
//!
//! In any other program LLVM's functions are missing, and this does nothing.

use std::ffi::{CStr, CString, OsString, c_char, c_int};
use std::os::unix::ffi::OsStringExt as _;

/// The name of the file, unless the environment sets one.
const DEFAULT: &str = "default_%m_%p.profraw";

/// The address of a function if the program has it, otherwise 0. Stable Rust has no declaration for such a function.
#[cfg(target_arch = "x86_64")]
macro_rules! address_of {
    ($function:literal) => {{
        let address: usize;
        // SAFETY: it reads an address that the linker fills in. The reference is weak, so the address of a missing
        // function is 0.
        unsafe {
            std::arch::asm!(
                concat!(".weak ", $function),
                concat!("mov {}, qword ptr [rip + ", $function, "@GOTPCREL]"),
                out(reg) address,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        address
    }};
}

#[cfg(target_arch = "aarch64")]
macro_rules! address_of {
    ($function:literal) => {{
        let address: usize;
        // SAFETY: it reads an address that the linker fills in. The reference is weak, so the address of a missing
        // function is 0.
        unsafe {
            std::arch::asm!(
                concat!(".weak ", $function),
                concat!("adrp {0}, :got:", $function),
                concat!("ldr {0}, [{0}, :got_lo12:", $function, "]"),
                out(reg) address,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        address
    }};
}

/// On other processors, no profile of a forked process is written.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
macro_rules! address_of {
    ($function:literal) => {
        0_usize
    };
}

/// Called in a process that was just forked: from now on its profile is its own.
pub(super) fn begin_profile() {
    let reset = address_of!("__llvm_profile_reset_counters");
    let set_name = address_of!("__llvm_profile_set_filename");
    if reset == 0 || set_name == 0 {
        return;
    }
    // SAFETY: LLVM's function has this type.
    let reset = unsafe { std::mem::transmute::<usize, extern "C" fn()>(reset) };
    reset();
    let pattern = std::env::var_os("LLVM_PROFILE_FILE").unwrap_or_else(|| DEFAULT.into());
    if let Some(name) = own_name(pattern, std::process::id()) {
        // SAFETY: LLVM's function has this type.
        let set_name =
            unsafe { std::mem::transmute::<usize, extern "C" fn(*const c_char)>(set_name) };
        let name: &CStr = &name;
        set_name(name.as_ptr()); // It makes a copy.
    }
}

/// Writes the profile of this process.
pub(crate) fn write_profile() {
    let write = address_of!("__llvm_profile_write_file");
    if write != 0 {
        // SAFETY: LLVM's function has this type.
        let write = unsafe { std::mem::transmute::<usize, extern "C" fn() -> c_int>(write) };
        write();
    }
}

/// The name of a file for this process alone. `None` if LLVM's own file may be shared: LLVM then adds up the profiles
/// of all processes in it (`%m`, `%c`), and its name contains no process.
fn own_name(pattern: OsString, pid: u32) -> Option<CString> {
    let pattern = pattern.into_vec();
    let pid = pid.to_string();
    let (mut name, mut has_pid, mut is_shared) = (Vec::new(), false, false);
    let mut rest = &pattern[..];
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            name.push(byte);
            continue;
        }
        if let Some(after) = rest.strip_prefix(b"p") {
            name.extend_from_slice(pid.as_bytes());
            has_pid = true;
            rest = after;
            continue;
        }
        // As in `%m` or `%4m`.
        let kind = rest.iter().find(|byte| !byte.is_ascii_digit());
        is_shared |= matches!(kind, Some(b'm' | b'c'));
        name.push(byte);
    }
    if !has_pid && is_shared {
        return None;
    }
    if !has_pid {
        name.extend_from_slice(format!(".{pid}.profraw").as_bytes());
    }
    CString::new(name).ok()
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_named_after_its_process_unless_processes_may_share_it() {
        let name = |pattern: &str| {
            let name = own_name(pattern.into(), 17);
            name.map(|name| name.into_string().expect("text"))
        };
        assert_eq!(name("a-%p.profraw").as_deref(), Some("a-17.profraw"));
        assert_eq!(name("%p/%p-%14m").as_deref(), Some("17/17-%14m"));
        assert_eq!(
            name("%h-%t.profraw").as_deref(),
            Some("%h-%t.profraw.17.profraw")
        );
        assert_eq!(name("a.profraw").as_deref(), Some("a.profraw.17.profraw"));
        assert_eq!(name("%4m.profraw"), None);
        assert_eq!(name("%c%%").as_deref(), None);
        assert_eq!(name(DEFAULT).as_deref(), Some("default_%m_17.profraw"));
    }
}
