use concurrent_futures::multiprocessing::Value;

fn main() {
    let number = 5;
    let _ = Value::new(&number);
}
