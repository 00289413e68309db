//! Programs that are started, or that contain the crate, in an unusual way.

#![cfg(target_os = "linux")]

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

const TASKS: &str = env!("CARGO_BIN_EXE_tasks");

/// The lines that a command prints.
fn lines(command: &mut Command) -> Vec<String> {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("it starts");
    let stderr = String::from_utf8_lossy(&stderr);
    let stdout = String::from_utf8_lossy(&stdout);
    assert!(status.success(), "{status}\n{stdout}{stderr}");
    stdout.lines().map(str::to_owned).collect()
}

/// The dynamic loader of this program.
fn loader() -> PathBuf {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc");
    let paths = maps
        .lines()
        .filter_map(|line| line.find('/').map(|at| &line[at..]));
    let is_loader = |path: &&str| {
        let name = Path::new(path)
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        name.starts_with("ld-") && name.contains(".so")
    };
    paths.into_iter().find(is_loader).expect("a loader").into()
}

const RESULTS: [&str; 6] = [
    "Fork: 256",
    "Process by Fork: Ok(256)",
    "Spawn: 256",
    "Process by Spawn: Ok(256)",
    "ForkServer: 256",
    "Process by ForkServer: Ok(256)",
];

#[test]
fn a_program_that_is_run_through_the_dynamic_loader_has_workers_by_every_start_method() {
    assert_eq!(lines(&mut Command::new(TASKS)), RESULTS);
    assert_eq!(lines(Command::new(loader()).arg(TASKS)), RESULTS);
    // With options for the loader, and a relative path.
    let (folder, name) = TASKS.rsplit_once('/').expect("a path");
    let mut command = Command::new(loader());
    command.args([
        "--library-path",
        folder,
        &format!("./{name}"),
        "an argument",
    ]);
    assert_eq!(lines(command.current_dir(folder)), RESULTS);
}

fn with_an_early_thread(name: &str) -> Vec<String> {
    lines(Command::new(env!("CARGO_BIN_EXE_early_thread")).env("PROGRAMS_THREAD", name))
}

#[test]
fn beside_the_background_thread_of_jemalloc_workers_start_by_every_start_method() {
    assert_eq!(with_an_early_thread("jemalloc_bg_thd"), RESULTS);
}

#[test]
fn beside_a_thread_from_before_main_workers_are_executed_and_a_fork_is_refused_by_its_name() {
    let lines = with_an_early_thread("early_bird");
    let text = lines.join("\n");
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    assert!(lines.contains(&"Spawn: 256"), "{text}");
    assert!(lines.contains(&"Process by Spawn: Ok(256)"), "{text}");
    for method in ["Fork", "ForkServer", "Process by ForkServer"] {
        let start = format!("{method}: ");
        let error = lines.iter().find(|line| line.starts_with(&start));
        let error = error.unwrap_or_else(|| panic!("{text}"));
        assert!(error.contains("early_bird"), "{error}");
        assert!(error.contains("StartMethod::Spawn"), "{error}");
    }
}

#[test]
fn workers_draw_different_random_numbers_although_they_are_forks_of_a_process_that_has_drawn() {
    let lines = lines(&mut Command::new(env!("CARGO_BIN_EXE_random")));
    let numbers = lines.iter().filter_map(|line| line.split(' ').nth(1));
    let different: std::collections::BTreeSet<_> = numbers.collect();
    assert_eq!((lines.len(), different.len()), (8, 8), "{lines:#?}");
}

#[test]
fn the_line_of_a_stack_overflow_names_the_thread_of_the_task() {
    let lines = lines(&mut Command::new(env!("CARGO_BIN_EXE_overflow")));
    assert_eq!(lines.len(), 3, "{lines:#?}");
    for line in lines {
        let mut parts = line.splitn(3, ' ');
        let mut part = || parts.next().expect("three parts");
        let (thread, process, error) = (part(), part(), part());
        assert!(
            error.contains(&format!("process {process} was killed")),
            "{line}"
        );
        let start = error.find("thread 'main' ").expect("Rust's line");
        let said = &error[start..];
        assert!(said.contains("has overflowed its stack"), "{line}");
        // Older compilers name the thread, but not its id.
        if let Some((_, id)) = said.split_once("thread 'main' (") {
            assert!(id.starts_with(&format!("{thread})")), "{line}");
        }
    }
}

#[test]
fn a_program_that_executes_itself_leaves_no_zombies() {
    let lines = lines(Command::new(TASKS).arg("again"));
    assert_eq!(lines, ["Fork: 256", "Spawn: 256", "ForkServer: 256", "[]"]);
}

fn assert_refused(lines: &[String], library: &str) {
    assert_eq!(lines.len(), 5, "{lines:#?}");
    for line in &lines[..3] {
        assert!(line.contains(": unsupported: "), "{line}");
        assert!(line.contains(library), "{line}");
        assert!(line.contains("ThreadPoolExecutor"), "{line}");
    }
    assert_eq!(lines[3], "threads: ok");
    assert!(lines[4].contains(library), "{}", lines[4]);
}

/// The text from the extension module.
static SAID: Mutex<String> = Mutex::new(String::new());

#[test]
#[expect(unsafe_code, reason = "it loads a library, as another language does")]
fn in_an_extension_module_a_process_pool_is_refused_and_says_why() {
    extern "C" fn take(text: *const u8, len: usize) {
        // SAFETY: the module passes a text of that length.
        let text = unsafe { std::slice::from_raw_parts(text, len) };
        *SAID.lock().expect("no panic") = String::from_utf8_lossy(text).into_owned();
    }
    let mut path = std::env::current_exe().expect("this executable");
    path.set_file_name("libprograms.so");
    let path = CString::new(path.into_os_string().into_encoded_bytes()).expect("a path");
    // SAFETY: the library has no harmful constructors.
    let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    assert!(!library.is_null(), "{path:?}");
    let name = c"programs_what_the_constructors_say";
    // SAFETY: the library was just loaded.
    let function = unsafe { libc::dlsym(library, name.as_ptr()) };
    assert!(!function.is_null());
    // SAFETY: the function has this type.
    let function: extern "C" fn(extern "C" fn(*const u8, usize)) =
        unsafe { std::mem::transmute(function) };
    function(take);
    let said = SAID.lock().expect("no panic");
    let lines: Vec<_> = said.lines().map(str::to_owned).collect();
    assert_refused(&lines, "libprograms.so");
}
