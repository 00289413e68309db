use concurrent_futures::{Executor, ExecutorExt};

struct Point {
    x: f64,
    y: f64,
}

fn norm(point: Point) -> f64 {
    point.x.hypot(point.y)
}

fn scale(point: Point, by: f64) -> f64 {
    norm(point) * by
}

fn on(pool: &dyn Executor) {
    let _ = pool.submit(norm, Point { x: 3.0, y: 4.0 });
    let _ = pool.submit(scale, (Point { x: 3.0, y: 4.0 }, 2.0));
}

fn main() {}
