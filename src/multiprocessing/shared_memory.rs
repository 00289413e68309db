//! [`SharedMemory`]: bytes that several processes have.

use std::fmt;
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::sys::{self, SegmentName};
use crate::wire::descriptors::Descriptor;

/// Bytes that several processes have: what one writes, all the others read.
///
/// It is a handle. Its clones stand for the same memory, in this process and in every other that it is
/// sent to, and the system counts them: the memory is gone with the last one, be that dropped or its
/// process killed. A reader that ends takes nothing from the others.
///
/// ```
/// use concurrent_futures::multiprocessing::SharedMemory;
///
/// # fn main() -> std::io::Result<()> {
/// let ours = SharedMemory::create(1 << 20)?; // All zeros.
/// let theirs = ours.clone(); // As if it had been sent to another process.
/// ours.write(4096, b"hello");
/// let mut bytes = [0; 5];
/// theirs.read(4096, &mut bytes);
/// assert_eq!(&bytes, b"hello");
/// # Ok(()) }
/// ```
///
/// It is an argument like any other:
///
/// ```no_run
/// use concurrent_futures::multiprocessing::SharedMemory;
/// use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
///
/// fn fill(memory: SharedMemory, byte: u8) {
///     memory.write(0, &vec![byte; memory.len()]);
/// }
///
/// # async fn service(pool: ProcessPoolExecutor) -> Result<(), Box<dyn std::error::Error>> {
/// let memory = SharedMemory::create(1 << 20)?;
/// pool.submit(fill, (memory.clone(), 7)).await?;
/// assert!(memory.to_vec().iter().all(|byte| *byte == 7));
/// # Ok(()) }
/// ```
///
/// # Who writes when
/// Bytes are copied in and out; nobody has a reference to them, so whatever the other processes do, no
/// access is undefined. But a copy is not one step. Who reads while another writes may find old bytes
/// beside new ones; only what lies in eight bytes at a multiple of eight is all of one moment. Nor does
/// a write make anybody look. So let the processes take turns: one is told, by a task's end, a queue, an
/// event, that the other has written, or both hold a lock. [`Value`](super::Value) and
/// [`Array`](super::Array) have one.
///
/// # Memory
/// All of it is had from the system when it is created, so "no space" is an error there, and never the end
/// of a process that writes to it later. Memory without a name is sealed: no process can shorten it.
/// Memory with a name is a file; a process of the same user that shortens that file ends those that use
/// it.
///
/// # Platform
/// Linux.
#[derive(Clone)]
pub struct SharedMemory {
    segment: Arc<Segment>,
}

struct Segment {
    /// Before the descriptor, after which it is looked whether anybody has the segment.
    memory: sys::SharedMapping,
    descriptor: Descriptor,
    len: usize,
    name: Option<Box<str>>,
}

impl SharedMemory {
    /// Makes `len` bytes of shared memory, all zeros. It has no name: other processes have it by being
    /// sent it.
    ///
    /// It takes about a quarter of a second for each GiB, so a service makes large ones by
    /// `spawn_blocking`.
    ///
    /// ```
    /// use concurrent_futures::multiprocessing::SharedMemory;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let memory = SharedMemory::create(100)?;
    /// assert_eq!(memory.to_vec(), [0; 100]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`OutOfMemory`](io::ErrorKind::OutOfMemory) if there is no room for so much: in the system, in the
    /// control group, or within the limits of this process. Other errors are the system's, as if there
    /// is no descriptor left.
    pub fn create(len: usize) -> io::Result<Self> {
        let (memory, fd) = sys::SharedMapping::create_reserved(len)?;
        Ok(Self::of(memory, fd.into(), len, None))
    }

    /// As [`create`](Self::create), with a name by which other processes of this user can
    /// [`open`](Self::open) it: those that nobody sends it to.
    ///
    /// The name is of 1 to 200 bytes of letters, digits, `-`, `_` and `.`; each user has names of its
    /// own. It is there as long as anybody has the memory, and is removed as the last one drops it. One
    /// that is killed, or ends without a drop, drops nothing: if it was the last one, the name stands for
    /// nothing from then on, and what is left of it is removed when any name is created. (A fork of a
    /// process that has it has it, too. So does a process that is just being started, until it executes its
    /// program: what is dropped at that moment may be removed only by the next who creates or opens.)
    ///
    /// ```
    /// use concurrent_futures::multiprocessing::SharedMemory;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let name = &format!("example.{}", std::process::id());
    /// let memory = SharedMemory::create_named(name, 4096)?;
    /// memory.write(0, &[1, 2, 3]);
    /// // In another process:
    /// let same = SharedMemory::open(name)?;
    /// assert_eq!(same.to_vec()[..3], [1, 2, 3]);
    /// drop(memory);
    /// drop(same); // The last one.
    /// assert!(SharedMemory::open(name).is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) if somebody has memory of this name,
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if it cannot be a name, and those of `create`.
    /// [`OutOfMemory`](io::ErrorKind::OutOfMemory) is also for more than `/dev/shm` has room for, which
    /// may be little in a container.
    ///
    /// # Platform
    /// Its file lies in `/dev/shm` and is called `concurrent-futures.<user id>.<name>`. Only its user may
    /// open it.
    pub fn create_named(name: &str, len: usize) -> io::Result<Self> {
        let file = SegmentName::new(name)?;
        let fd = file.create(len as u64)?;
        Self::named(file, fd.into(), len, name)
    }

