//! What a worker keeps between its calls: values that many items name, decoded once. A value is kept until the sender's
//! end of its lifeline closes. A worker checks that before it waits for input, so no thread, timer or message is needed
//! for it.

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use super::descriptors::Descriptor;
use crate::panic;
use crate::sys::{self, AsFd, FileIdentity};

/// The most values that a worker keeps. Each takes two descriptors, one of which is checked before each wait.
const MOST: usize = 64;

/// A kept value, and what ends it.
struct KeptValue {
    /// The file that it was decoded from. The value has that file open, so no other file has its identity.
    file: FileIdentity,
    /// Hangs up when the sender has dropped the value.
    lifeline: Descriptor,
    value: Arc<dyn Any + Send + Sync>,
}

thread_local! {
    /// The values of this thread, if it serves the calls of a worker. The last one is the one that was used last.
    ///
    /// Not dropped when the process exits, like a static.
    static KEPT: RefCell<ManuallyDrop<Option<VecDeque<KeptValue>>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
}

/// Called by the thread that serves the calls of a worker: from now on, this thread keeps values.
pub(crate) fn begin() {
    // Values that a fork inherits are not dropped: their descriptor numbers belong to other files here.
    KEPT.replace(ManuallyDrop::new(Some(VecDeque::new())));
}

/// The kept value of this type from this file.
pub(crate) fn find<T: Any + Send + Sync>(file: FileIdentity) -> Option<Arc<T>> {
    KEPT.with_borrow_mut(|kept| {
        let kept = kept.as_mut()?;
        let is_it = |value: &KeptValue| value.file == file && value.value.is::<T>();
        let place = kept.iter().rposition(is_it)?;
        if place + 1 < kept.len() {
            let found = kept.remove(place)?;
            kept.push_back(found);
        }
        kept.back()?.value.clone().downcast().ok()
    })
}

/// Keeps a value until `lifeline` hangs up, if this thread keeps any.
pub(crate) fn keep<T: Any + Send + Sync>(file: FileIdentity, lifeline: Descriptor, value: Arc<T>) {
    let surplus = KEPT.with_borrow_mut(|kept| {
        let kept = kept.as_mut()?;
        kept.push_back(KeptValue {
            file,
            lifeline,
            value,
        });
        (kept.len() > MOST).then(|| kept.pop_front()).flatten()
    });
    panic::contain_drop(surplus);
}

/// Waits for `input`, if any values are kept. Drops values that are no longer wanted as soon as that is known.
pub(crate) fn await_input(input: impl AsFd) {
    loop {
        let unwanted = KEPT.with_borrow_mut(|kept| {
            let kept = kept.as_mut().filter(|kept| !kept.is_empty())?;
            let lifelines = kept.iter().map(|value| value.lifeline.as_fd());
            let ended = sys::await_input(&input, lifelines);
            let mut unwanted = Vec::new();
            for place in (0..kept.len()).rev() {
                if ended[place] {
                    unwanted.extend(kept.remove(place));
                }
            }
            Some(unwanted)
        });
        match unwanted {
            None => return,
            Some(unwanted) if unwanted.is_empty() => return,
            Some(unwanted) => panic::contain_drops(unwanted), // This runs user code, which may use other kept values.
        }
    }
}
