//! The objects that this process has. An object that arrives again is recognised: it becomes another handle to the
//! known object, and the received descriptors are closed. So it costs no second descriptor or mapping. It also means
//! that what a process keeps for an object, for example the line of its waiting tasks, exists only once.
//!
//! An object is recognised by its parts, as the system identifies them, and all of them must be the same. Another
//! process may send one part of a known object together with a foreign one: a lock's memory with a bell that no other
//! process hears. That becomes a different object here, and does not affect the real one, even if it arrives first.
//!
//! An identity is valid while the part is open, and a known object keeps its parts open. So the entry of a living
//! object is correct. The entry of a dropped one is replaced or swept.
//!
//! Identifying a file costs one system call, and identifying an eventfd a read from `/proc`. So the file is compared
//! first, and the other parts are identified only when a file arrives again.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use crate::sys::{self, AsFd, FileIdentity};

/// A part of an object, as the system or the object's sender identifies it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    File(FileIdentity),
    Eventfd(u64),
    Socket(u64),
    Size(usize),
    Name(Option<Box<str>>),
}

impl Part {
    /// A file in memory. Reading any other file may block on a process that serves it.
    pub(crate) fn file(file: impl AsFd) -> Option<Self> {
        sys::file_identity(file).ok().map(Self::File)
    }

    /// `None` if the system does not identify eventfds: without `/proc`, or in a sandbox that hides it.
    pub(crate) fn eventfd(fd: impl AsFd) -> Option<Self> {
        sys::eventfd_identity(fd).map(Self::Eventfd)
    }

    pub(crate) fn socket(socket: impl AsFd) -> Option<Self> {
        sys::socket_identity(socket).map(Self::Socket)
    }
}

/// The known objects, by their type and their first part.
struct Known {
    objects: BTreeMap<(TypeId, Part), Vec<KnownObject>>,
    /// The number of objects, including dropped ones, and the number at which dropped ones are removed.
    count: usize,
    most: usize,
}

struct KnownObject {
    object: Weak<dyn Any + Send + Sync>,
    /// The other parts, once they were needed and the system identified them.
    others: Option<Vec<Part>>,
}

static KNOWN: Mutex<Known> = Mutex::new(Known {
    objects: BTreeMap::new(),
    count: 0,
    most: FEW,
});

/// A sweep of fewer entries is not worth its cost.
const FEW: usize = 64;

/// Returns the known object of this type with these parts, or else makes `new` known. Without a first part, none is
/// recognised.
pub(crate) fn recognised<T: Any + Send + Sync>(
    new: T,
    first: Option<Part>,
    others: impl Fn(&T) -> Option<Vec<Part>>,
) -> Arc<T> {
    let new = Arc::new(new);
    let Some(first) = first else { return new };
    // `new`, if it is not needed, is dropped after the lock is released: that closes its descriptors.
    // A process that was forked while another thread held the lock never gets it, and recognises no object.
    let found = sys::lock_soon(&KNOWN).and_then(|mut known| known.of(first, others, &new));
    found.unwrap_or(new)
}

impl Known {
    fn of<T: Any + Send + Sync>(
        &mut self,
        first: Part,
        others: impl Fn(&T) -> Option<Vec<Part>>,
        new: &Arc<T>,
    ) -> Option<Arc<T>> {
        let alike = self.objects.entry((TypeId::of::<T>(), first)).or_default();
        let is_alive = |known: &KnownObject| known.object.strong_count() > 0;
        let new_others = alike.iter().any(is_alive).then(|| others(new)).flatten();
        if let Some(new_others) = &new_others {
            for known in alike.iter_mut() {
                let object = known.object.upgrade();
                let Some(object) = object.and_then(|object| object.downcast::<T>().ok()) else {
                    continue; // The object was dropped.
                };
                if known.others.is_none() {
                    known.others = others(&object);
                }
                if known.others.as_ref() == Some(new_others) {
                    return Some(object);
                }
            }
        }
        let object = Arc::downgrade(new);
        alike.push(KnownObject {
            object,
            others: new_others,
        });
        self.count += 1;
        if self.count >= self.most {
            self.sweep();
        }
        None
    }

