//! Descriptors beside a message, which serde cannot carry. While a message is encoded, a [`Descriptor`]
//! serializes as a number and is stored here. While the message is decoded, that number finds the
//! descriptor that came with it. Elsewhere, in a JSON body or a file, both fail with a clear error.
//!
//! Most descriptors are for one item: the sender closes its copy when the item begins, so that an object ends when the
//! last process that uses it drops it. A [`Lasting`] one is for all items that name it, and a message carries it once.

use std::cell::Cell;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::sys::{self, AsFd, BorrowedFd, FileIdentity, OwnedFd};

/// An open descriptor, shared by its clones. Dropping the last clone closes it.
#[derive(Clone, Debug)]
pub(crate) struct Descriptor(Arc<OpenDescriptor>);

#[derive(Debug)]
struct OpenDescriptor {
    fd: OwnedFd,
    is_of_parent: bool,
    /// The identity of its file, once it was needed.
    identity: OnceLock<FileIdentity>,
    /// A value that is dropped after the descriptor is closed.
    afterwards: OnceLock<Box<dyn Debug + Send + Sync>>,
}

thread_local! {
    /// The descriptors of the message that is being encoded.
    static OUTGOING: Cell<Option<Vec<Descriptor>>> = const { Cell::new(None) };
    /// The number of outgoing descriptors, which is read after each item of a job: most items have none.
    static GATHERED: Cell<Gathered> = const { Cell::new(Gathered { for_one_item: 0, lasting: 0 }) };
    /// The descriptors that came with the message that is being decoded.
    static INCOMING: Cell<Option<Vec<Descriptor>>> = const { Cell::new(None) };
}

/// How many descriptors a message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gathered {
    pub(crate) for_one_item: usize,
    pub(crate) lasting: usize,
}

type MessageSlot = std::thread::LocalKey<Cell<Option<Vec<Descriptor>>>>;

/// Moves `held` into `slot` while `work` runs, which is user code.
fn lend<T>(slot: &'static MessageSlot, held: &mut Vec<Descriptor>, work: impl FnOnce() -> T) -> T {
    struct RestoreSlot<'a> {
        slot: &'static MessageSlot,
        held: &'a mut Vec<Descriptor>,
        /// The descriptors of an enclosing message.
        outer: Option<Vec<Descriptor>>,
        gathered: Gathered,
    }

    impl Drop for RestoreSlot<'_> {
        fn drop(&mut self) {
            let held = self.slot.replace(self.outer.take());
            *self.held = held.unwrap_or_default();
            GATHERED.set(self.gathered);
        }
    }

    let outer = slot.replace(Some(std::mem::take(held)));
    let _lent = RestoreSlot {
        slot,
        held,
        outer,
        gathered: GATHERED.get(),
    };
    work()
}

/// Encodes a message or a part of one. Adds its descriptors to `to`, which may already contain lasting ones only.
pub(crate) fn gather<T>(to: &mut Vec<Descriptor>, encode: impl FnOnce() -> T) -> T {
    let gathered = Gathered {
        for_one_item: 0,
        lasting: to.len(),
    };
    lend(&OUTGOING, to, || {
        GATHERED.set(gathered);
        encode()
    })
}

/// Decodes a message or a part of one. `from` holds its descriptors, in the order in which they were gathered. They
/// stay there: serde reads some values more than once.
pub(crate) fn supply<T>(from: &mut Vec<Descriptor>, decode: impl FnOnce() -> T) -> T {
    lend(&INCOMING, from, decode)
}

/// How many descriptors the message that is being encoded has so far.
#[inline]
pub(crate) fn gathered() -> Gathered {
    GATHERED.get()
}

fn with<T>(slot: &'static MessageSlot, act: impl FnOnce(Option<&mut Vec<Descriptor>>) -> T) -> T {
    let mut held = slot.take();
    let outcome = act(held.as_mut());
    slot.set(held);
    outcome
}

