//! What a worker keeps between its calls: values that many items name, decoded once. The sender's end of a lifeline
//! says how long. A worker looks at it before it waits for input, so no thread, timer or message is needed for it.

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use super::descriptors::Descriptor;
use crate::panic;
use crate::sys::{self, AsFd, FileIdentity};

/// The most values that a worker keeps. Each takes two descriptors, and one more to look at before each wait.
const MOST: usize = 64;

/// A value, and until when it is kept.
struct KeptValue {
    /// The file that it was decoded from. The value has that file open, so no other file has its identity.
    file: FileIdentity,
    /// Hangs up when the sender has dropped the value.
    lifeline: Descriptor,
    value: Arc<dyn Any + Send + Sync>,
}

thread_local! {
    /// Those of this thread, if it serves the calls of a worker. The one that was used last is the last.
    ///
    /// Not dropped when the process exits, like a static.
    static KEPT: RefCell<ManuallyDrop<Option<VecDeque<KeptValue>>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
}

/// From now on, this thread keeps values: it serves the calls of a worker.
pub(crate) fn begin() {
    // What a process has that this one was forked from is not dropped: its descriptors are others here by now.
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

/// Waits for `input`, if any values are kept. Drops those that are no longer wanted as soon as that is known.
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
            Some(unwanted) => panic::contain_drops(unwanted), // User code, which may find other values here.
        }
    }
}
