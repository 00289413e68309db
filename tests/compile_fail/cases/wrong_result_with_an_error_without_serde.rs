use concurrent_futures::{Executor, ExecutorExt};

struct MyError;

fn parse(text: String) -> Result<u64, MyError> {
    text.parse().map_err(|_| MyError)
}

fn on(pool: &dyn Executor) {
    let _ = pool.submit(parse, "1".to_owned());
}

fn main() {}
