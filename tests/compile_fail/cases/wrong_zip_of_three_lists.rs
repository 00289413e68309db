use concurrent_futures::{Executor, ExecutorExt};

fn volume(x: u64, y: u64, z: u64) -> u64 {
    x * y * z
}

fn on(pool: &dyn Executor) {
    let _ = pool.map(volume, [1, 2].into_iter().zip([3, 4]).zip([5, 6]));
}

fn main() {}
