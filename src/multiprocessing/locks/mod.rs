//! Objects that synchronize tasks and threads of any process. Each has async methods, and `blocking_` twins.
//!
//! - [`lock`], [`rlock`] and [`condition`] use a [robust lock](crate::multiprocessing::robust::lock);
//! - [`rwlock`] uses a [robust lock and the words of its readers](crate::multiprocessing::robust::rw);
//! - [`semaphore`] and [`bounded_semaphore`] use [permits](crate::multiprocessing::robust::permits); [`permit`] holds
//!   some of either;
//! - [`barrier`] uses a robust lock and the state in [`meeting`];
//! - [`event`] is only an eventfd, a [state](crate::multiprocessing::waiting::level) that its waiters check.
//!
//! Each guard knows the process that took it. The copy that a `fork` makes of it releases and writes nothing.

mod barrier;
mod bounded_semaphore;
mod condition;
mod event;
mod lock;
mod meeting;
mod permit;
mod rlock;
mod rwlock;
mod semaphore;

pub use self::barrier::{Barrier, BarrierWaitResult, BrokenBarrier};
pub use self::bounded_semaphore::BoundedSemaphore;
pub use self::condition::{Condition, WaitTimeoutResult};
pub use self::event::Event;
pub use self::lock::{Lock, LockGuard};
pub use self::permit::SemaphorePermit;
pub use self::rlock::{RLock, RLockGuard};
pub use self::rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use self::semaphore::Semaphore;
