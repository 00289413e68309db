//! Large values that a receiver has started to read and then given up, by a timeout or a drop. The next receiver of
//! this process continues.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::arriving::ArrivingValue;
use crate::sys::{self, AsFd as _};
use crate::wire::descriptors::Descriptor;

/// Those of one process: a fork leaves the values of its parent to its parent.
#[derive(Debug, Default)]
pub(in crate::multiprocessing) struct PutBack {
    values: Mutex<VecDeque<ArrivingValue>>,
    /// Whether there are any.
    has_some: AtomicBool,
    /// Wakes tasks that wait for the socket.
    for_tasks: Notify,
    /// Readable while there are any; threads wait for it. Created by the first thread that waits.
    for_threads: OnceLock<Option<Descriptor>>,
}

impl PutBack {
    pub(super) fn has_some(&self) -> bool {
        self.has_some.load(Ordering::Acquire)
    }

    /// Takes a value that was put back.
    pub(super) fn take(&self) -> Option<ArrivingValue> {
        if !self.has_some() {
            return None;
        }
        let mut values = self.values();
        let value = values.pop_front();
        if values.is_empty() {
            self.has_some.store(false, Ordering::Release);
            if let Some(Some(bell)) = self.for_threads.get() {
                sys::silence(bell.as_fd());
            }
        }
        value
    }

    /// Ready when a value is put back after this call.
    pub(super) fn notified(&self) -> Notified<'_> {
        self.for_tasks.notified()
    }

    /// Readable when a value is put back after the first call. `None` if this process may open no more descriptors.
    pub(super) fn bell(&self) -> Option<&Descriptor> {
        // A receiver that puts a value back takes this lock too. If it does so before this, the caller's next check
        // finds the value; if after, it signals this descriptor.
        let _values = self.values();
        let bell = self
            .for_threads
            .get_or_init(|| Some(sys::eventfd().ok()?.into()));
        bell.as_ref()
    }

    fn put_back(&self, value: ArrivingValue) {
        let mut values = self.values();
        values.push_back(value);
        self.has_some.store(true, Ordering::Release);
        self.for_tasks.notify_waiters();
        if let Some(Some(bell)) = self.for_threads.get() {
            sys::signal(bell.as_fd());
        }
    }

    fn values(&self) -> MutexGuard<'_, VecDeque<ArrivingValue>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A value that a receiver is reading. It is put back if the receiver gives up.
#[derive(Debug)]
pub(super) struct HeldValue<'a> {
    put_back: &'a PutBack,
    /// The process that reads it.
    generation: u32,
    value: Option<ArrivingValue>,
}

impl<'a> HeldValue<'a> {
    pub(super) fn new(put_back: &'a PutBack, value: ArrivingValue) -> Self {
        Self {
            put_back,
            generation: sys::generation(),
            value: Some(value),
        }
    }

    pub(super) fn get(&self) -> &ArrivingValue {
        self.value
            .as_ref()
            .expect("the value is present until it is taken")
    }

    pub(super) fn get_mut(&mut self) -> &mut ArrivingValue {
        self.value
            .as_mut()
            .expect("the value is present until it is taken")
    }

    pub(super) fn take(mut self) -> ArrivingValue {
        self.value
            .take()
            .expect("the value is present until it is taken")
    }
}

impl Drop for HeldValue<'_> {
    fn drop(&mut self) {
        let value = self.value.take();
        // In a fork this is a copy: the parent reads the value.
        if let Some(value) = value.filter(|_| self.generation == sys::generation()) {
            self.put_back.put_back(value);
        }
    }
}
