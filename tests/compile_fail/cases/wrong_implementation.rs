use concurrent_futures::{Executor, Initialized, ProcessPoolExecutor, Shutdown, ShutdownReport, Stats, Task};

#[derive(Clone, Copy)]
struct Increment;

struct Mine;

impl Task<u64, Mine> for Increment {
    type Output = u64;

    fn call(self, n: u64) -> u64 {
        n + 1
    }
}

impl Initialized for Increment {
    fn into_error(self) -> Option<String> {
        None
    }
}

#[derive(Debug)]
struct Inline;

impl Executor for Inline {
    fn shutdown_with<'a, 'b>(
        &'a self,
        _: Shutdown,
    ) -> std::pin::Pin<Box<dyn Future<Output = ShutdownReport> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        unimplemented!()
    }

    fn max_workers(&self) -> usize {
        1
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }
}

fn main() {
    let _ = ProcessPoolExecutor::builder().initializer(|n: u64| n, 1);
}
