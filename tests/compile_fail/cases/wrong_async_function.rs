use concurrent_futures::{Executor, ExecutorExt};

async fn fetch(url: String) -> String {
    url
}

fn on(pool: &dyn Executor) {
    let _ = pool.submit(fetch, "http://localhost".to_owned());
}

fn main() {}
