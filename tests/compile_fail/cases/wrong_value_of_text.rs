use concurrent_futures::multiprocessing::Value;

fn main() {
    let _ = Value::new(String::from("text"));
}
