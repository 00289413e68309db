//! Draws random numbers in workers that were forked after their program, or a preload, had drawn some. Prints them, one
//! per line, with the start method.

use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor, StartMethod};

fn main() {
    concurrent_futures::init();
    draw();
    for method in [StartMethod::Fork, StartMethod::ForkServer] {
        let pool = ProcessPoolExecutor::builder()
            .start_method(method)
            .preload(draw, ())
            .max_workers(1)
            .max_tasks_per_child(1)
            .build()
            .expect("a pool");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            for _ in 0..4 {
                // Each in a separate worker.
                let number = pool.submit(rand::random::<u64>, ()).await.expect("it ran");
                println!("{method:?} {number}");
            }
            pool.shutdown().await;
        });
    }
}

fn draw() {
    std::hint::black_box(rand::random::<u64>());
}
