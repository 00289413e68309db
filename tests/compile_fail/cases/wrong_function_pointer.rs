use concurrent_futures::{Executor, ExecutorExt};

fn double(x: u64) -> u64 {
    x * 2
}

fn main() {
    on(|| unreachable!());
}

fn on(pool: fn() -> Box<dyn Executor>) {
    let function: fn(u64) -> u64 = double;
    let _ = pool().submit(function, 1);
}
