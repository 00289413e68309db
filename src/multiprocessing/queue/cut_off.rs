//! Tests only: puts, takes and closes of a queue that are cut off before each of their steps, as by a kill.

#[cfg(all(test, not(properties)))]
mod tests {
    use std::process::{Child, Command};
    use std::time::Duration;

    use super::super::shared::SharedQueue;
    use super::super::store::{Cut, cut_after};
    use crate::multiprocessing::Event;
    use crate::multiprocessing::item::{IncomingItem, OutgoingItem};
    use crate::multiprocessing::robust::lock::RobustGuard;
    use crate::multiprocessing::waiting::driver::InThread;
    use crate::multiprocessing::waiting::wait::WatchedProcesses;
    use crate::sys::ProcessIdentity;
    use crate::wire::descriptors::Descriptor;

    /// A queue of processes that are cut off after a number of steps. They leave the same state as a killed process:
    /// the lock is not released, but taken over.
    struct TriedQueue(SharedQueue, Descriptor);

    /// An item with a descriptor.
    type Item = (u64, Event);

    impl TriedQueue {
        fn new(counts_done: bool) -> Self {
            let (queue, to) = SharedQueue::create(0, counts_done).expect("a queue");
            Self(queue, to)
        }

        fn locked<R>(
            &self,
            steps: u64,
            act: impl FnOnce(&mut RobustGuard<'_>) -> R,
        ) -> Result<R, Cut> {
            cut_after(steps, || {
                let mut held = self.0.lock.try_lock().expect("the lock is free");
                act(&mut held)
            })
        }

        fn put(&self, steps: u64, item: &Item) -> Result<(), Cut> {
            let mut outgoing = OutgoingItem::of(item).expect("the item encodes");
            outgoing.pack(usize::MAX).expect("the item is small");
            self.locked(steps, |held| {
                let put = self.0.put(held, &self.1, &outgoing).expect("there is room");
                put.expect("there is memory");
            })
        }

        fn take(&self, steps: u64) -> Result<Option<Item>, Cut> {
            let mut incoming = IncomingItem::for_type::<Item>();
            let taken = self.locked(steps, |held| self.0.take(held, &mut incoming))?;
            Ok(taken.map(|taken| {
                taken.expect("the item is whole");
                incoming.into_item().expect("the item decodes")
            }))
        }

        /// Takes the remaining items, which must be these, in this order.
        fn has(&self, items: &[Item]) {
            for (number, event) in items {
                let taken = self.take(u64::MAX).expect("the step is not cut off");
                let (found, beside) = taken.expect("an item is there");
                beside.set();
                assert!(found == *number && event.is_set());
                event.clear();
            }
            assert!(
                self.take(u64::MAX)
                    .expect("the step is not cut off")
                    .is_none()
            );
        }

        /// Treats the process that took items so far as ended.
        fn end(&self, as_process: &Child) {
            let ended = ProcessIdentity::from_word(as_process.id().into()).expect("not 0");
            self.0.holders().rename(ProcessIdentity::own(), ended);
        }

        fn done(&self, steps: u64) -> Result<(), Cut> {
            let done = self.locked(steps, |held| self.0.task_done(held))?;
            done.expect("one was taken");
            Ok(())
        }

        fn all_done(&self) -> Option<u64> {
            let check = |held: &mut RobustGuard<'_>, watched: &mut WatchedProcesses| {
                self.0.all_done(held, watched)
            };
            let driver = InThread::within(Some(Duration::ZERO));
            InThread::run(self.0.lock.wait_until(&driver, check))
        }
    }

    fn items() -> [Item; 3] {
        [1, 2, 3].map(|number| (number, Event::new().expect("an event")))
    }

    fn ended() -> Child {
        let child = Command::new("true").spawn().expect("a process");
        let identity = ProcessIdentity::from_word(child.id().into()).expect("not 0");
        while !identity.has_ended() {
            std::thread::yield_now();
        }
        child
    }

    #[test]
    fn a_put_that_is_cut_off_leaves_whole_items_with_what_goes_beside_them() {
        let [first, second, third] = items();
        for steps in 0.. {
            let tried = TriedQueue::new(false);
            tried
                .put(u64::MAX, &first)
                .expect("the step is not cut off");
            let outcome = tried.put(steps, &second);
            let is_there = tried.0.glance().len() == 2;
            assert!(is_there || outcome.is_err());
            tried
                .put(u64::MAX, &third)
                .expect("the step is not cut off");
            if is_there {
                tried.has(&[first.clone(), second.clone(), third.clone()]);
            } else {
                tried.has(&[first.clone(), third.clone()]);
            }
            if outcome.is_ok() {
                assert!(steps >= 10);
                return;
            }
        }
    }

