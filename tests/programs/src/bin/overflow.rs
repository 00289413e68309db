//! Overflows the stack of workers. Prints, one per line, the id of the thread on which the task ran, the id of its
//! process, and the error.

use std::num::NonZeroU64;

use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor, StartMethod};

fn main() {
    concurrent_futures::init();
    for method in [
        StartMethod::Fork,
        StartMethod::Spawn,
        StartMethod::ForkServer,
    ] {
        let pool = ProcessPoolExecutor::builder()
            .start_method(method)
            .max_workers(1);
        let pool = match method {
            StartMethod::ForkServer => pool.preload(|| (), ()),
            _ => pool,
        };
        let pool = pool.build().expect("a pool");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let (thread, process) = pool.submit(ids, ()).await.expect("it ran");
            let error = pool.submit(overflow, ()).await.expect_err("it overflows");
            println!(
                "{thread} {process} {}",
                error.to_string().replace('\n', " ")
            );
            pool.shutdown().await;
        });
    }
}

/// The ids of this thread and of its process.
fn ids() -> (i32, u32) {
    #[expect(unsafe_code, reason = "std has no stable function for it")]
    // SAFETY: the call has no precondition.
    let thread = unsafe { libc::gettid() };
    (thread, std::process::id())
}

fn overflow() {
    #[expect(unconditional_recursion, reason = "it overflows the stack")]
    fn recurse(depth: u64) -> Option<NonZeroU64> {
        let deeper = recurse(std::hint::black_box(depth + 1));
        std::hint::black_box(deeper)
    }
    recurse(0);
}
