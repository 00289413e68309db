//! Prints the ids of this process and of the processes in which it runs functions, a line each, once they have ended.

use concurrent_futures::multiprocessing::Process;
use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor, StartMethod};

fn main() {
    concurrent_futures::init();
    println!("{}", std::process::id());
    for method in [
        StartMethod::Fork,
        StartMethod::Spawn,
        StartMethod::ForkServer,
    ] {
        let pool = ProcessPoolExecutor::builder()
            .start_method(method)
            .max_workers(1);
        let pool = pool.build().expect("a pool");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            println!("{}", pool.submit(covered_id, ()).await.expect("it ran"));
            pool.shutdown().await;
        });
        drop(runtime); // `Fork` needs one thread.
        let process = Process::builder()
            .start_method(method)
            .blocking_spawn(covered_id, ());
        println!(
            "{}",
            process.expect("it starts").blocking_join().expect("it ran")
        );
    }
}

fn covered_id() -> u32 {
    std::process::id()
}
