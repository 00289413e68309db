use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;

use proptest::prelude::*;

use super::super::store::{cut_after, stores};
use super::*;

/// A queue's memory, and what it should contain.
struct TriedRing {
    file: Descriptor,
    words: SharedMapping,
    ring: QueueRing,
    expected: VecDeque<Vec<u8>>,
    next: u8,
}

impl TriedRing {
    fn new() -> Self {
        let file = sys::growing_file().expect("a file");
        sys::lengthen(&file, BASE).expect("it grows");
        let words = SharedMapping::window(&file, 0, BASE as usize).expect("a window");
        let file = Descriptor::from(file);
        Self {
            ring: QueueRing::new(file.clone()),
            file,
            words,
            expected: VecDeque::new(),
            next: 0,
        }
    }

    fn state(&self) -> RingState {
        StoredState::new(&self.words, 0).load()
    }

    /// Continues as another process, which has nothing mapped yet.
    fn change_process(&mut self) {
        self.ring = QueueRing::new(self.file.clone());
    }

    fn item(&mut self, len: usize) -> (ItemHead, Vec<u8>) {
        self.next = self.next.wrapping_add(1);
        let bytes = (0..len)
            .map(|at| (at as u8).wrapping_mul(self.next))
            .collect();
        let head = ItemHead {
            len: len as u64,
            is_plain: len.is_multiple_of(2),
            is_in_file: false,
            parcel: len.is_multiple_of(3).then_some(len as u64 * 7),
        };
        (head, bytes)
    }

    fn try_put(&mut self, head: ItemHead, bytes: &[u8]) -> Result<(), RingError> {
        let (stored, (first, second)) = (
            StoredState::new(&self.words, 0),
            bytes.split_at(bytes.len() / 3),
        );
        self.ring
            .put(stored, stored.load(), head, [first, second].into_iter())
    }

    fn put(&mut self, len: usize) {
        let (head, bytes) = self.item(len);
        self.try_put(head, &bytes).expect("there is memory");
        self.expected.push_back(bytes);
    }

    /// The first item, according to the state.
    fn first(&mut self) -> Option<(ItemHead, Vec<u8>)> {
        let (state, mut bytes) = (self.state(), Vec::new());
        let head = self.ring.first(&state).expect("it makes sense")?;
        self.ring
            .read(&state, &head, &mut bytes)
            .expect("it can be read");
        Some((head, bytes))
    }

    fn pass(&mut self, head: &ItemHead) {
        let stored = StoredState::new(&self.words, 0);
        self.ring
            .pass(stored, stored.load(), head)
            .expect("it can be passed");
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let (head, bytes) = self.first()?;
        self.pass(&head);
        assert_eq!(head.is_plain, bytes.len().is_multiple_of(2));
        assert_eq!(
            head.parcel,
            bytes
                .len()
                .is_multiple_of(3)
                .then_some(bytes.len() as u64 * 7)
        );
        Some(bytes)
    }

    fn take_expected(&mut self) {
        let (found, expected) = (self.take(), self.expected.pop_front());
        assert!(found == expected, "another item");
    }

    fn taken_from_system(&self) -> u64 {
        let fd: OwnedFd = std::os::fd::AsFd::as_fd(&self.file)
            .try_clone_to_owned()
            .expect("a descriptor");
        let file = std::fs::File::from(fd);
        file.metadata().expect("the system tells").blocks() * 512
    }
}

#[test]
fn items_come_out_as_they_went_in_while_the_ring_is_used_in_turn() {
    let mut tried = TriedRing::new();
    for len in (0..3000).chain([20_000, 50_000, 1]) {
        tried.put(len);
        tried.put(len / 2);
        tried.take_expected();
        if len % 5 == 0 {
            tried.take_expected();
        }
    }
    while !tried.expected.is_empty() {
        tried.take_expected();
    }
    assert_eq!(tried.take(), None);
}

#[test]
fn a_ring_that_is_empty_begins_at_the_front_again() {
    let mut tried = TriedRing::new();
    for _ in 0..1000 {
        tried.put(1000);
        assert_eq!((tried.state().head, tried.state().ring), (0, BASE));
        tried.take_expected();
    }
    assert!(tried.taken_from_system() <= 2 * BASE);
}

#[test]
fn a_ring_that_grew_and_is_empty_gives_its_memory_back() {
    let mut tried = TriedRing::new();
    for _ in 0..100 {
        tried.put(100_000);
    }
    assert_eq!(tried.state().ring, 16 << 20);
    tried.change_process();
    (0..100).for_each(|_| tried.take_expected());
    assert_eq!(tried.state().ring, KEPT);
    assert!(tried.taken_from_system() <= BASE);
    tried.put(100_000);
    tried.take_expected();
}

#[test]
fn only_the_ring_that_counts_has_memory() {
    let mut tried = TriedRing::new();
    for _ in 0..60 {
        tried.put(10_000);
        let bound = BASE + tried.state().held().next_multiple_of(STEP) + STEP;
        assert!(tried.taken_from_system() <= bound);
    }
}

#[test]
fn without_memory_nothing_has_changed() {
    let mut tried = TriedRing::new();
    (0..3).for_each(|len| tried.put(len));
    let before = tried.state();
    for len in [u64::MAX >> 3, 1 << 60, 1 << 50] {
        let head = ItemHead {
            len,
            is_plain: true,
            is_in_file: false,
            parcel: None,
        };
        let refused = tried.try_put(head, &[]);
        assert!(matches!(refused, Err(RingError::NoSpace(_))), "{refused:?}");
        assert_eq!(tried.state(), before);
    }
    (0..3).for_each(|_| tried.take_expected());
}

