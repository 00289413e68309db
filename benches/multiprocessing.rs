//! The cost of sending items between processes, compared with peers, in one run: `cargo bench -p benches --bench
//! multiprocessing`. At the end it prints the medians side by side, and compares them with the goals: only ratios are
//! valid on another machine.
//!
//! Every contender sends to a peer process, in which a thread blocks. `channels/peers.py` measures Python's
//! queue and pipe, with `$PYTHON` or `python3`.

mod channels;
#[expect(dead_code, reason = "the other benches use the rest")]
#[path = "common/figure.rs"]
mod figure;
#[expect(dead_code, reason = "the other benches use the rest")]
#[path = "common/table.rs"]
mod table;

use std::time::{Duration, SystemTime};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};

use crate::channels::ipc::{self, Ipc};
use crate::channels::ours::{AsyncPipe, AsyncQueue, BlockingPipe, BlockingQueue};
use crate::channels::peers::{self, Peers};
use crate::channels::{Channel, Item, Role};
use crate::figure::Unit;
use crate::table::{Goal, Table};

/// Repeats a block for every channel, one right after another.
macro_rules! each_channel {
    ($C:ident<$T:ty> => $do:expr) => {
        each_channel!($C<$T> => $do, BlockingQueue, AsyncQueue, BlockingPipe, AsyncPipe, Ipc);
    };
    ($C:ident<$T:ty> => $do:expr, $($channel:ident),*) => {
        $({
            type $C<T> = $channel<T>;
            $do;
        })*
    };
}

fn main() {
    // A peer process also starts here, serves and does not return.
    ipc::init();
    concurrent_futures::init();

    let mut bench = Bench::new();
    bench.alone();
    bench.round_trip("round trip, small", 7_u64);
    bench.round_trip("round trip, 64 KiB", vec![7_u8; 64 << 10]);
    bench.round_trip("round trip, 1 MiB", vec![7_u8; 1 << 20]);
    bench.one_way("one way, small", 7_u64, Throughput::Elements(1));
    for (name, size) in [("one way, 64 KiB", 64 << 10), ("one way, 1 MiB", 1 << 20)] {
        bench.one_way(name, vec![7_u8; size], Throughput::Bytes(size as u64));
    }
    bench.criterion.final_summary();
    if !bench.quick {
        bench.print_results();
    }
}

struct Bench {
    criterion: Criterion,
    table: Table,
    start: SystemTime,
    /// Whether criterion only runs everything once, as a test.
    quick: bool,
}

fn columns() -> Vec<&'static str> {
    let mut columns = Vec::new();
    each_channel!(C<u64> => columns.push(<C<u64> as Channel<u64>>::NAME));
    columns.extend(peers::NAMES);
    columns
}

impl Bench {
    fn new() -> Self {
        Self {
            criterion: figure::criterion(Duration::from_millis(300), Duration::from_millis(1200)),
            table: Table::new(columns()),
            start: SystemTime::now(),
            quick: figure::is_quick(),
        }
    }

    fn group(&mut self, name: &'static str, unit: Unit) -> BenchmarkGroup<'_, WallTime> {
        self.table.add(name, unit);
        let mut group = self.criterion.benchmark_group(name);
        group.sample_size(20).sampling_mode(SamplingMode::Flat);
        group
    }

    /// One thread puts an item and takes it.
    fn alone(&mut self) {
        let mut group = self.group("one process", Unit::Time);
        each_channel!(C<u64> => measure::<u64, C<u64>>(&mut group, Role::Nobody, |channel, times| {
            channel.round_trips(&7, times)
        }));
    }

    /// An item is sent to the peer and back before the next one.
    fn round_trip<T: ipc::Ends>(&mut self, name: &'static str, item: T) {
        let mut group = self.group(name, Unit::Time);
        each_channel!(C<T> => measure::<T, C<T>>(&mut group, Role::Echo, |channel, times| {
            channel.round_trips(&item, times)
        }));
    }

    /// A flood of items, until the peer has received all of them.
    fn one_way<T: ipc::Ends>(&mut self, name: &'static str, item: T, each: Throughput) {
        let unit = match each {
            Throughput::Elements(_) => Unit::Call,
            _ => Unit::Byte,
        };
        let mut group = self.group(name, unit);
        group.throughput(each);
        each_channel!(C<T> => measure::<T, C<T>>(&mut group, Role::Sink, |channel, times| {
            channel.flood(&item, times)
        }));
    }

    /// Prints the results.
    fn print_results(mut self) {
        let measures = self.table.measures();
        let peers = Peers::measure(figure::filter());
        for measure in &measures {
            for contender in columns() {
                let own = figure::read(measure, contender, self.start);
                let peer = || peers.as_ref().ok()?.get(measure, contender);
                if let Some(figure) = own.or_else(peer) {
                    self.table.put(measure, contender, figure);
                }
            }
        }
        self.table.print();
        self.table.report("multiprocessing");
        self.table.print_goals_head();
        for measure in measures {
            for (own, python) in [
                ("queue", &[peers::QUEUE]),
                ("queue, async", &[peers::QUEUE]),
                ("pipe", &[peers::PIPE]),
                ("pipe, async", &[peers::PIPE]),
            ] {
                for other in [&[ipc::NAME], python] {
                    self.table.print_goal(measure, own, Goal::Times(1.0, other));
                }
            }
        }
        if let Err(error) = peers {
            println!("\nWithout Python: {error}.");
        }
    }
}

/// Measures `run`, which repeats an operation this number of times and returns how long that took.
fn measure<T: Item, C: Channel<T>>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    role: Role,
    run: impl Fn(&mut C, u64) -> Duration,
) {
    let mut channel = None; // Started when criterion runs it.
    group.bench_function(C::NAME, |bencher| {
        let channel = channel.get_or_insert_with(|| C::start(role));
        bencher.iter_custom(|times| run(channel, times));
    });
}
