//! A task that moves between runtimes: `src/home/movable.rs`, on primitives that a schedule watches.

mod current;
#[expect(dead_code, reason = "only `Home` numbers its tasks")]
#[path = "../../../../src/home/movable.rs"]
mod movable;
mod orders;
mod primitives;
mod schedule;
