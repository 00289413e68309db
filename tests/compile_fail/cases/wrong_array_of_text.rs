use concurrent_futures::multiprocessing::Array;

fn main() {
    let _ = Array::new(&["one", "two"]);
    let _ = Array::<String>::zeroed(2);
}
