//! The executable in memory: where its code is, and which build it is.

use std::ffi::{CStr, OsStr, OsString, c_int, c_void};
use std::io;
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use super::call::Call as _;

/// The main executable of this process, located once.
struct Image {
    code: Vec<Range<usize>>,
    build_id: Vec<u8>,
    /// Whether it names the dynamic loader with which the system starts it.
    names_loader: bool,
}

fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(Image::load)
}

/// Whether an address is in the code of the main executable, rather than in a shared library.
pub(crate) fn in_executable(address: usize) -> bool {
    image().code.iter().any(|range| range.contains(&address))
}

/// Identifies the build of the executable: the linker's build id, or, if there is none, the identity of the file that
/// was executed.
pub(crate) fn build_identity() -> Vec<u8> {
    let build_id = &image().build_id;
    if build_id.is_empty() {
        file_identity()
    } else {
        build_id.clone()
    }
}

fn file_identity() -> Vec<u8> {
    use std::os::unix::fs::MetadataExt as _;

    let file = if is_run_by_loader() {
        mapped_file().and_then(std::fs::metadata)
    } else {
        // The identity of the running file itself, even if another file has its name now.
        std::fs::metadata("/proc/self/exe")
    };
    let Ok(file) = file else {
        return Vec::new();
    };
    [
        file.dev(),
        file.ino(),
        file.size(),
        file.mtime() as u64,
        file.mtime_nsec() as u64,
    ]
    .into_iter()
    .flat_map(u64::to_le_bytes)
    .collect()
}

/// The shared library that contains an address, if one does and it has a name.
pub(crate) fn library_of(address: usize) -> Option<PathBuf> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: it only looks up the address, and fills the structure if it finds the address.
    let found = unsafe { libc::dladdr(address as *const c_void, info.as_mut_ptr()) };
    // SAFETY: all of its fields are pointers, which may be null, and are null if nothing was found.
    let info = unsafe { info.assume_init() };
    if found == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the loader's name of the library, which ends with a NUL and exists while the library is loaded. The
    // caller's code is part of the library.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}

/// A command that starts this executable again, under the name by which this process was started. It starts the running
/// file even if another file has its path now.
pub(crate) fn own_executable() -> io::Result<Command> {
    use std::os::unix::process::CommandExt as _;

    let mut command = Command::new("/proc/self/exe");
    if is_run_by_loader() {
        command.args(loader_arguments()).arg(mapped_file()?);
    } else {
        let name = std::env::args_os().next();
        command.arg0(name.as_deref().unwrap_or(OsStr::new("worker")));
    }
    Ok(command)
}

/// Whether a user has started the dynamic loader with this executable as an argument. `/proc/self/exe` is then the
/// loader. Otherwise the system would have started the loader itself, and recorded its address.
fn is_run_by_loader() -> bool {
    // SAFETY: it only looks up a number.
    image().names_loader && unsafe { libc::getauxval(libc::AT_BASE) } == 0
}

/// The arguments of the loader before the executable. The loader hides them from the program, but the system reports
/// them.
fn loader_arguments() -> Vec<OsString> {
    let all = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    let all = all
        .strip_suffix(&[0])
        .unwrap_or(&all)
        .split(|byte| *byte == 0);
    let all: Vec<_> = all
        .map(|argument| OsString::from_vec(argument.to_vec()))
        .collect();
    let own = std::env::args_os().count();
    let end = all.len().saturating_sub(own).max(1);
    all.get(1..end).unwrap_or_default().to_vec()
}

/// The path of the file that the code of this crate was loaded from.
fn mapped_file() -> io::Result<PathBuf> {
    const DELETED: &[u8] = b" (deleted)";
    let address = mapped_file as fn() -> io::Result<PathBuf> as usize;
    let maps = std::fs::read("/proc/self/maps").of_call("open")?;
    let path = maps.split(|byte| *byte == b'\n').find_map(|line| {
        // start-end permissions offset device inode path
        let (range, _) = line.split_at_checked(line.iter().position(|byte| *byte == b' ')?)?;
        let (start, end) = std::str::from_utf8(range).ok()?.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        let path = line.iter().position(|byte| *byte == b'/')?;
        (start..end).contains(&address).then(|| &line[path..])
    });
    let path = path.filter(|path| !path.ends_with(DELETED));
    let path = path.map(|path| PathBuf::from(OsStr::from_bytes(path)));
    path.ok_or_else(|| {
        let what = "this program was run through the dynamic loader, and its file has been deleted";
        io::Error::new(io::ErrorKind::NotFound, what)
    })
}