impl From<OwnedFd> for Descriptor {
    fn from(fd: OwnedFd) -> Self {
        Self::new(fd, false)
    }
}

impl Descriptor {
    /// A descriptor that came with a call of this worker's parent.
    pub(crate) fn of_parent(fd: OwnedFd) -> Self {
        Self::new(fd, true)
    }

    fn new(fd: OwnedFd, is_of_parent: bool) -> Self {
        Self(Arc::new(OpenDescriptor {
            fd,
            is_of_parent,
            identity: OnceLock::new(),
            afterwards: OnceLock::new(),
        }))
    }

    /// Keeps `what` until the descriptor is closed in this process. Only the first call has an effect.
    pub(crate) fn keep_until_closed(&self, what: impl Debug + Send + Sync + 'static) {
        let _ = self.0.afterwards.set(Box::new(what));
    }

    /// Whether it came with a call of this worker's parent, which is trusted here.
    pub(crate) fn is_of_parent(&self) -> bool {
        self.0.is_of_parent
    }

    /// The identity of its file. Only the first call makes a system call.
    pub(crate) fn file_identity(&self) -> io::Result<FileIdentity> {
        if let Some(identity) = self.0.identity.get() {
            return Ok(*identity);
        }
        let identity = sys::file_identity(self)?;
        Ok(*self.0.identity.get_or_init(|| identity))
    }

    /// Stores it with the message that is being encoded, and returns its number there. `None` if there is no such
    /// message.
    fn enclose(&self, is_lasting: bool) -> Option<u32> {
        with(&OUTGOING, |outgoing| {
            let outgoing = outgoing?;
            let same = |other: &Self| Arc::ptr_eq(&self.0, &other.0);
            let known = outgoing.iter().position(same).filter(|_| is_lasting);
            let number = known.unwrap_or_else(|| {
                let mut gathered = GATHERED.get();
                match is_lasting {
                    true => gathered.lasting += 1,
                    false => gathered.for_one_item += 1,
                }
                GATHERED.set(gathered);
                outgoing.push(self.clone());
                outgoing.len() - 1
            });
            u32::try_from(number).ok()
        })
    }

    fn serialize_as<S: Serializer>(
        &self,
        is_lasting: bool,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let number = self.enclose(is_lasting).ok_or_else(|| {
            serde::ser::Error::custom(
                "a shared object or an open file can only be sent to a process: as an argument of a task, an \
                 initializer or `Process::spawn`, or through a `Queue` or a `Connection`",
            )
        })?;
        number.serialize(serializer)
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

impl Serialize for Descriptor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize_as(false, serializer)
    }
}

/// A descriptor that the sender keeps, and that all items of a message may name. It arrives as a [`Descriptor`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lasting<'a>(pub(crate) &'a Descriptor);

impl Serialize for Lasting<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize_as(true, serializer)
    }
}

impl<'de> Deserialize<'de> for Descriptor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        let found = with(&INCOMING, |incoming| {
            incoming.map(|held| held.get(number as usize).cloned())
        });
        let missing = match found {
            Some(Some(descriptor)) => return Ok(descriptor),
            Some(None) => "a descriptor of the received message is missing",
            None => {
                "a shared object or an open file can only be received by a process: as an argument of a task, an \
                 initializer or `Process::spawn`, or through a `Queue` or a `Connection`"
            }
        };
        Err(serde::de::Error::custom(missing))
    }
}

