use concurrent_futures::{Executor, ExecutorExt};

struct Page;

async fn fetch(_url: String) -> Page {
    Page
}

fn on(pool: &dyn Executor) {
    let _ = pool.submit_async(fetch, "http://localhost".to_owned());
}

fn main() {}
