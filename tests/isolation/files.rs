//! What an isolated worker can do with files and programs.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use concurrent_futures::{ExecutorExt as _, Isolation, ProcessPoolExecutor, StartMethod};

use super::common::folder::Folder;
use super::common::within;
use super::methods::held_by_every_start_method;
use super::{code, done, errno_of, isolated, isolated_builder, read, ready};

held_by_every_start_method! { 1;
    an_isolated_worker_opens_only_what_is_allowed,
    an_isolated_worker_executes_only_what_is_allowed,
    an_initializer_has_the_files_that_its_tasks_have_not,
    a_path_that_does_not_exist_fails_the_start_and_is_named,
}

fn list(path: PathBuf) -> i32 {
    code(fs::read_dir(path))
}

fn write(path: PathBuf) -> i32 {
    code(fs::write(path, "written"))
}

/// By its name, so no descriptor is opened.
fn truncate(path: PathBuf) -> i32 {
    let path = CString::new(path.into_os_string().into_encoded_bytes()).expect("no NUL");
    #[expect(unsafe_code, reason = "calls the system")]
    // SAFETY: the path ends with a NUL.
    errno_of(unsafe { libc::truncate(path.as_ptr(), 0) }.into())
}

fn chmod(path: PathBuf) -> i32 {
    code(fs::set_permissions(path, fs::Permissions::from_mode(0o600)))
}

fn attempt(what: String, path: PathBuf) -> i32 {
    let task = match what.as_str() {
        "read" => read,
        "list" => list,
        "write" => write,
        "truncate" => truncate,
        _ => chmod,
    };
    task(path)
}

async fn an_isolated_worker_opens_only_what_is_allowed(method: StartMethod) {
    let folder = Folder::new();
    let [read_only, writable, elsewhere] = ["read", "write", "elsewhere"].map(|name| {
        let path = folder.path().join(name);
        fs::create_dir(&path).expect("a folder");
        fs::write(path.join("file"), "text").expect("a file");
        path
    });
    let isolation = Isolation::new()
        .allow_read(&read_only)
        .allow_write(&writable);
    let Some(pool) = isolated(method, isolation).await else {
        return;
    };
    let run =
        async |what: &str, path: PathBuf| done(pool.submit(attempt, (what.to_owned(), path))).await;
    for (path, expected) in [
        (&read_only, 0),
        (&writable, libc::EACCES),
        (&elsewhere, libc::EACCES),
    ] {
        assert_eq!(run("read", path.join("file")).await, expected, "{path:?}");
        assert_eq!(run("list", path.clone()).await, expected, "{path:?}");
    }
    for (path, expected) in [
        (&read_only, libc::EACCES),
        (&writable, 0),
        (&elsewhere, libc::EACCES),
    ] {
        assert_eq!(run("write", path.join("new")).await, expected, "{path:?}");
        assert_eq!(
            run("truncate", path.join("file")).await,
            expected,
            "{path:?}"
        );
    }
    for path in ["/etc/passwd", "/proc/self/environ", "/dev/shm"] {
        assert_eq!(run("read", path.into()).await, libc::EACCES, "{path}");
    }
    assert_eq!(run("read", "/dev/null".into()).await, 0);
    assert_eq!(run("write", "/dev/null".into()).await, 0);
    // Landlock does not cover this. A worker that may write nowhere cannot do it.
    assert_eq!(run("chmod", elsewhere.join("file")).await, 0);
    let reader = isolated(method, Isolation::new().allow_read(&read_only)).await;
    let reader = reader.expect("there was one before");
    assert_eq!(
        done(reader.submit(chmod, elsewhere.join("file"))).await,
        libc::EPERM
    );
}

fn execute(program: String) -> Result<String, String> {
    let output = Command::new(program).arg("text").output();
    let output = output.map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn an_isolated_worker_executes_only_what_is_allowed(method: StartMethod) {
    let task = |pool: &ProcessPoolExecutor| pool.submit(execute, "/bin/echo".to_owned());
    let Some(pool) = isolated(method, Isolation::new().allow_read("/")).await else {
        return;
    };
    let error = done(task(&pool))
        .await
        .expect_err("reading is not executing");
    assert!(error.contains("Permission denied"), "{error}");
    let isolation = Isolation::new().allow_execute("/");
    let pool = isolated(method, isolation)
        .await
        .expect("there was one before");
    assert_eq!(done(task(&pool)).await, Ok("text\n".to_owned()));
}

static SECRET: OnceLock<String> = OnceLock::new();

async fn an_initializer_has_the_files_that_its_tasks_have_not(method: StartMethod) {
    fn load(path: PathBuf) -> io::Result<()> {
        SECRET.get_or_init(|| fs::read_to_string(path).expect("it may read it"));
        Ok(())
    }
    let folder = Folder::new();
    let path = folder.path().join("model");
    fs::write(&path, "weights").expect("a file");
    let builder = isolated_builder(method, Isolation::new()).initializer(load, path.clone());
    let Some(pool) = ready(builder).await else {
        return;
    };
    assert_eq!(
        done(pool.submit(|| SECRET.get().cloned(), ()))
            .await
            .as_deref(),
        Some("weights")
    );
    assert_eq!(done(pool.submit(read, path)).await, libc::EACCES);
}

async fn a_path_that_does_not_exist_fails_the_start_and_is_named(method: StartMethod) {
    let isolation = Isolation::new()
        .share_network()
        .allow_read("/does/not/exist");
    let pool = isolated_builder(method, isolation).build().expect("a pool");
    let error = within(pool.warm_up())
        .await
        .expect_err("there is no such path");
    assert!(error.is_init_failed(), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("/does/not/exist") && text.contains("allow_read"),
        "{text}"
    );
}
