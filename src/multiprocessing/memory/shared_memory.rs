//! [`SharedMemory`]: bytes shared by processes.

use std::io;
use std::sync::Arc;

use crate::multiprocessing::handle::shared_handle;
use crate::multiprocessing::known::{Part, recognised};
use crate::sys::{self, SegmentName};
use crate::wire::descriptors::Descriptor;

/// Bytes that processes share: each process reads what the others write.
///
/// It is a handle. All clones refer to the same memory, in this process and in every process that receives one.
/// The system counts them: the memory is freed when the last one is dropped or its process ends.
///
/// ```
/// use concurrent_futures::multiprocessing::SharedMemory;
///
/// # fn main() -> std::io::Result<()> {
/// let ours = SharedMemory::create(1 << 20)?; // All zeros.
/// let theirs = ours.clone(); // The same as one sent to another process.
/// ours.write(4096, b"hello");
/// let mut bytes = [0; 5];
/// theirs.read(4096, &mut bytes);
/// assert_eq!(&bytes, b"hello");
/// # Ok(()) }
/// ```
///
/// It can be an argument of a task:
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
/// # Concurrent access
/// Bytes are copied in and out; there are no references to them, so no access is undefined behaviour, whatever the
/// other processes do. But a copy is not atomic: a read during a write may see old bytes beside new ones. (In memory
/// without a name, eight bytes at a multiple of eight are read or written as one.) A write wakes no reader. So let the
/// processes take turns: by the end of a task, a queue, an event or a lock. [`Value`](super::Value) and
/// [`Array`](super::Array) have a lock.
///
/// # Memory
/// All of it is allocated at creation. So a lack of memory is an error there, and never kills a process that
/// writes to it later. Memory without a name is sealed and mapped: no process can shorten it, and access to a few bytes
/// takes some nanoseconds. Memory with a name is a file, which any process of the same user can shorten. So each access
/// is a system call, which takes some hundred nanoseconds more, and panics if the bytes no longer exist.
///
/// # Other processes
/// A process that has the memory can write any bytes at any time. It can neither end another process that uses the
/// memory, nor make it wait. It can free pages of the memory: then these bytes are zeros, and another access allocates
/// them again. A received file must be in memory, sealed unless it has a name, and of the announced size without holes;
/// otherwise it cannot be decoded.
///
/// # Platform
/// Linux.
#[derive(Clone)]
pub struct SharedMemory {
    segment: Arc<Segment>,
}

struct Segment {
    access: Access,
    descriptor: Descriptor,
    len: usize,
    name: Option<Box<str>>,
}

/// How its bytes are read and written.
enum Access {
    /// In place. No process can shorten it.
    Mapped(sys::SharedMapping),
    /// By system calls. Processes of its user can shorten it, and access to a mapping would then raise a signal.
    File,
}

impl SharedMemory {
    /// Creates `len` bytes of shared memory, all zeros. It has no name: other processes have to receive it.
    ///
    /// It takes about a quarter of a second for each GiB. For a large one, use `spawn_blocking` in async code.
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
    /// [`OutOfMemory`](io::ErrorKind::OutOfMemory) if there is no memory for it: in the system, in the control
    /// group, or within the limits of this process. Otherwise the error of the system, for example if no descriptor is
    /// left.
    pub fn create(len: usize) -> io::Result<Self> {
        let (memory, fd) = sys::SharedMapping::create_reserved(len)?;
        Ok(Self::of(Access::Mapped(memory), fd.into(), len, None))
    }

    /// Like [`create`](Self::create), with a name by which other processes of this user can
    /// [`open`](Self::open) it.
    ///
    /// The name is 1 to 200 bytes of letters (of any script), digits, `-`, `_` and `.`; each user has separate
    /// names. It exists while any process has the memory, and is removed when the last handle is dropped.
    ///
    /// A process that is killed, or exits without dropping its handle, does not remove the name. If it was the last
    /// owner, the name can no longer be opened, and the memory is freed later: by the first `create_named` of another
    /// process, or by one of the next in this process. Each checks 8 of the existing names in turn, so its cost does
    /// not depend on their number. If no memory is left, it checks all names and tries again.
    ///
    /// A fork of a process that has the memory has it too. So has a process that is being started, until it executes
    /// its program. If the last handle is dropped at that moment, the name is removed like that of a killed process.
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
    /// drop(same); // The last handle.
    /// assert!(SharedMemory::open(name).is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) if memory of this name exists,
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if the name is not valid, and those of
    /// [`create`](Self::create). [`OutOfMemory`](io::ErrorKind::OutOfMemory) also means that `/dev/shm` is
    /// full, which may be small in a container.
    ///
    /// # Platform
    /// The memory is the file `/dev/shm/concurrent-futures.<user id>.<name>`. Only its user may open it.
    pub fn create_named(name: &str, len: usize) -> io::Result<Self> {
        let file = SegmentName::new(name)?;
        let fd = file.create(len as u64)?;
        Self::named(file, fd.into(), len, name)
    }

