use concurrent_futures::ThreadPoolExecutor;

fn main() {
    let pool = ThreadPoolExecutor::new().unwrap();
    let text = String::from("borrowed");
    let handle = pool.scope(|scope| scope.submit(|| text.len(), ()));
    let _ = handle.blocking_join();
}
