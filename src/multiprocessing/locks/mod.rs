//! Objects that synchronize tasks and threads of any process. Each has async methods, and `blocking_` twins.
//!
//! [`lock`], [`rlock`] and [`condition`] stand on a [robust lock](crate::multiprocessing::robust::lock); [`semaphore`]
//! and [`bounded_semaphore`] on [permits](crate::multiprocessing::robust::permits); [`barrier`] on a robust lock and the
//! state in [`meeting`]; [`event`] is an eventfd alone.

mod barrier;
mod bounded_semaphore;
mod condition;
mod event;
mod lock;
mod meeting;
mod permit;
mod rlock;
mod semaphore;

pub use self::barrier::{Barrier, BarrierWaitResult, BrokenBarrier};
pub use self::bounded_semaphore::BoundedSemaphore;
pub use self::condition::{Condition, WaitTimeoutResult};
pub use self::event::Event;
pub use self::lock::{Lock, LockGuard};
pub use self::permit::SemaphorePermit;
pub use self::rlock::{RLock, RLockGuard};
pub use self::semaphore::Semaphore;
