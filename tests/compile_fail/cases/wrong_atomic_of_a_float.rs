use concurrent_futures::multiprocessing::Atomic;

fn main() {
    let _ = Atomic::new(1.5_f64);
    let _ = Atomic::new("text");
}
