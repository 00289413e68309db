//! The cost of encoding and decoding values by their shape, compared with rmp-serde: `cargo bench -p benches --bench
//! codec`. At the end it prints the medians side by side.
//!
//! A value that is bytes, text or a vector of numbers by itself is not encoded: an executor, a queue or a pipe
//! copies it. The bench `multiprocessing` measures those.

#[expect(dead_code, reason = "the other benches use the rest")]
#[path = "common/figure.rs"]
mod figure;
/// The library's own module, which is not public. It depends on no other part of the library.
#[path = "../src/wire/msgpack/mod.rs"]
mod msgpack;
#[expect(dead_code, reason = "the other benches use the rest")]
#[path = "common/table.rs"]
mod table;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::figure::Unit;
use self::table::Table;

const ENCODE: &str = "encode";
const DECODE: &str = "decode";
const RMP_ENCODE: &str = "rmp-serde encode";
const RMP_DECODE: &str = "rmp-serde decode";
const COLUMNS: [&str; 4] = [ENCODE, RMP_ENCODE, DECODE, RMP_DECODE];

#[derive(Serialize, Deserialize)]
struct Holder {
    id: u64,
    data: Vec<u8>,
    name: String,
}

#[derive(Serialize, Deserialize)]
struct Point {
    x: i32,
    y: i32,
}

#[derive(Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
    mail: Option<String>,
    tags: Vec<String>,
    at: Point,
    active: bool,
}

#[derive(Serialize, Deserialize)]
enum Shape {
    Dot,
    Circle(f64),
    Line(Point, Point),
    Named { name: String, side: u8 },
}

fn main() {
    let mut bench = Bench::new();
    let len = 1 << 20;
    let data: Vec<u8> = (0..len)
        .map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let rows: Vec<Vec<u8>> = data.chunks(1024).map(<[u8]>::to_vec).collect();
    let wide: Vec<u64> = (1..=len as u64 / 8).map(|n| u64::MAX / n).collect();
    let name = "a name".to_owned();
    bench.large("u8s in a tuple", &(7_u64, data.clone()));
    bench.large(
        "u8s in a struct",
        &Holder {
            id: 7,
            data: data.clone(),
            name: name.clone(),
        },
    );
    bench.large("u8s in an Option", &Some(data.clone()));
    bench.large("u8s in lists of 1 KiB", &rows);
    bench.large("Bytes in a tuple", &(7_u64, Bytes::from(data)));
    bench.large("String in a tuple", &(7_u64, "x".repeat(1 << 20)));
    bench.large("u64s in a tuple", &(7_u64, wide.clone()));
    bench.large(
        "usizes in a tuple",
        &(7_u64, wide.iter().map(|n| *n as usize).collect::<Vec<_>>()),
    );
    bench.large(
        "f64s in a tuple",
        &(7_u64, wide.iter().map(|n| *n as f64).collect::<Vec<_>>()),
    );
    bench.large(
        "u128s in a tuple",
        &(
            7_u64,
            wide.chunks(2)
                .map(|n| u128::from(n[0]) << 64)
                .collect::<Vec<_>>(),
        ),
    );
    bench.small("u32", &70_000_u32);
    bench.small("u32 and String", &(70_000_u32, name.clone()));
    bench.small("struct of two", &Point { x: 1, y: -70_000 });
    let user = User {
        id: 1 << 40,
        name: name.clone(),
        mail: Some(name.clone()),
        tags: vec![name.clone(), name.clone()],
        at: Point { x: 1, y: -70_000 },
        active: true,
    };
    bench.small("struct of six", &user);
    let line = Shape::Line(Point { x: 1, y: 2 }, Point { x: 3, y: 4 });
    bench.small(
        "four enums",
        &[
            Shape::Dot,
            Shape::Circle(0.5),
            line,
            Shape::Named { name, side: 3 },
        ],
    );
    bench.small("10 u8s", &vec![200_u8; 10]);
    bench.small("100 u8s", &vec![200_u8; 100]);
    let points: Vec<_> = (0..1000).map(|n| Point { x: n, y: -n }).collect();
    bench.small("1000 structs of two", &points);
    let map: BTreeMap<String, u32> = (0..1000).map(|n: u32| (n.to_string(), n)).collect();
    bench.small("a map of 1000", &map);
    bench.finish();
}

struct Bench {
    criterion: Criterion,
    table: Table,
    start: SystemTime,
}

impl Bench {
    fn new() -> Self {
        Self {
            criterion: figure::criterion(Duration::from_millis(200), Duration::from_millis(600)),
            table: Table::new(COLUMNS.to_vec()),
            start: SystemTime::now(),
        }
    }

    /// A value of 1 MiB.
    fn large<T: Serialize + DeserializeOwned>(&mut self, name: &'static str, value: &T) {
        self.measure(name, value, Unit::Byte);
    }

    fn small<T: Serialize + DeserializeOwned>(&mut self, name: &'static str, value: &T) {
        self.measure(name, value, Unit::Time);
    }

    fn measure<T: Serialize + DeserializeOwned>(
        &mut self,
        name: &'static str,
        value: &T,
        unit: Unit,
    ) {
        self.table.add(name, unit);
        let mut group = self.criterion.benchmark_group(name);
        if unit == Unit::Byte {
            group.throughput(Throughput::Bytes(1 << 20));
        }
        let mut out = Vec::new();
        group.bench_function(ENCODE, |bencher| {
            bencher.iter(|| encode(black_box(value), &mut out));
        });
        encode(value, &mut out);
        group.bench_function(DECODE, |bencher| {
            bencher.iter(|| msgpack::read::<T>(black_box(&out)).expect("it was just encoded"));
        });
        let mut out = Vec::new();
        group.bench_function(RMP_ENCODE, |bencher| {
            bencher.iter(|| rmp_encode(black_box(value), &mut out));
        });
        rmp_encode(value, &mut out);
        group.bench_function(RMP_DECODE, |bencher| {
            bencher.iter(|| rmp_decode::<T>(black_box(&out)));
        });
    }

    /// Prints the results.
    fn finish(mut self) {
        self.criterion.final_summary();
        if figure::is_quick() {
            return;
        }
        for measure in self.table.measures() {
            for column in COLUMNS {
                if let Some(figure) = figure::read(measure, column, self.start) {
                    self.table.put(measure, column, figure);
                }
            }
        }
        self.table.print();
    }
}

fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    out.clear();
    msgpack::write(value, out).expect("it can be encoded");
    black_box(out);
}

/// Encodes as the library did with rmp-serde before: structs as maps, and the readable form of each type.
fn rmp_encode<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    out.clear();
    let serializer = rmp_serde::Serializer::new(&mut *out).with_struct_map();
    let written = value.serialize(&mut serializer.with_human_readable());
    written.expect("it can be encoded");
    black_box(out);
}

fn rmp_decode<T: DeserializeOwned>(bytes: &[u8]) -> T {
    let deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    T::deserialize(&mut deserializer.with_human_readable()).expect("it was just encoded")
}