    #[test]
    fn a_take_that_is_cut_off_leaves_whole_items_with_what_goes_beside_them() {
        for steps in 0.. {
            let (tried, items) = (TriedQueue::new(false), items());
            for item in &items {
                tried.put(u64::MAX, item).expect("the step is not cut off");
            }
            let outcome = tried.take(steps);
            let left = tried.0.glance().len() as usize;
            assert!(left == 2 || left == 3 && outcome.is_err());
            tried.has(&items[3 - left..]);
            if outcome.is_ok() {
                assert!(steps >= 10);
                return;
            }
        }
    }

    #[test]
    fn items_that_a_cut_off_process_took_are_lost_and_counted_once() {
        let mut child = ended();
        for steps in 0.. {
            let (tried, items) = (TriedQueue::new(true), items());
            for item in &items {
                tried.put(u64::MAX, item).expect("the step is not cut off");
            }
            let outcome = tried.take(steps);
            let left = tried.0.glance().len();
            assert_eq!(tried.all_done(), None, "some are in the queue");
            tried.end(&child);
            for _ in 0..left {
                tried.take(u64::MAX).expect("the step is not cut off");
                assert_eq!(tried.all_done(), None, "the item is taken and not done");
                tried.done(u64::MAX).expect("the step is not cut off");
            }
            assert_eq!(tried.all_done(), Some(3 - left));
            assert_eq!(tried.all_done(), Some(3 - left));
            if outcome.is_ok() {
                assert!(steps >= 10);
                break;
            }
        }
        child.wait().expect("the child has ended");
    }

    #[test]
    fn an_item_that_is_done_by_one_that_is_cut_off_is_done_or_lost() {
        let mut child = ended();
        for steps in 0.. {
            let (tried, [first, second, _]) = (TriedQueue::new(true), items());
            for item in [first, second] {
                tried.put(u64::MAX, &item).expect("the step is not cut off");
                tried.take(u64::MAX).expect("the step is not cut off");
            }
            let outcome = tried.done(steps);
            let done = tried.0.glance().done;
            assert!(done == 1 || done == 0 && outcome.is_err());
            tried.end(&child);
            assert_eq!(tried.all_done(), Some(2 - done));
            if outcome.is_ok() {
                assert!(steps >= 10);
                break;
            }
        }
        child.wait().expect("the child has ended");
    }

    #[test]
    fn an_item_with_a_receipt_is_done_or_lost_whoever_is_cut_off() {
        let mut child = ended();
        for steps in 0.. {
            let (tried, [first, second, _]) = (TriedQueue::new(true), items());
            for item in [first, second] {
                tried.put(u64::MAX, &item).expect("the step is not cut off");
            }
            let take = |steps| {
                let mut incoming = IncomingItem::for_type::<Item>();
                let taken =
                    tried.locked(steps, |held| tried.0.take_with_receipt(held, &mut incoming));
                taken.map(|taken| taken.expect("there is one").expect("the item is whole"))
            };
            let done = |steps, place| {
                tried.locked(steps, |held| {
                    tried
                        .0
                        .item_done(held, place)
                        .expect("the item is unfinished")
                })
            };
            let taken = take(steps);
            let left = tried.0.glance().len();
            assert!(left == 1 || left == 2 && taken.is_err());
            let finished = taken
                .as_ref()
                .is_ok_and(|place| done(steps, *place).is_ok());
            let is_done = tried.0.glance().done;
            assert!(is_done == u64::from(finished) || is_done == 1);
            tried.end(&child);
            for _ in 0..left {
                let place = take(u64::MAX).expect("the step is not cut off");
                assert_eq!(tried.all_done(), None, "the item is taken and not done");
                done(u64::MAX, place).expect("the step is not cut off");
            }
            assert_eq!(tried.all_done(), Some(2 - left - is_done));
            if finished {
                assert!(steps >= 10);
                break;
            }
        }
        child.wait().expect("the child has ended");
    }

    #[test]
    fn a_close_that_is_cut_off_leaves_all_items_or_none() {
        for steps in 0.. {
            let (tried, items) = (TriedQueue::new(true), items());
            for item in &items {
                tried.put(u64::MAX, item).expect("the step is not cut off");
            }
            let outcome = tried.locked(steps, |held| tried.0.close(held, true));
            let state = tried.0.glance();
            if state.is_closed() {
                assert_eq!((state.len(), tried.all_done()), (0, Some(0)));
            } else {
                assert!(outcome.is_err());
                tried.has(&items);
            }
            if let Ok(cleared) = outcome {
                assert_eq!(cleared, 3);
                return;
            }
        }
    }
}
