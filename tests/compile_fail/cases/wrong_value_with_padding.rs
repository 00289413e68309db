use concurrent_futures::multiprocessing::Value;

#[derive(Clone, Copy)]
#[repr(C)]
struct Padded {
    _kind: u8,
    _size: u32,
}

fn main() {
    let _ = Value::new(Padded { _kind: 1, _size: 2 });
}
