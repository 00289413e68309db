//! Calls of a program that sends arbitrary bytes.

use std::collections::BTreeMap;

use super::*;
use crate::{functions, worker};

/// Pseudo-random numbers, the same in each run.
struct Dice(u64);

impl Dice {
    /// SplitMix64, by Steele, Lea and Flood.
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = self.roll(60);
        // Small bytes are heads of small values.
        let most = [256, 24][self.roll(2) as usize];
        (0..len).map(|_| self.roll(most) as u8).collect()
    }
}

fn number(x: u64) -> u64 {
    x
}

fn texts(a: String, b: String) -> usize {
    a.len() + b.len()
}

fn nested(map: BTreeMap<String, Vec<Option<(u8, f32)>>>, list: Vec<u16>) -> usize {
    map.len() + list.len()
}

fn ping() -> bool {
    worker::current().is_some()
}

#[tokio::test]
async fn whatever_bytes_are_relayed_each_item_has_an_outcome() {
    let lists = [
        functions![number],
        functions![texts],
        functions![nested],
        functions![ping],
    ];
    for on in executors(2) {
        let mut dice = Dice(7);
        let mut sent = Vec::new();
        for round in 0..2000 {
            let functions = &lists[round % lists.len()];
            let items = dice.roll(5) as u32;
            let mut bytes = dice.bytes();
            if dice.roll(2) == 0 {
                // With valid boundaries, so that the items are decoded.
                bytes = (0..items * 2)
                    .flat_map(|_| well_cut(dice.bytes(), dice.roll(2)))
                    .collect();
            }
            let call = (Bytes::from(bytes), items);
            sent.push((items, send_bytes(&*on, functions, call)));
            if sent.len() == 50 {
                for (items, sent) in sent.drain(..) {
                    let outcomes = sent.outcomes().await;
                    let counts = outcomes.runs.iter().map(|run| match run {
                        RelayedRun::Values(values) => values.count,
                        RelayedRun::Failed { count, .. } => *count,
                    });
                    assert_eq!(counts.sum::<u32>(), items);
                }
            }
        }
        assert!(
            relay_one(&*on, ping, ())
                .await
                .expect("the workers are well")
        );
    }
}

/// The bytes with a head that contains their length, and whether they are plain.
fn well_cut(bytes: Vec<u8>, plain: u64) -> Vec<u8> {
    let head = (bytes.len() as u8) << 1 | plain as u8;
    std::iter::once(head).chain(bytes).collect()
}
