use concurrent_futures::{Executor, ExecutorExt};

fn power(base: u32, exponent: u32) -> u64 {
    u64::from(base).pow(exponent)
}

fn on(pool: &dyn Executor) {
    let _ = pool.submit(power, 2);
    let _ = pool.submit(power, (2, 8, 3));
}

fn main() {}
