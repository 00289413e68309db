//! What a caller holds, whatever runs the work. Reading order:
//!
//! - [`contract`]: what an executor is; [`forward`]: references to one; [`extension`]: the methods that callers use,
//!   and how they reach it; [`stats`]: what it reports; [`open`]: what its clones share;
//! - [`task`]: what can be submitted; [`async_task`]: an async function; [`drive`]: its future; `data`: what can
//!   travel; `shared_arg`: what a worker decodes once; `shape`: how a call is written;
//! - [`options`]: how a task runs; [`token`]: a token of the user that cancels it;
//! - [`handle`]: what a caller gets; [`error`]: why there is no result (as data: `error_record`;
//!   [`escaped`]: its text);
//! - [`erased`]: a call on its way to a thread; `encoded`: or to a process; `callee`: its function; `served`: how it
//!   runs there, and its result;
//! - `relay`: a call that another program encoded; `collector`: its outcomes, still encoded; `relayed_runs`: as runs;
//! - [`promise`]: the outcomes that an executor owes; [`room`]: a place in its queue; [`run`]: how a
//!   thread runs a call;
//! - [`map`]: many calls as one stream; [`feed`]: its input; [`mapper`]: its function; [`chunk`]: its
//!   output; [`item_outcomes`]: which items it belongs to; [`chunk_wait`]: how long it waits for a whole
//!   chunk; [`keyed_map`]: results with the keys of their items;
//! - [`keyed`]: a handle whose outcome says which input it belongs to; [`wait`], [`as_completed`]: many handles
//!   at once; [`waitable`]: what these accept; [`deadline`]: how long they wait; [`blocking`]: on a thread;
//! - [`group`]: tasks that end together;
//! - [`retry`]: a task that is attempted again;
//! - [`context`]: what a task knows about itself; [`progress`]: what it reports; [`settings`]: what all
//!   executors check.

pub(crate) mod as_completed;
pub(crate) mod async_task;
pub(crate) mod blocking;
#[cfg(feature = "process")]
pub(crate) mod callee;
pub(crate) mod chunk;
mod chunk_wait;
#[cfg(feature = "cluster")]
#[allow(dead_code, reason = "the module `cluster` calls it")]
pub(crate) mod collector;
pub(crate) mod context;
mod contract;
#[cfg(feature = "process")]
pub(crate) mod data;
pub(crate) mod deadline;
pub(crate) mod drive;
#[cfg(feature = "process")]
pub(crate) mod encoded;
pub(crate) mod erased;
pub(crate) mod error;
#[cfg(feature = "serde")]
mod error_record;
pub(crate) mod escaped;
mod extension;
pub(crate) mod feed;
pub(crate) mod forward;
pub(crate) mod group;
pub(crate) mod handle;
mod item_outcomes;
pub(crate) mod keyed;
pub(crate) mod keyed_map;
pub(crate) mod map;
pub(crate) mod mapper;
pub(crate) mod open;
pub(crate) mod options;
pub(crate) mod progress;
pub(crate) mod promise;
#[cfg(feature = "cluster")]
#[allow(dead_code, reason = "the module `cluster` calls it")]
pub(crate) mod relay;
#[cfg(feature = "cluster")]
#[allow(dead_code, reason = "the module `cluster` calls it")]
pub(crate) mod relayed_runs;
pub(crate) mod retry;
pub(crate) mod room;
pub(crate) mod run;
#[cfg(feature = "process")]
pub(crate) mod served;
pub(crate) mod settings;
#[cfg(feature = "cluster")]
#[allow(dead_code, reason = "the module `cluster` calls it")]
pub(crate) mod shape;
#[cfg(feature = "process")]
pub(crate) mod shared_arg;
mod spares;
mod stats;
pub(crate) mod task;
mod token;
pub(crate) mod wait;
pub(crate) mod waitable;

pub use contract::Executor;
pub(crate) use contract::Intake;
pub use extension::ExecutorExt;
#[cfg(feature = "process")]
pub use extension::Permit;
#[cfg(all(feature = "process", feature = "tower"))]
pub(crate) use extension::submit_to;
pub use stats::{Restarts, Stats};

/// The traits that callers use: `use concurrent_futures::prelude::*;` brings `submit`, `map`, `shutdown`,
/// `shutdown_with` and `stats` of every executor into scope.
///
/// ```
/// use concurrent_futures::{Shutdown, ThreadPoolExecutor, prelude::*};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ThreadPoolExecutor::new()?;
/// assert_eq!(pool.submit(str::len, "four").await?, 4);
/// pool.shutdown_with(Shutdown::new().cancel_pending(true)).await;
/// # Ok(()) }
/// ```
pub mod prelude {
    pub use super::{Executor, ExecutorExt};
}
