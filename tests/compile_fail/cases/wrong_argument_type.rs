use concurrent_futures::{Executor, ExecutorExt};

fn is_prime(n: u64) -> bool {
    n == 2
}

fn on(pool: &dyn Executor) {
    let _ = pool.submit(is_prime, "97");
}

fn main() {}