impl Image {
    fn load() -> Self {
        let mut image = Self {
            code: Vec::new(),
            build_id: Vec::new(),
            names_loader: false,
        };
        // SAFETY: the callback has the required signature, and receives the pointer to `image`, which outlives the
        // call. Nothing else accesses `image` during the call.
        unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut image).cast()) };
        image
    }
}

/// Called once for each object that is loaded; the main executable comes first.
unsafe extern "C" fn visit(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    image: *mut c_void,
) -> c_int {
    const STOP: c_int = 1;
    // SAFETY: `Image::load` passed a pointer to an `Image` that nothing else uses meanwhile.
    let image = unsafe { &mut *image.cast::<Image>() };
    // SAFETY: the loader passes a pointer to a valid structure for the time of the call.
    let info = unsafe { &*info };
    if info.dlpi_phnum == 0 {
        return STOP;
    }
    // SAFETY: the loader reports the number of program headers; they are never unmapped.
    let headers =
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    for header in headers {
        let start = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0 {
            image.code.push(start..start + header.p_memsz as usize);
        } else if header.p_type == libc::PT_INTERP {
            image.names_loader = true;
        } else if header.p_type == libc::PT_NOTE {
            // SAFETY: a note segment is loaded and readable over its full length, and is never unmapped.
            let notes =
                unsafe { std::slice::from_raw_parts(start as *const u8, header.p_memsz as usize) };
            if let Some(id) = find_build_id(notes) {
                image.build_id = id.to_vec();
            }
        }
    }
    STOP
}

/// Finds the note `GNU`/`NT_GNU_BUILD_ID` (3). A note is three words (length of the name, length
/// of the content, type), then name and content, each filled up to a multiple of four bytes.
fn find_build_id(mut notes: &[u8]) -> Option<&[u8]> {
    const NT_GNU_BUILD_ID: u32 = 3;
    let word =
        |notes: &[u8], at: usize| Some(u32::from_ne_bytes(notes.get(at..at + 4)?.try_into().ok()?));
    loop {
        let name_len = word(notes, 0)? as usize;
        let content_len = word(notes, 4)? as usize;
        let kind = word(notes, 8)?;
        let name = notes.get(12..12 + name_len)?;
        let content_at = 12 + name_len.next_multiple_of(4);
        let content = notes.get(content_at..content_at + content_len)?;
        if kind == NT_GNU_BUILD_ID && name == b"GNU\0" {
            return Some(content);
        }
        notes = notes.get(content_at + content_len.next_multiple_of(4)..)?;
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn own_code_is_in_the_executable_and_a_library_is_not() {
        assert!(in_executable(
            own_code_is_in_the_executable_and_a_library_is_not as fn() as usize
        ));
        assert!(
            !in_executable(libc::getpid as *const () as usize)
                || cfg!(target_feature = "crt-static")
        );
        assert!(!in_executable(0));
    }

    #[test]
    fn a_build_has_an_identity() {
        assert!(!build_identity().is_empty());
        assert!(!file_identity().is_empty());
    }

    #[test]
    fn the_build_id_is_found_among_other_notes() {
        let note = |name: &[u8], kind: u32, content: &[u8]| {
            let mut bytes = Vec::new();
            for word in [name.len() as u32, content.len() as u32, kind] {
                bytes.extend_from_slice(&word.to_ne_bytes());
            }
            for part in [name, content] {
                bytes.extend_from_slice(part);
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
            bytes
        };
        let notes = [
            note(b"Linux\0", 1, b"abcde"),
            note(b"GNU\0", 1, b"x"),
            note(b"GNU\0", 3, b"identity"),
        ]
        .concat();
        assert_eq!(find_build_id(&notes), Some(&b"identity"[..]));
        for end in 0..notes.len() - 4 {
            assert_eq!(
                find_build_id(&notes[..end]),
                None,
                "a torn note is no identity"
            );
        }
    }
}
