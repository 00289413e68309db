//! [`ThreadPoolExecutor`]: work on threads, a bounded number at a time. Reading order: [`pool`], [`builder`],
//! [`config`]; [`submit`] and [`permit`]: how a call and the chunks of a map reach the pool; [`scope`]: tasks that
//! borrow; [`core`]: what waits, and which seat takes it; [`seats`]: the state of all seats; [`runtimes`]: whose
//! threads they run on; [`seat`]: one seat; [`idle_runtimes`]: the runtimes that drive async tasks.

mod builder;
mod config;
mod core;
mod idle_runtimes;
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
