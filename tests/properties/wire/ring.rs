use proptest::prelude::*;

use super::*;

fn memory() -> SharedMapping {
    SharedMapping::create(LEN).expect("memory").0
}

fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at.wrapping_mul(31) >> 3) as u8 ^ seed)
        .collect()
}

/// Writes all of `bytes`, as a process that may sleep does.
fn write_all(ring: PayloadRing<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let moved = ring.put(bytes);
        bytes = &bytes[moved.len..];
        if moved.is_awaited {
            ring.wake_reader();
        }
        if moved.len == 0
            && let Some(wait) = ring.want_room(bytes.len())
        {
            wait.block();
        }
    }
}

fn read_all(ring: PayloadRing<'_>, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let most = len - bytes.len();
        let moved = ring.take(&mut bytes, most);
        if moved.is_awaited {
            ring.wake_writer();
        }
        if moved.len == 0
            && let Some(wait) = ring.want_bytes(most)
        {
            wait.block();
        }
    }
    bytes
}

proptest! {
    #![proptest_config(crate::common::cases(24))]

    #[test]
    fn two_threads_read_what_was_written_whatever_the_sizes(
        sizes in prop::collection::vec(prop_oneof![1_usize..5000, 1_usize..5 * RING], 1..8),
        start in prop_oneof![Just(0_u32), Just(u32::MAX - 70_000), any::<u32>()],
    ) {
        let memory = memory();
        let ring = PayloadRing::new(&memory, 0, RingDirection::FromWorker);
        prop_assert!(ring.prepare(usize::MAX / 2, false));
        for word in [WRITTEN, READ, ROOM_WANTED, BYTES_WANTED] {
            ring.word(word).store(start, Ordering::SeqCst);
        }
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for (seed, size) in sizes.iter().enumerate() {
                    write_all(ring, &pattern(seed as u8, *size));
                }
            });
            for (seed, size) in sizes.iter().enumerate() {
                prop_assert!(read_all(ring, *size) == pattern(seed as u8, *size));
            }
            Ok(())
        })?;
        prop_assert!(ring.is_empty());
    }
}

#[test]
fn a_ring_never_holds_more_than_it_can_and_says_when_there_is_room() {
    let memory = memory();
    let ring = PayloadRing::new(&memory, 0, RingDirection::ToWorker);
    assert!(ring.prepare(RING, false));
    let bytes = pattern(1, RING + 1);
    let mut written = 0;
    while ring.want_room(1).is_none() {
        written += ring.put(&bytes[written..]).len;
    }
    assert_eq!((written, ring.put(&bytes).len), (RING, 0));
    let mut read = Vec::new();
    assert!(
        ring.take(&mut read, 1).is_awaited,
        "the writer wants a byte of room"
    );
    assert_eq!(ring.put(&bytes[RING..]).len, 1);
    read.extend(read_all(ring, RING));
    assert!(read == bytes);
}

#[test]
fn one_that_waits_is_woken_once_and_for_enough() {
    let memory = memory();
    let ring = PayloadRing::new(&memory, 0, RingDirection::ToWorker);
    assert!(ring.prepare(RING, false));
    assert!(ring.want_bytes(10 * RING).is_some());
    assert!(!ring.put(&[1; WORTH_WAKING - 1]).is_awaited);
    assert!(ring.put(&[1; 1]).is_awaited);
    assert!(!ring.put(&[1; 1]).is_awaited);
    assert!(ring.want_bytes(1).is_none(), "it is there");
}

#[test]
fn a_ring_releases_the_bytes_that_were_read_and_no_others() {
    let memory = memory();
    let ring = PayloadRing::new(&memory, 0, RingDirection::ToWorker);
    for round in 0..3 {
        assert!(ring.prepare(100_000, false));
        let bytes = pattern(round, 100_000);
        assert_eq!(ring.put(&bytes).len, bytes.len());
        ring.release();
        assert!(read_all(ring, bytes.len()) == bytes);
        ring.release();
        let rest = memory.read(ring.bytes, 100_000);
        assert!(rest.iter().all(|byte| *byte == 0), "it was released");
    }
}

#[test]
fn a_ring_that_makes_no_sense_is_not_followed_out_of_it() {
    let memory = memory();
    let ring = PayloadRing::new(&memory, 0, RingDirection::FromWorker);
    ring.word(WRITTEN).store(u32::MAX - 5, Ordering::SeqCst);
    ring.word(READ).store(17, Ordering::SeqCst);
    let mut bytes = Vec::new();
    assert_eq!(ring.put(&[1]).len, 0);
    for _ in 0..20 {
        ring.take(&mut bytes, usize::MAX);
    }
    assert!(bytes.len() <= 20 * PIECE);
}
