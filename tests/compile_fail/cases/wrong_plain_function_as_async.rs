use concurrent_futures::{Executor, ExecutorExt};

fn double(n: u64) -> u64 {
    n * 2
}

fn on(pool: &dyn Executor) {
    let _ = pool.submit_async(double, 2);
}

fn main() {}