    /// Removes the dropped objects. The next sweep follows only when as many objects are added as remain now, so the
    /// cost per object is small.
    fn sweep(&mut self) {
        self.objects.retain(|_, alike| {
            alike.retain(|known| known.object.strong_count() > 0);
            !alike.is_empty()
        });
        self.count = self.objects.values().map(Vec::len).sum();
        self.most = FEW.max(2 * self.count);
    }
}

#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use std::thread;

    use super::*;

    /// An object in a test: its first part, and the others.
    #[derive(Debug, PartialEq)]
    struct Thing(usize, Option<&'static str>);

    fn thing(first: usize, other: Option<&'static str>) -> Arc<Thing> {
        let others = |thing: &Thing| Some(vec![Part::Name(Some(thing.1?.into()))]);
        recognised(Thing(first, other), Some(Part::Size(first)), others)
    }

    #[test]
    fn an_object_is_recognised_by_its_type_and_all_its_parts_while_it_exists() {
        let (first, other) = (thing(1, Some("a")), thing(1, Some("b")));
        assert_eq!(
            (&*first, &*other),
            (&Thing(1, Some("a")), &Thing(1, Some("b")))
        );
        for _ in 0..3 {
            assert!(Arc::ptr_eq(&thing(1, Some("a")), &first));
            assert!(Arc::ptr_eq(&thing(1, Some("b")), &other));
            assert_eq!(*thing(2, Some("a")), Thing(2, Some("a")));
            assert_eq!(
                *thing(1, None),
                Thing(1, None),
                "a thing without a first part is not recognised"
            );
        }
        assert_eq!(
            *recognised(5_u8, Some(Part::Size(1)), |_| Some(Vec::new())),
            5
        );
        let weak = Arc::downgrade(&first);
        drop(first);
        assert!(weak.upgrade().is_none(), "the object is not kept");
        assert_eq!(*thing(1, Some("a")), Thing(1, Some("a")));
    }

    #[test]
    fn dropped_objects_leave_few_entries() {
        let mut known = Known {
            objects: BTreeMap::new(),
            count: 0,
            most: FEW,
        };
        let mut add = |number: usize| {
            let new = Arc::new(number);
            let found = known.of(Part::Size(number % 3000), |_| Some(Vec::new()), &new);
            (found.unwrap_or(new), known.count)
        };
        let kept: Vec<_> = (0..100).map(|number| add(number).0).collect();
        for number in 1000..10_000 {
            assert!(add(number).1 <= 2 * (kept.len() + 2));
        }
        for (number, object) in kept.iter().enumerate() {
            assert!(Arc::ptr_eq(&add(number).0, object));
        }
    }

    #[test]
    fn threads_that_find_an_object_at_the_same_time_have_one() {
        for round in 20_000..20_100 {
            let found = thread::scope(|scope| {
                let find = || scope.spawn(|| thing(round, Some("a")));
                [find(), find()].map(|thread| thread.join().expect("no panic"))
            });
            assert!(Arc::ptr_eq(&found[0], &found[1]));
        }
    }

    #[test]
    fn the_system_identifies_eventfds_and_sockets() {
        let [one, other] = [(); 2].map(|()| sys::eventfd().expect("an eventfd"));
        let copy = one.try_clone().expect("a descriptor");
        let identity = |fd: &sys::OwnedFd| Part::eventfd(fd).expect("/proc is mounted");
        assert_eq!(identity(&one), identity(&copy));
        assert_ne!(identity(&one), identity(&other));
        let (one, other) = sys::packet_pair().expect("sockets");
        assert_ne!(Part::socket(&one), Part::socket(&other));
        assert_eq!(
            Part::socket(&one),
            Part::socket(one.try_clone().expect("a descriptor"))
        );
        assert!(Part::eventfd(&one).is_none() && Part::socket(&copy).is_none());
    }
}
