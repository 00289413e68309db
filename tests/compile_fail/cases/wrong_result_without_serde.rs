use concurrent_futures::{Executor, ExecutorExt};

struct Point {
    _x: f64,
    _y: f64,
}

fn on_diagonal(x: f64) -> Point {
    Point { _x: x, _y: x }
}

fn on(pool: &dyn Executor) {
    let _ = pool.submit(on_diagonal, 3.0);
}

fn main() {}
