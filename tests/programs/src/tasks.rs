//! A program that runs a task by each start method.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use concurrent_futures::multiprocessing::Process;
use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor, StartMethod};

/// Runs a task by each start method, and prints each result. With the argument `again` it then executes the program
/// itself, while its workers live, and lists the processes that the first run has left.
pub fn main() {
    concurrent_futures::init();
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments == ["left"] {
        println!("{:?}", children());
        return;
    }
    let mut pools = Vec::new();
    for method in [
        StartMethod::Fork,
        StartMethod::Spawn,
        StartMethod::ForkServer,
    ] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let pool = ProcessPoolExecutor::builder()
            .start_method(method)
            .max_workers(1);
        let pool = match pool.build() {
            Ok(pool) => pool,
            Err(error) => {
                println!("{method:?}: {error}");
                continue;
            }
        };
        match runtime.block_on(async { pool.submit(u64::pow, (2, 8)).await }) {
            Ok(value) => println!("{method:?}: {value}"),
            Err(error) => println!("{method:?}: {error}"),
        }
        if arguments == ["again"] {
            pools.push((pool, runtime));
        } else {
            runtime.block_on(pool.shutdown());
            runtime.block_on(async {
                let process = Process::builder()
                    .start_method(method)
                    .spawn(u64::pow, (2, 8))
                    .await;
                match process {
                    Ok(process) => println!("Process by {method:?}: {:?}", process.join().await),
                    Err(error) => println!("Process by {method:?}: {error}"),
                }
            });
        }
    }
    if arguments == ["again"] {
        let executable = std::env::current_exe().expect("this executable");
        let error = Command::new(executable).arg("left").exec();
        panic!("{error}");
    }
}

/// The children of this process that it has not reaped, including zombies, with their names and states.
pub fn children() -> Vec<String> {
    let own = std::process::id().to_string();
    let mut children = Vec::new();
    let processes = std::fs::read_dir("/proc").into_iter().flatten();
    for entry in processes.flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // pid (name) state parent ...
        let Some((name, rest)) = stat.rsplit_once(") ") else {
            continue;
        };
        let mut rest = rest.split(' ');
        if let (Some(state), Some(parent)) = (rest.next(), rest.next())
            && parent == own
        {
            children.push(format!("{name}) {state}"));
        }
    }
    children
}
