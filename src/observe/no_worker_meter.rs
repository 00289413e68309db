//! The meter of a worker without the feature `metrics`.

#[derive(Debug)]
pub(crate) struct WorkerMeter;

pub(crate) struct ClaimCount;

impl WorkerMeter {
    pub(crate) fn new(_queue: &str) -> Self {
        Self
    }

    pub(crate) fn claimed(&self) -> ClaimCount {
        ClaimCount
    }

    pub(crate) fn ended(&self, _outcome: &'static str, _items: usize) {}

    pub(crate) fn gave_back(&self) {}

    pub(crate) fn found_lost(&self) {}

    pub(crate) fn saw_waiting(&self, _lane: usize, _tasks: u64) {}

    pub(crate) fn reconnected(&self) {}
}