#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use std::panic::AssertUnwindSafe;

    use super::*;
    use crate::wire::{Chain, codec};

    fn descriptor() -> Descriptor {
        let (one, _other) = crate::sys::socket_pair().expect("a socket pair");
        Descriptor::from(one)
    }

    const NONE: Gathered = Gathered {
        for_one_item: 0,
        lasting: 0,
    };

    #[test]
    fn a_message_carries_a_lasting_descriptor_once() {
        let (lasting, other) = (descriptor(), descriptor());
        let (mut out, mut beside) = (Chain::new(), Vec::new());
        gather(&mut beside, || {
            for item in [&lasting, &other, &lasting] {
                codec::put_encoded(&Lasting(item), &mut out).expect("encoded in a message");
            }
            codec::put(lasting.clone(), &mut out).expect("encoded in a message");
            let expected = Gathered {
                for_one_item: 1,
                lasting: 2,
            };
            assert_eq!(gathered(), expected);
        });
        assert_eq!(beside.len(), 3);
        let mut input = out.into_reader();
        let received = supply(&mut beside, || {
            [(); 4]
                .map(|()| codec::get::<Descriptor>(&mut input).expect("it came with the message"))
        });
        for (received, sent) in received.iter().zip([&lasting, &other, &lasting, &lasting]) {
            assert!(Arc::ptr_eq(&received.0, &sent.0));
        }
    }

    #[test]
    fn descriptors_that_a_message_gathers_are_found_by_their_numbers() {
        let sent = [descriptor(), descriptor()];
        let (mut out, mut beside) = (Chain::new(), vec![descriptor()]);
        gather(&mut beside, || {
            codec::put(sent.to_vec(), &mut out).expect("encoded in a message");
            let expected = Gathered {
                for_one_item: 2,
                lasting: 1,
            };
            assert_eq!(gathered(), expected);
        });
        assert_eq!(beside.len(), 3);
        let mut input = out.into_reader();
        let received: Vec<Descriptor> =
            supply(&mut beside, || codec::get(&mut input)).expect("they came with the message");
        let same = |(one, other): (&Descriptor, &Descriptor)| Arc::ptr_eq(&one.0, &other.0);
        assert!(received.iter().zip(&sent).all(same));
    }

    #[test]
    fn outside_of_a_message_there_is_a_clear_error_both_ways() {
        let error =
            rmp_serde::to_vec(&descriptor()).expect_err("MessagePack carries no descriptors");
        assert!(error.to_string().contains("argument of a task"), "{error}");
        let error = rmp_serde::from_slice::<Descriptor>(&[0])
            .expect_err("no descriptor came with the bytes");
        assert!(error.to_string().contains("argument of a task"), "{error}");
        let mut none = Vec::new();
        let error = supply(&mut none, || rmp_serde::from_slice::<Descriptor>(&[7]));
        assert!(
            error
                .expect_err("none came")
                .to_string()
                .contains("missing")
        );
    }

    #[test]
    fn a_value_that_is_kept_until_the_close_is_dropped_after_the_last_copy() {
        #[derive(Debug)]
        struct ChecksOtherEnd(std::os::unix::net::UnixStream);

        impl Drop for ChecksOtherEnd {
            fn drop(&mut self) {
                // The other end is already closed.
                assert!(matches!(std::io::Read::read(&mut self.0, &mut [0]), Ok(0)));
            }
        }

        let (one, other) = crate::sys::socket_pair().expect("a socket pair");
        let held = Arc::new(());
        let descriptor = Descriptor::from(one);
        descriptor.keep_until_closed((ChecksOtherEnd(other.into()), held.clone()));
        let copy = descriptor.clone();
        drop(descriptor);
        assert_eq!(Arc::strong_count(&held), 2);
        drop(copy);
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn an_encoding_within_another_has_its_own_and_a_panic_leaves_all_as_it_was() {
        let (mut outer, mut inner) = (Vec::new(), Vec::new());
        gather(&mut outer, || {
            let mut out = Chain::new();
            codec::put(descriptor(), &mut out).expect("encoded in a message");
            let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| {
                gather(&mut inner, || {
                    assert_eq!(gathered(), NONE);
                    codec::put(vec![descriptor(); 3], &mut out).expect("encoded in a message");
                    panic!("a panic while a message is encoded");
                });
            }));
            assert!(panicked.is_err());
            assert_eq!(gathered().for_one_item, 1);
        });
        assert_eq!((outer.len(), inner.len()), (1, 3));
        assert_eq!(gathered(), NONE);
    }
}
