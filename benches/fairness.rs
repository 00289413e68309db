//! How fair the shared objects are, and the cost of a waiter, compared with tokio: `cargo bench -p benches --bench
//! fairness`.
//!
//! - *turns*: eight tasks, threads or processes take one object again and again for a second, and keep it for a
//!   millisecond each time. It shows the fewest and the most turns of one of them;
//! - *cost*: processor time of a turn, an item or an arrival while that number of tasks wait.

#[path = "fairness/costs.rs"]
mod costs;
#[expect(dead_code, reason = "the other benches use the rest")]
#[path = "common/figure.rs"]
mod figure;
#[expect(dead_code, reason = "the other benches use the rest")]
#[path = "common/table.rs"]
mod table;
#[path = "fairness/turns.rs"]
mod turns;

fn main() {
    concurrent_futures::init();
    let is_quick = figure::is_quick();
    let tables = [
        ("turns", turns::measure(is_quick)),
        ("waiters", costs::measure(is_quick)),
    ];
    if !is_quick {
        for (name, table) in tables {
            table.print();
            table.report(name);
        }
    }
}
