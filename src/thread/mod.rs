//! [`ThreadPoolExecutor`]: work on threads, a bounded number at a time. Reading order: [`pool`], [`builder`],
//! [`config`]; [`submit`] and [`permit`]: how a call and the chunks of a map reach it; [`scope`]: tasks that borrow;
//! [`core`]: what waits, and which seat takes it; [`seats`]: the state of all seats; [`runtimes`]: on whose threads
//! they run; [`seat`]: one of them, from inside.

mod builder;
mod config;
mod core;
mod permit;
mod pool;
mod runtimes;
mod scope;
mod seat;
mod seats;
mod submit;

pub use builder::ThreadPoolBuilder;
pub use permit::ThreadPermit;
pub use pool::ThreadPoolExecutor;
pub use scope::{Scope, ScopedHandle};
