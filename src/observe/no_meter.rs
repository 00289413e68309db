//! The meter of an executor without the feature `metrics`.

#[derive(Clone, Debug)]
pub(crate) struct Meter;

impl Meter {
    pub(crate) fn new(_executor: &str) -> Self {
        Self
    }

    pub(crate) fn queued(&self) -> Raised {
        Raised
    }

    pub(crate) fn running(&self) -> Raised {
        Raised
    }

    pub(crate) fn ended(&self, _outcome: &'static str, _count: usize) {}

    #[cfg(feature = "process")]
    pub(crate) fn worker_started(&self) {}

    #[cfg(feature = "process")]
    pub(crate) fn worker_ended(&self, _cause: &'static str) {}
}

#[derive(Debug, Default)]
pub(crate) struct Raised;
