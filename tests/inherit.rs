//! What a worker inherits from its parent, and what it does not.

#![cfg(feature = "process")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
#[path = "common/alone.rs"]
mod alone;
mod common;
#[path = "common/methods.rs"]
mod methods;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use concurrent_futures::{
    Executor as _, ExecutorExt as _, ProcessPoolExecutor, StartMethod, ThreadPoolExecutor,
};

use self::alone::{alone, alone_as, children, descriptors};
use self::common::folder::Folder;
use self::common::{Gate, Key, eventually, within};
use self::methods::{alone_in_one_thread, builder, held_by_every_start_method, processes};

concurrent_futures::init_before_main!();

held_by_every_start_method! { 1;
    environment_and_directory_are_the_parents_own_unless_configured,
    a_process_that_a_task_starts_is_no_worker,
}

/// The methods that start the executable for each pool.
const EXECUTED: [StartMethod; 2] = [StartMethod::Spawn, StartMethod::ForkServer];

fn double(x: u64) -> u64 {
    x * 2
}

fn open_files() -> Vec<(i32, PathBuf)> {
    descriptors()
}

#[test]
fn a_worker_holds_only_the_descriptors_meant_for_it() {
    alone(
        "a_worker_holds_only_the_descriptors_meant_for_it",
        || async {
            for method in EXECUTED {
                holds_only_what_is_meant_for_it(method).await;
            }
        },
    );
}

async fn holds_only_what_is_meant_for_it(method: StartMethod) {
    fn files_at(gate: Key) -> Vec<(i32, PathBuf)> {
        let files = open_files();
        gate.wait();
        files
    }
    fn of_a_kind(files: &[(i32, PathBuf)], kind: &str) -> BTreeSet<PathBuf> {
        let targets = files.iter().map(|(_, target)| target.clone());
        targets
            .filter(|target| target.to_string_lossy().starts_with(kind))
            .collect()
    }
    let directory = Folder::new();
    let file = File::create(directory.path().join("leaked")).expect("a file");
    // Unlike what std opens, this one is inherited through exec.
    let _leaked = rustix::io::dup(&file).expect("a descriptor");
    let pool = processes(method, 3);
    let gate = Gate::new();
    let handles = [(); 3].map(|()| pool.submit(files_at, gate.key()));
    let mut guests = Vec::new();
    for _ in 0..3 {
        guests.push(gate.guest().await);
    }
    let parents = of_a_kind(&open_files(), "socket:");
    for guest in guests {
        guest.let_in().await;
    }
    let mut others = BTreeSet::new();
    for handle in handles {
        let files = within(handle).await.expect("it ran");
        let standard: BTreeMap<_, _> = files.iter().cloned().collect();
        assert_eq!(standard[&0], Path::new("/dev/null"));
        assert_eq!(standard[&1], standard[&2]);
        for (fd, target) in &files {
            let target = target.to_string_lossy();
            let expected = ["/dev/null", "pipe:", "socket:", "anon_inode:", "/memfd:"];
            assert!(
                expected.iter().any(|kind| target.starts_with(kind)),
                "{fd}: {target}"
            );
        }
        let sockets = of_a_kind(&files, "socket:");
        let pipes = of_a_kind(&files, "pipe:");
        // Input goes through the socket; its output and its outcomes through a pipe each.
        assert_eq!((sockets.len(), pipes.len()), (1, 2), "{files:?}");
        assert!(
            sockets.is_disjoint(&parents),
            "a parent's end is with a worker"
        );
        for own in sockets.into_iter().chain(pipes) {
            assert!(others.insert(own), "two workers share what is one's own");
        }
    }
}