    /// The memory that was created with this name, by whatever process.
    ///
    /// There is an example at [`create_named`](Self::create_named).
    ///
    /// # Errors
    /// [`NotFound`](io::ErrorKind::NotFound) if nobody has memory of this name,
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if it cannot be a name,
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied) if another user has put something in its
    /// place.
    pub fn open(name: &str) -> io::Result<Self> {
        let file = SegmentName::new(name)?;
        let (fd, len) = file.open()?;
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        Self::named(file, fd.into(), len, name)
    }

    fn named(
        file: SegmentName,
        descriptor: Descriptor,
        len: usize,
        name: &str,
    ) -> io::Result<Self> {
        descriptor.keep_until_closed(file);
        let memory = sys::SharedMapping::open(&descriptor, len)?;
        Ok(Self::of(memory, descriptor, len, Some(name.into())))
    }

    fn of(
        memory: sys::SharedMapping,
        descriptor: Descriptor,
        len: usize,
        name: Option<Box<str>>,
    ) -> Self {
        let segment = Segment {
            memory,
            descriptor,
            len,
            name,
        };
        Self {
            segment: Arc::new(segment),
        }
    }

    /// How many bytes it has. That never changes.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::SharedMemory;
    /// assert_eq!(SharedMemory::create(100)?.len(), 100);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn len(&self) -> usize {
        self.segment.len
    }

    /// Whether it has none.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::SharedMemory;
    /// assert!(SharedMemory::create(0)?.is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name, if it was created with one.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::SharedMemory;
    /// assert_eq!(SharedMemory::create(100)?.name(), None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn name(&self) -> Option<&str> {
        self.segment.name.as_deref()
    }

    /// Copies out the bytes from `offset` on, as many as `target` holds.
    ///
    /// See [above](Self#who-writes-when) for what is read while another process writes.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::SharedMemory;
    /// let memory = SharedMemory::create(100)?;
    /// memory.write(96, &7_u32.to_ne_bytes());
    /// let mut number = [0; 4];
    /// memory.read(96, &mut number);
    /// assert_eq!(u32::from_ne_bytes(number), 7);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// If they do not all lie in the memory.
    #[track_caller]
    pub fn read(&self, offset: usize, target: &mut [u8]) {
        self.check(offset, target.len());
        self.segment.memory.load(offset, target);
    }

    /// Copies `bytes` in, from `offset` on.
    ///
    /// See [above](Self#who-writes-when) for what another process reads meanwhile. There is an example
    /// at [`read`](Self::read).
    ///
    /// # Panics
    /// If they do not all fit into the memory; then none is written.
    #[track_caller]
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        self.check(offset, bytes.len());
        self.segment.memory.store(offset, bytes);
    }

    /// Copies all bytes out.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::SharedMemory;
    /// let memory = SharedMemory::create(4)?;
    /// memory.write(1, &[1, 2]);
    /// assert_eq!(memory.to_vec(), [0, 1, 2, 0]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len()];
        self.read(0, &mut bytes);
        bytes
    }

    #[track_caller]
    fn check(&self, offset: usize, count: usize) {
        let len = self.len();
        assert!(
            offset <= len && count <= len - offset,
            "{count} bytes at {offset} do not lie in {len} bytes of shared memory"
        );
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory")
            .field("len", &self.len())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

impl Serialize for SharedMemory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let segment = &*self.segment;
        (&segment.descriptor, segment.len, &segment.name).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SharedMemory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (descriptor, len, name) =
            <(Descriptor, usize, Option<Box<str>>)>::deserialize(deserializer)?;
        let opened = match name {
            Some(name) => {
                SegmentName::new(&name).and_then(|file| Self::named(file, descriptor, len, &name))
            }
            None => sys::SharedMapping::open(&descriptor, len)
                .map(|memory| Self::of(memory, descriptor, len, None)),
        };
        opened.map_err(serde::de::Error::custom)
    }
}
