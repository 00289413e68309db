use concurrent_futures::{Executor, ExecutorExt};

fn is_prime(n: u64) -> bool {
    n == 2
}

fn on(pool: &dyn Executor) {
    let _ = pool.map(is_prime, ["97", "99"]);
}

fn main() {}
