//! How fair the objects that processes share are, and what a waiter costs, beside tokio:
//! `cargo bench -p benches --bench fairness`.
//!
//! - *turns*: eight tasks, threads or processes take one object again and again for a second, and keep it for a
//!   millisecond each time. Shown are the fewest and the most turns that one of them has;
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