async fn environment_and_directory_are_the_parents_own_unless_configured(method: StartMethod) {
    fn variable(name: String) -> Option<String> {
        std::env::var(name).ok()
    }
    fn directory() -> PathBuf {
        std::env::current_dir().expect("a directory")
    }
    let pool = processes(method, 1);
    let path = within(pool.submit(variable, "PATH".to_owned())).await;
    assert_eq!(path.expect("it ran"), std::env::var("PATH").ok());
    let here = within(pool.submit(directory, ())).await;
    assert_eq!(
        here.expect("it ran"),
        std::env::current_dir().expect("a directory")
    );

    let elsewhere = Folder::new();
    let told = builder(method)
        .max_workers(1)
        .env_clear()
        .env("FIRST", "1")
        .env("SECOND", "2")
        .env("FIRST", "one")
        .current_dir(elsewhere.path())
        .build()
        .expect("a pool");
    let all = || std::env::vars().collect::<BTreeMap<_, _>>();
    let all = within(told.submit(all, ())).await.expect("it ran");
    let expected = [("FIRST", "one"), ("SECOND", "2")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(all, BTreeMap::from(expected));
    let there = within(told.submit(directory, ())).await;
    assert_eq!(
        there.expect("it ran"),
        elsewhere.path().canonicalize().expect("it is there")
    );
}

const NEW: &str = "CONCURRENT_FUTURES_TEST_NEW";
const OLD: &str = "CONCURRENT_FUTURES_TEST_OLD";
const SET: &str = "CONCURRENT_FUTURES_TEST_SET_BY_THE_BUILDER";

/// The surroundings of a worker: three variables, and the identity of its directory.
type Around = ([Option<String>; 3], u64);

fn around() -> Around {
    let variables = [NEW, OLD, SET].map(|name| std::env::var(name).ok());
    (variables, fs::metadata(".").expect("a directory").ino())
}

/// Changes a variable of this process. `None` removes it.
#[expect(unsafe_code, reason = "it changes the environment")]
fn set_variable(name: &str, value: Option<&str>) {
    match value {
        // SAFETY: no other thread of this process uses its environment meanwhile.
        Some(value) => unsafe { std::env::set_var(name, value) },
        // SAFETY: as above.
        None => unsafe { std::env::remove_var(name) },
    }
}

/// The surroundings of the next worker. The worker before it exits.
async fn around_the_next(pool: &ProcessPoolExecutor) -> Around {
    let exit = || -> () { std::process::exit(0) };
    let error = within(pool.submit(exit, ())).await.expect_err("it exits");
    assert!(error.is_worker_lost(), "{error}");
    within(pool.submit(around, ())).await.expect("it ran")
}

/// Runs a promise by each start method in turn, in a process that may change its environment and directory.
fn alone_by_every_start_method(test: &str, body: impl AsyncFn(StartMethod)) {
    alone_in_one_thread(test, || {
        for method in [
            StartMethod::Fork,
            StartMethod::Spawn,
            StartMethod::ForkServer,
        ] {
            methods::run(1, body(method));
        }
    });
}

#[test]
fn a_worker_has_the_environment_and_the_directory_of_the_program_when_it_starts() {
    let test = "a_worker_has_the_environment_and_the_directory_of_the_program_when_it_starts";
    alone_by_every_start_method(test, async |method| {
        let (first, second) = (Folder::new(), Folder::new());
        std::env::set_current_dir(first.path()).expect("it is there");
        set_variable(NEW, None);
        set_variable(OLD, Some("old"));
        set_variable(SET, Some("by the program"));
        let pool = builder(method).max_workers(1).env(SET, "by the builder");
        let pool = pool.build().expect("a pool");
        let text = |text: &str| Some(text.to_owned());
        let here = || fs::metadata(".").expect("a directory").ino();
        let found = within(pool.submit(around, ())).await.expect("it ran");
        let set = text("by the builder");
        assert_eq!(found, ([None, text("old"), set.clone()], here()));

        // More than fits into one message to a fork server.
        let large = "x".repeat(100_000);
        set_variable(NEW, Some(&large));
        set_variable(OLD, None);
        set_variable(SET, None);
        std::env::set_current_dir(second.path()).expect("it is there");
        let found = around_the_next(&pool).await;
        assert_eq!(
            found,
            ([Some(large), None, set.clone()], here()),
            "{method:?}"
        );

        set_variable(NEW, None);
        set_variable(OLD, Some("old"));
        std::env::set_current_dir(first.path()).expect("it is there");
        let found = around_the_next(&pool).await;
        assert_eq!(found, ([None, text("old"), set.clone()], here()));

        fs::create_dir(second.path().join("gone")).expect("it is ours");
        std::env::set_current_dir(second.path().join("gone")).expect("it is there");
        fs::remove_dir(second.path().join("gone")).expect("it is empty");
        let found = around_the_next(&pool).await;
        assert_eq!(found.1, here(), "{method:?}: a directory without a name");
        within(pool.shutdown()).await;
        std::env::set_current_dir("/").expect("it is there");
    });
}

#[test]
fn a_relative_directory_of_workers_begins_at_that_of_the_program_when_they_start() {
    let test = "a_relative_directory_of_workers_begins_at_that_of_the_program_when_they_start";
    alone_by_every_start_method(test, async |method| {
        let folders = [Folder::new(), Folder::new()];
        let pool = builder(method).max_workers(1).current_dir("inner");
        for folder in &folders {
            fs::create_dir(folder.path().join("inner")).expect("it is ours");
        }
        std::env::set_current_dir(folders[0].path()).expect("it is there");
        let pool = pool.build().expect("a pool");
        let inner = || fs::metadata("inner").expect("a directory").ino();
        let found = within(pool.submit(around, ())).await.expect("it ran");
        assert_eq!(found.1, inner());
        std::env::set_current_dir(folders[1].path()).expect("it is there");
        assert_eq!(around_the_next(&pool).await.1, inner(), "{method:?}");
        std::env::set_current_dir("/").expect("it is there");
        let exit = || -> () { std::process::exit(0) };
        let error = within(pool.submit(exit, ())).await.expect_err("it exits");
        assert!(error.is_worker_lost(), "{error}");
        let error = within(pool.submit(around, ())).await.expect_err("no inner");
        assert!(error.is_init_failed(), "{error}");
        let text = error.to_string();
        assert!(text.contains("start a process in inner"), "{text}");
        within(pool.shutdown()).await;
    });
}

#[test]
fn a_change_of_the_surroundings_by_a_preload_stays_unless_the_program_changes_the_same() {
    fn change(directory: PathBuf) {
        set_variable(NEW, Some("by the preload"));
        set_variable(OLD, Some("by the preload"));
        std::env::set_current_dir(directory).expect("it is there");
    }
    let test =
        "a_change_of_the_surroundings_by_a_preload_stays_unless_the_program_changes_the_same";
    alone_by_every_start_method(test, async |method| {
        if method == StartMethod::Spawn {
            return; // This method has no preload.
        }
        let (first, second) = (Folder::new(), Folder::new());
        set_variable(NEW, None);
        set_variable(OLD, Some("old"));
        let builder = builder(method).max_workers(1);
        let builder = builder.preload(change, first.path().to_owned());
        let pool = builder.build().expect("a pool");
        let found = within(pool.submit(around, ())).await.expect("it ran");
        let by_the_preload = Some("by the preload".to_owned());
        let ino = |folder: &Folder| fs::metadata(folder.path()).expect("it is there").ino();
        let both = [by_the_preload.clone(), by_the_preload.clone(), None];
        assert_eq!(found, (both, ino(&first)));
        set_variable(OLD, Some("newer"));
        std::env::set_current_dir(second.path()).expect("it is there");
        let one = [by_the_preload, Some("newer".to_owned()), None];
        assert_eq!(around_the_next(&pool).await, (one, ino(&second)));
        within(pool.shutdown()).await;
        std::env::set_current_dir("/").expect("it is there");
    });
}

#[tokio::test]
async fn an_executed_worker_has_the_name_of_its_parent_and_no_other_argument() {
    for method in EXECUTED {
        let pool = processes(method, 1);
        let arguments = within(pool.submit(|| std::env::args().collect::<Vec<_>>(), ())).await;
        let own = std::env::args().next().expect("a name");
        assert_eq!(arguments.expect("it ran"), [own]);
    }
}

async fn a_process_that_a_task_starts_is_no_worker(method: StartMethod) {
    fn list_tests() -> String {
        let executable = std::env::current_exe().expect("this executable");
        let output = Command::new(executable).arg("--list").output();
        String::from_utf8(output.expect("it starts").stdout).expect("text")
    }
    let pool = processes(method, 1);
    let tests = within(pool.submit(list_tests, ())).await.expect("it ran");
    assert!(
        tests.contains("a_process_that_a_task_starts_is_no_worker"),
        "{tests}"
    );
}

/// A copy of this executable, which a test may spoil.
fn copied(directory: &Path) -> PathBuf {
    let copy = directory.join("copy");
    let executable = std::env::current_exe().expect("this executable");
    fs::copy(executable, &copy).expect("a copy");
    copy
}

#[test]
fn workers_start_though_the_executable_was_deleted() {
    let directory = Folder::new();
    let copy = copied(directory.path());
    alone_as(
        &copy,
        "workers_start_though_the_executable_was_deleted",
        || async {
            let own = std::env::current_exe().expect("this executable");
            assert!(own.ends_with("copy"), "{own:?}");
            fs::remove_file(own).expect("it is there");
            let pool = ProcessPoolExecutor::with_workers(1).expect("a pool");
            assert_eq!(within(pool.submit(double, 4)).await.expect("it ran"), 8);
        },
    );
}

#[test]
fn workers_are_of_the_same_build_though_the_executable_was_replaced() {
    let directory = Folder::new();
    let copy = copied(directory.path());
    let test = "workers_are_of_the_same_build_though_the_executable_was_replaced";
    alone_as(&copy, test, || async {
        let own = std::env::current_exe().expect("this executable");
        assert!(own.ends_with("copy"), "{own:?}");
        let other = own.with_extension("new");
        fs::copy("/bin/false", &other).expect("another program");
        fs::rename(other, &own).expect("it takes the name");
        for method in EXECUTED {
            let pool = processes(method, 1);
            assert_eq!(within(pool.submit(double, 4)).await.expect("it ran"), 8);
        }
    });
}

#[test]
fn the_default_number_of_workers_honours_the_affinity() {
    let limited = std::thread::spawn(|| {
        let allowed = rustix::thread::sched_getaffinity(None).expect("the affinity");
        let first = (0..rustix::thread::CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu));
        let mut one = rustix::thread::CpuSet::new();
        one.set(first.expect("a CPU"));
        rustix::thread::sched_setaffinity(None, &one).expect("it may have fewer");
        let processes = ProcessPoolExecutor::new().expect("a pool").max_workers();
        let threads = ThreadPoolExecutor::new().expect("a pool").max_workers();
        (processes, threads)
    });
    assert_eq!(limited.join().expect("no panic"), (1, 1));
    let all = std::thread::available_parallelism()
        .expect("a number")
        .get();
    assert_eq!(
        ProcessPoolExecutor::new().expect("a pool").max_workers(),
        all
    );
}

