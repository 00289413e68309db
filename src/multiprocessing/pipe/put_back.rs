//! Large values that a receiver has started to read and then gave up, by a timeout or a drop. The next receiver of this
//! process continues.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::arriving::ArrivingValue;
use crate::sys::{self, AsFd as _};
use crate::wire::descriptors::Descriptor;

#[derive(Debug, Default)]
pub(in crate::multiprocessing) struct PutBack {
    values: Mutex<VecDeque<ArrivingValue>>,
    /// Whether there are some.
    has_some: AtomicBool,
    /// Wakes tasks that wait for the socket.
    for_tasks: Notify,
    /// Readable while there are some; threads wait for it. Created by the first thread that waits.
    for_threads: OnceLock<Option<Descriptor>>,
}

impl PutBack {
    pub(super) fn has_some(&self) -> bool {
        self.has_some.load(Ordering::Acquire)
    }

    /// Takes one back.
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

    /// Readable when a value is put back after the first call. `None` if no descriptor is left for it.
    pub(super) fn bell(&self) -> Option<&Descriptor> {
        // A receiver that puts a value back takes this lock too: either before, and the caller's next look finds the
        // value, or after, and it signals this descriptor.
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

/// A value that a receiver reads. It is put back if the receiver gives up.
#[derive(Debug)]
pub(super) struct HeldValue<'a> {
    put_back: &'a PutBack,
    value: Option<ArrivingValue>,
}

impl<'a> HeldValue<'a> {
    pub(super) fn new(put_back: &'a PutBack, value: ArrivingValue) -> Self {
        let value = Some(value);
        Self { put_back, value }
    }

    pub(super) fn get(&self) -> &ArrivingValue {
        self.value
            .as_ref()
            .expect("it is present until it is taken")
    }

    pub(super) fn get_mut(&mut self) -> &mut ArrivingValue {
        self.value
            .as_mut()
            .expect("it is present until it is taken")
    }

    pub(super) fn take(mut self) -> ArrivingValue {
        self.value.take().expect("it is present until it is taken")
    }
}

impl Drop for HeldValue<'_> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            self.put_back.put_back(value);
        }
    }
}
