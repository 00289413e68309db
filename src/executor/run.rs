//! A job on a thread of this process: one item at a time, each with its own outcome. The items of a
//! chunk are shared out among the threads that are free.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::context::{self, Context};
use super::error::Cause;
use super::promise::{Owed, Promise, PromiseOf, Ticket};
use super::task::Task;
use crate::panic;

/// The thread that runs a job.
pub(crate) trait Seat {
    fn worker_id(&self) -> u64;

    /// An item is about to run. Says when its time will be up.
    fn begin(&self, promise: &Arc<dyn Promise>, item: u32) -> Option<Instant>;

    /// The item is over.
    fn end(&self);
}

/// How the items of a job ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) finished: usize,
    pub(crate) failed: usize,
}

/// Runs one item here and answers it.
pub(super) fn run_item<R, P>(
    owed: &mut Owed<P>,
    seat: &dyn Seat,
    tally: &mut Tally,
    call: impl FnOnce() -> R,
) where
    P: PromiseOf<R> + 'static,
{
    let item = owed.next();
    let promise: Arc<dyn Promise> = owed.promise().clone();
    context::enter(Context {
        task_id: owed.ticket().id(),
        worker_id: seat.worker_id(),
        deadline: seat.begin(&promise, item),
        wanted: promise,
        key: u64::from(item),
    });
    let outcome = panic::catch(call);
    context::leave();
    seat.end();
    tally.finished += 1;
    match outcome {
        Ok(value) => owed.answer_next(|promise, item| promise.fulfil(item, value)),
        Err(report) => {
            tally.failed += 1;
            owed.fail_next(Cause::Panic(report));
        }
    }
}

/// A chunk that several threads may run at the same time.
pub(crate) trait Shared: Send + Sync {
    fn ticket(&self) -> &Ticket;

    /// How many items nobody has begun.
    fn unbegun(&self) -> usize;

    /// Runs what nobody else takes, item by item.
    fn run(&self, seat: &dyn Seat) -> Tally;

    /// Takes half of what nobody has begun, or the last one, for a thread that has nothing to do. So
    /// a slow item holds up no other, and each thread has, most of the time, a lock of its own.
    fn split(&self) -> Option<Arc<dyn Shared>>;

    /// Fails what nobody has begun. Says how many items that were.
    fn fail(&self, cause: &Cause) -> usize;
}

/// A part of a chunk.
pub(super) struct Share<F, A, M, P: Promise> {
    function: F,
    promise: Arc<P>,
    rest: Mutex<Rest<A, P>>,
    marker: PhantomData<fn() -> M>,
}

/// The items that nobody has begun.
struct Rest<A, P: Promise> {
    args: VecDeque<A>,
    owed: Owed<P>,
}

impl<A, P: Promise> Rest<A, P> {
    /// Takes out the last items, all but so many.
    fn split_off(&mut self, keep: usize) -> Self {
        Self {
            args: self.args.split_off(keep),
            owed: self.owed.split_off(self.owed.next() + keep as u32),
        }
    }
}

impl<F, A, M, P: Promise> Share<F, A, M, P> {
    pub(super) fn new(function: F, args: VecDeque<A>, owed: Owed<P>) -> Self {
        Self {
            function,
            promise: owed.promise().clone(),
            rest: Mutex::new(Rest { args, owed }),
            marker: PhantomData,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rest<A, P>> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<(A, Owed<P>)> {
        let mut rest = self.lock();
        if self.promise.ticket().is_closed() {
            let unwanted = rest.split_off(0);
            drop(rest); // The destructors of the arguments are user code.
            drop(unwanted);
            return None;
        }
        let args = rest.args.pop_front()?;
        Some((args, rest.owed.take_one()))
    }
}

impl<F, A, M, P> Shared for Share<F, A, M, P>
where
    F: Task<A, M> + Copy + Send + Sync + 'static,
    A: Send + 'static,
    M: 'static,
    P: PromiseOf<F::Output> + 'static,
{
    fn ticket(&self) -> &Ticket {
        self.promise.ticket()
    }

    fn unbegun(&self) -> usize {
        self.lock().args.len()
    }

    fn run(&self, seat: &dyn Seat) -> Tally {
        let mut tally = Tally::default();
        while let Some((args, mut owed)) = self.next() {
            let call = || self.function.call(args);
            // What user code may do as an outcome is dropped is no matter of the other items.
            let _ = panic::catch(|| run_item(&mut owed, seat, &mut tally, call));
        }
        tally
    }

    fn split(&self) -> Option<Arc<dyn Shared>> {
        let mut rest = self.lock();
        if rest.args.is_empty() || self.promise.ticket().is_closed() {
            return None;
        }
        let keep = rest.args.len() / 2;
        let Rest { args, owed } = rest.split_off(keep);
        Some(Arc::new(Self::new(self.function, args, owed)))
    }

    fn fail(&self, cause: &Cause) -> usize {
        let Rest { args, owed } = self.lock().split_off(0);
        let count = owed.fail_rest(cause);
        drop(args);
        count
    }
}
