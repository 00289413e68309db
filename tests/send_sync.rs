//! Which types can be sent between threads and be shared among them, checked by the compiler; and which types are small
//! enough to hold by the thousand.

#![cfg(feature = "multiprocessing")]

use std::cell::Cell;
use std::marker::PhantomData;

use concurrent_futures::multiprocessing::{
    ActiveChild, Array, ArrayGuard, Barrier, BoundedSemaphore, Condition, Connection,
    ConnectionError, Event, JoinableQueue, Lock, LockGuard, Process, ProcessBuilder, PutError,
    Queue, QueueError, RLock, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore,
    SemaphorePermit, SendError, SharedMemory, SpawnError, Value, ValueGuard, WaitTimeoutResult,
};
use concurrent_futures::{
    AbortHandle, AsCompleted, BlockingIter, BuildError, Executor, JoinHandle, Keyed, KeyedMap,
    Limits, Location, Map, Output, OutputLine, OutputStream, Permit, ProcessPoolBuilder,
    ProcessPoolExecutor, Progress, ProgressStream, Restarts, Retry, Retrying, ReturnWhen, Shutdown,
    ShutdownReport, StartMethod, Stats, TaskError, TaskGroup, TaskOptions, ThreadPermit,
    ThreadPoolBuilder, ThreadPoolExecutor, TrySubmitError, Wait, Waited, WorkerInfo, WorkerState,
    worker,
};

/// A type that may be sent, but not shared.
type SendOnly = PhantomData<Cell<u8>>;

const fn send<T: Send>() {}
const fn sync<T: Sync>() {}
const fn unpin<T: Unpin>() {}
const fn lives_on<T: 'static>() {}
const fn both<T: Send + Sync + Unpin + 'static>() {}

const _: () = {
    both::<ThreadPoolExecutor>();
    both::<ThreadPoolBuilder>();
    both::<Retry>();
    send::<Retrying<'static, u8>>();
    unpin::<Retrying<'static, SendOnly>>();
    both::<ProcessPoolExecutor>();
    send::<ProcessPoolBuilder>();
    both::<Process<SendOnly>>();
    both::<ProcessBuilder>();
    both::<SpawnError>();
    both::<ActiveChild>();
    both::<Queue<SendOnly>>();
    both::<JoinableQueue<SendOnly>>();
    both::<QueueError>();
    both::<PutError<u8>>();
    both::<Connection<SendOnly, SendOnly>>();
    both::<ConnectionError>();
    both::<SendError<u8>>();
    both::<Lock>();
    send::<LockGuard>();
    both::<RLock>();
    both::<RwLock>();
    send::<RwLockReadGuard>();
    send::<RwLockWriteGuard>();
    both::<Condition>();
    both::<WaitTimeoutResult>();
    both::<Event>();
    both::<Semaphore>();
    both::<BoundedSemaphore>();
    send::<SemaphorePermit>();
    both::<Barrier>();
    both::<StartMethod>();
    both::<WorkerInfo>();
    both::<WorkerState>();
    both::<AbortHandle>();
    both::<JoinHandle<u8>>();
    both::<TaskError>();
    both::<BuildError>();
    both::<TrySubmitError<u8>>();
    both::<TaskOptions>();
    both::<Shutdown>();
    both::<ShutdownReport>();
    both::<Stats>();
    both::<Restarts>();
    both::<ReturnWhen>();
    both::<Location>();
    both::<Limits>();
    both::<Output>();
    both::<OutputLine>();
    both::<OutputStream>();
    both::<Progress>();
    send::<ProgressStream>();
    unpin::<ProgressStream>();
    lives_on::<ProgressStream>();
    both::<worker::Context>();
    both::<Permit<'static, ThreadPoolExecutor>>();
    both::<ThreadPermit<'static>>();
    send::<Box<dyn Executor>>();
    sync::<Box<dyn Executor>>();
    both::<SharedMemory>();
    both::<Value<u8>>();
    both::<ValueGuard<'static, u8>>();
    both::<Array<u8>>();
    both::<ArrayGuard<'static, u8>>();
};

/// A result must be `Send`, but never `Sync`, whatever holds it.
const _: () = {
    both::<JoinHandle<SendOnly>>();
    send::<Map<SendOnly>>();
    unpin::<Map<SendOnly>>();
    send::<BlockingIter<Map<SendOnly>>>();
    lives_on::<Map<SendOnly>>();
    send::<Wait<JoinHandle<SendOnly>>>();
    unpin::<Wait<JoinHandle<SendOnly>>>();
    send::<Waited<JoinHandle<SendOnly>>>();
    send::<AsCompleted<JoinHandle<SendOnly>>>();
    unpin::<AsCompleted<JoinHandle<SendOnly>>>();
    both::<Keyed<u8, JoinHandle<SendOnly>>>();
    send::<KeyedMap<SendOnly, SendOnly>>();
    unpin::<KeyedMap<SendOnly, SendOnly>>();
    send::<TaskGroup<Keyed<SendOnly, JoinHandle<SendOnly>>>>();
    unpin::<TaskGroup<JoinHandle<SendOnly>>>();
};

#[test]
fn an_error_costs_one_word_in_a_result() {
    assert_eq!(size_of::<TaskError>(), size_of::<usize>());
    assert_eq!(size_of::<Result<(), TaskError>>(), size_of::<usize>());
}

#[test]
fn a_handle_costs_two_words() {
    assert_eq!(size_of::<JoinHandle<[u8; 1000]>>(), 2 * size_of::<usize>());
    assert_eq!(size_of::<AbortHandle>(), 2 * size_of::<usize>());
}
