use concurrent_futures::{Executor, ExecutorExt};

fn main() {
    on(|| unreachable!());
}

fn on(pool: fn() -> Box<dyn Executor>) {
    let step = 3;
    let _ = pool().submit(move |x: u64| x + step, 1);
}
