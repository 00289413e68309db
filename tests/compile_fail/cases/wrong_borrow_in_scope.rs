use concurrent_futures::ThreadPoolExecutor;

fn main() {
    let pool = ThreadPoolExecutor::new().unwrap();
    pool.scope(|scope| {
        let text = String::from("dropped before the scope ends");
        let _task = scope.submit(|| text.len(), ());
    });
}
