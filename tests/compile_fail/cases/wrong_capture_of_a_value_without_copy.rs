use concurrent_futures::{Executor, ExecutorExt};

fn on(pool: &dyn Executor) {
    let words = vec!["some", "words"];
    let _ = pool.submit(move |n: usize| words[n].len(), 1);
}

fn main() {}