    /// Opens the memory that any process of this user created with this name.
    ///
    /// For an example see [`create_named`](Self::create_named).
    ///
    /// # Errors
    /// [`NotFound`](io::ErrorKind::NotFound) if no memory of this name exists,
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if the name is not valid,
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied) if the file of this name
    /// belongs to another user or is not a regular file.
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
        sys::check_reserved(&descriptor, len as u64)?;
        sys::check_length(len as u64)?;
        Ok(Self::of(Access::File, descriptor, len, Some(name.into())))
    }

    fn of(access: Access, descriptor: Descriptor, len: usize, name: Option<Box<str>>) -> Self {
        let segment = Segment {
            access,
            descriptor,
            len,
            name,
        };
        let file = Part::file(&segment.descriptor);
        let others = |known: &Segment| {
            let name = Part::Name(known.name.clone());
            Some(vec![Part::Size(known.len), name])
        };
        Self {
            segment: recognised(segment, file, others),
        }
    }

    /// The length in bytes. It never changes.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::SharedMemory;
    /// assert_eq!(SharedMemory::create(100)?.len(), 100);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn len(&self) -> usize {
        self.segment.len
    }

    /// Whether the length is 0.
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

    /// Copies bytes from `offset` on into `target`, as many as it holds.
    ///
    /// See [above](Self#concurrent-access) for reads while another process writes.
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
    /// If the range is not within the memory, or if it has a name and its file was shortened.
    #[track_caller]
    pub fn read(&self, offset: usize, target: &mut [u8]) {
        self.check(offset, target.len());
        match &self.segment.access {
            Access::Mapped(memory) => memory.load(offset, target),
            Access::File => self.of_file(sys::read_at(
                &self.segment.descriptor,
                target,
                offset as u64,
            )),
        }
    }

    /// Copies `bytes` into the memory, from `offset` on.
    ///
    /// See [above](Self#concurrent-access) for reads by another process meanwhile. For an example see
    /// [`read`](Self::read).
    ///
    /// # Panics
    /// If the range is not within the memory; then nothing is written. If it has a name, and its file was shortened and
    /// no memory is left.
    #[track_caller]
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        self.check(offset, bytes.len());
        match &self.segment.access {
            Access::Mapped(memory) => memory.store(offset, bytes),
            Access::File => self.of_file(sys::write_all_at(
                &self.segment.descriptor,
                bytes,
                offset as u64,
            )),
        }
    }

    /// Returns a copy of all bytes.
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
    fn of_file(&self, outcome: io::Result<()>) {
        if let Err(error) = outcome {
            let name = self.name().unwrap_or_default();
            panic!("the file of the shared memory {name:?} was changed by other means: {error}");
        }
    }

    #[track_caller]
    fn check(&self, offset: usize, count: usize) {
        let len = self.len();
        assert!(
            offset <= len && count <= len - offset,
            "the range of {count} bytes at offset {offset} is out of bounds; \
             the shared memory has {len} bytes"
        );
    }
}

shared_handle! {
    SharedMemory as memory;
    sends (&memory.segment.descriptor, memory.segment.len, &memory.segment.name);
    receives deserializer => {
        let (descriptor, len, name) =
            <(Descriptor, usize, Option<Box<str>>)>::deserialize(deserializer)?;
        let opened = match name {
            Some(name) => {
                SegmentName::new(&name).and_then(|file| Self::named(file, descriptor, len, &name))
            }
            None => sys::SharedMapping::open_reserved(&descriptor, len)
                .map(|memory| Self::of(Access::Mapped(memory), descriptor, len, None)),
        };
        opened.map_err(serde::de::Error::custom)
    };
    shows { len: memory.len(), name: memory.name() }
}