/// The memory may contain anything: that is an error, and causes no access elsewhere.
fn check_words(words: &[u64; 12]) {
    let mut tried = TriedRing::new();
    tried.put(100);
    let [ring, secured, head, tail, put, taken, parcels, rest @ ..] = *words;
    let state = RingState {
        ring,
        secured,
        head,
        tail,
        put,
        taken,
        parcels,
        ..RingState::default()
    };
    for (at, word) in rest.into_iter().enumerate() {
        let own = tried.state();
        let ring = tried.ring.mapped(&own).expect("it is there");
        ring.word(8 * at).store(word, Ordering::Relaxed);
    }
    let (own, bytes) = tried.item(64);
    let stored = StoredState::new(&tried.words, 0);
    if let Ok(Some(head)) = tried.ring.first(&state) {
        let read = tried.ring.read(&state, &head, &mut Vec::new());
        let _ = read.and_then(|()| tried.ring.pass(stored, state, &head));
    }
    let _ = tried.ring.put(stored, state, own, [&bytes[..]].into_iter());
}

#[derive(Clone, Debug)]
enum Act {
    Put(usize),
    Take,
    ChangeProcess,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let len = prop_oneof![4 => 0..200_usize, 2 => 0..30_000_usize, 1 => 0..300_000_usize];
    let act = prop_oneof![
        5 => len.prop_map(Act::Put),
        4 => Just(Act::Take),
        1 => Just(Act::ChangeProcess),
    ];
    prop::collection::vec(act, 1..60)
}

proptest! {
    #![proptest_config(crate::common::cases(64))]

    /// Each act is cut off before each of its steps in turn, as if its process were killed there, and another process
    /// continues.
    #[test]
    fn a_kill_anywhere_leaves_all_items_and_each_once(acts in acts()) {
        let mut tried = TriedRing::new();
        for act in acts {
            match act {
                Act::ChangeProcess => tried.change_process(),
                Act::Put(len) => {
                    let (head, bytes) = tried.item(len);
                    let mut steps = 0;
                    while tried.state().len() == tried.expected.len() as u64 {
                        let _ = cut_after(steps, || tried.try_put(head, &bytes).expect("there is memory"));
                        tried.change_process();
                        steps += 1;
                    }
                    tried.expected.push_back(bytes);
                }
                Act::Take => {
                    let Some((head, bytes)) = tried.first() else { continue };
                    prop_assert!(tried.expected.front() == Some(&bytes));
                    let mut steps = 0;
                    while tried.state().len() == tried.expected.len() as u64 {
                        let _ = cut_after(steps, || tried.pass(&head));
                        tried.change_process();
                        steps += 1;
                    }
                    tried.expected.pop_front();
                }
            }
            prop_assert_eq!(tried.state().len(), tried.expected.len() as u64);
        }
        while !tried.expected.is_empty() {
            tried.take_expected();
        }
        prop_assert_eq!(tried.state().held(), 0);
    }
}

proptest! {
    #![proptest_config(crate::common::cases(4000))]

    #[test]
    fn garbage_in_memory_is_an_error_and_leads_nowhere(
        mut words: [u64; 12], sane in 0..4096_u16, small in 0..2048_u64,
    ) {
        let likely = [BASE, BASE, small * 8, small * 8 + 640, 9, 3, 0, 800, 801, 806, 8 << 60, 17];
        for (at, word) in words.iter_mut().enumerate() {
            if sane & (1 << at) != 0 {
                *word = likely[at];
            }
        }
        check_words(&words);
    }
}

#[test]
fn a_put_does_what_it_does_in_few_steps() {
    let mut tried = TriedRing::new();
    tried.put(8);
    // Head, two pieces, the numbers and the counter.
    assert!(stores(|| tried.put(8)) <= 14);
}

#[test]
fn a_ring_without_memory_and_numbers_out_of_bounds_are_damage() {
    let mut tried = TriedRing::new();
    tried.put(100);
    let state = tried.state();
    tried.ring.first(&state).expect("it makes sense");
    let far = RingState {
        ring: 1 << 30,
        secured: 1 << 30,
        tail: 1 << 29,
        ..state
    };
    sys::lengthen(&tried.file, 2 << 30).expect("it takes no memory");
    let changes: [fn(&mut RingState); 6] = [
        |_| {},
        |state| state.put = u64::MAX,
        |state| state.taken = u64::MAX,
        |state| state.parcels = u64::MAX,
        |state| state.secured = 0,
        |state| (state.ring, state.secured) = (1 << 63, 1 << 63),
    ];
    for change in changes {
        let mut spoilt = far;
        change(&mut spoilt);
        tried.change_process();
        let found = tried.ring.first(&spoilt);
        assert!(matches!(found, Err(RingError::Damaged)), "{spoilt:?}");
        let (head, bytes) = tried.item(64);
        let stored = StoredState::new(&tried.words, 0);
        let put = tried
            .ring
            .put(stored, spoilt, head, [&bytes[..]].into_iter());
        assert!(matches!(put, Err(RingError::Damaged)), "{spoilt:?}");
    }
}