#[test]
fn a_start_that_the_system_refuses_is_a_typed_error_and_the_pool_lives_on() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let test = "a_start_that_the_system_refuses_is_a_typed_error_and_the_pool_lives_on";
    alone(test, || async {
        for method in EXECUTED {
            let pool = processes(method, 1);
            let before = getrlimit(Resource::Nofile);
            let none = Rlimit {
                current: Some(4),
                ..before
            };
            setrlimit(Resource::Nofile, none).expect("it may have fewer");
            let error = within(pool.submit(double, 1))
                .await
                .expect_err("no descriptor is left");
            setrlimit(Resource::Nofile, before).expect("it may have that many");
            assert!(error.is_init_failed() && !error.was_started(), "{error}");
            assert!(error.to_string().contains("Too many open files"), "{error}");
            assert_eq!(within(pool.submit(double, 4)).await.expect("it ran"), 8);
            within(pool.shutdown()).await;
            assert_eq!(children(), [0_u32; 0]);
        }
    });
}

#[test]
fn a_worker_outlives_the_thread_that_started_it() {
    // The threads of this process are counted, so no other test may run in it.
    alone("a_worker_outlives_the_thread_that_started_it", || async {
        for method in EXECUTED {
            let ended = tokio::task::spawn_blocking(move || outlive_the_thread(method));
            ended.await.expect("no panic");
        }
    });
}

fn outlive_the_thread(method: StartMethod) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all();
    // The thread that starts the worker ends as soon as it is idle.
    let runtime = builder
        .thread_keep_alive(Duration::ZERO)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let pool = processes(method, 1);
        let threads = || std::fs::read_dir("/proc/self/task").expect("/proc").count();
        let before = threads();
        let first = within(pool.submit(std::process::id, ()))
            .await
            .expect("it ran");
        eventually(|| threads() == before).await;
        let second = within(pool.submit(std::process::id, ()))
            .await
            .expect("it ran");
        assert_eq!(first, second, "the worker is still there");
        within(pool.shutdown()).await;
    });
}
