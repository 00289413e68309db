use concurrent_futures::as_completed;

fn main() {
    let _ = as_completed([std::future::ready(1)]);
}
