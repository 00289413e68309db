//! One value for many calls. A worker process gets it as a file in memory, and decodes it once.

use std::any::Any;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::sys;
use crate::wire::codec;
use crate::wire::descriptors::{self, Descriptor, Lasting};
use crate::wire::kept;

/// One value for many calls: a table, a model, a configuration. A worker process decodes it once, however many items it
/// runs, and a thread uses the value itself.
///
/// It is an argument like any other: of `submit`, of each item of a `map`, of an initializer. It derefs to the value,
/// and a clone costs as little as that of an `Arc`. Python's counterparts are `functools.partial` over a large value,
/// and globals that an initializer sets.
///
/// ```no_run
/// use std::collections::BTreeMap;
///
/// use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor, SharedArg};
/// use futures::StreamExt as _;
///
/// fn price(prices: SharedArg<BTreeMap<String, u64>>, name: String) -> Option<u64> {
///     prices.get(&name).copied()
/// }
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let names = vec!["bread".to_owned()];
/// let pool = ProcessPoolExecutor::new()?;
/// let prices = SharedArg::new(BTreeMap::from([("bread".to_owned(), 3)]));
/// let mut found = pool.map(price, names.into_iter().map(move |name| (prices.clone(), name)));
/// while let Some(price) = found.next().await {
///     println!("{:?}", price?);
/// }
/// # Ok(()) }
/// ```
///
/// # In worker processes
/// The first call that uses it encodes the value, on the thread that submits, into memory that no process can change.
/// [`prepare`](Self::prepare) does that earlier. Workers receive a descriptor of that memory with each call, or with
/// each chunk of a `map`. A worker keeps the decoded value until the sender has dropped its last handle and all calls
/// that use it have started or, in a chunk, ended. The worker frees the value before it waits for its next call. So
/// each worker has its own copy, and a worker that replaces another decodes it again. A worker keeps at most 64 values:
/// those that it used last.
///
/// Only the workers of a pool keep decoded values. A [`Process`](crate::multiprocessing::Process), and a process that
/// receives one through a [`Queue`](crate::multiprocessing::Queue) or a
/// [`Connection`](crate::multiprocessing::Connection), decodes it each time it arrives.
///
/// A value may contain objects that processes share, for example a `Lock`. Changes that a task makes inside the value,
/// for example in a `Mutex`, stay in the task's own process.
///
/// # Errors
/// A value that cannot be encoded, or does not fit in memory, fails each task that uses it, before the task is sent. A
/// value that cannot be decoded fails each task that a worker would run with it. Both are `is_codec()`. Serializing it
/// for anything other than a process is an error.
///
/// # Platform
/// In processes on Linux; on threads everywhere.
#[doc(alias = "partial")]
#[doc(alias = "Broadcast")]
pub struct SharedArg<C>(Arc<SharedValue<C>>);

struct SharedValue<C> {
    value: C,
    sealed: Mutex<SealState>,
}

/// The encoded value.
enum SealState {
    Unsealed,
    Sealed(SealedValue),
    /// The value cannot be encoded; trying again would not help.
    Unencodable(String),
}

/// A value in a file in memory.
#[derive(Clone)]
struct SealedValue {
    /// In the process that sealed it, this keeps the other end of `lifeline` open.
    file: Descriptor,
    /// Hangs up when the process that sealed the value has no handle left, and no call from there is on its way.
    lifeline: Descriptor,
    len: u64,
    /// Whether the encoding is just the value's bytes.
    is_plain: bool,
    /// The descriptors of the objects in the value.
    beside: Vec<Descriptor>,
}

impl<C> SharedArg<C> {
    /// Makes a value shared. This encodes nothing yet.
    ///
    /// ```
    /// # use concurrent_futures::SharedArg;
    /// let squares = SharedArg::new(vec![0, 1, 4, 9]);
    /// assert_eq!(squares.clone()[3], 9);
    /// ```
    pub fn new(value: C) -> Self {
        Self::with(value, SealState::Unsealed)
    }

    fn with(value: C, sealed: SealState) -> Self {
        let sealed = Mutex::new(sealed);
        Self(Arc::new(SharedValue { value, sealed }))
    }
}

impl<C: Serialize + 'static> SharedArg<C> {
    /// Encodes the value now, if no call has done so. For a value of many megabytes this takes a while and blocks: in
    /// async code, call it in `spawn_blocking` before you submit.
    ///
    /// ```
    /// # use concurrent_futures::SharedArg;
    /// # if cfg!(target_os = "linux") {
    /// let table = SharedArg::new(vec![0_u64; 1000]);
    /// table.prepare()?;
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidData`](io::ErrorKind::InvalidData) if the value cannot be encoded,
    /// [`OutOfMemory`](io::ErrorKind::OutOfMemory) if there is no memory for it, another kind if this process may open
    /// no more descriptors.
    pub fn prepare(&self) -> io::Result<()> {
        self.sealed().map(drop)
    }

    fn sealed(&self) -> io::Result<SealedValue> {
        // Held during the encoding: threads that submit at the same time wait for one encoding.
        let mut state = self.0.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            SealState::Sealed(sealed) => return Ok(sealed.clone()),
            SealState::Unencodable(reason) => return Err(invalid(reason)),
            SealState::Unsealed => {}
        }
        let mut beside = Vec::new();
        let encoded = descriptors::gather(&mut beside, || codec::bare(&self.0.value));
        let (is_plain, bytes) = match encoded {
            Ok(encoded) => encoded,
            Err(error) => {
                let reason = error.to_string();
                let error = invalid(&reason);
                *state = SealState::Unencodable(reason);
                return Err(error);
            }
        };
        let file = Descriptor::from(sys::sealed_file(&bytes)?);
        let (end, lifeline) = sys::lifeline()?;
        file.keep_until_closed(end);
        let sealed = SealedValue {
            file,
            lifeline: lifeline.into(),
            len: bytes.len() as u64,
            is_plain,
            beside,
        };
        *state = SealState::Sealed(sealed.clone());
        Ok(sealed)
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_owned())
}

impl SealedValue {
    /// Checks and decodes a received value. A short message can claim no more memory than its sender has used.
    fn open<C: DeserializeOwned + 'static>(&mut self) -> io::Result<C> {
        sys::check_pipe(&self.lifeline)?;
        sys::check_sealed(&self.file)?;
        sys::check_reserved(&self.file, self.len)?;
        let len = usize::try_from(self.len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut bytes = Vec::new();
        sys::read_file(&self.file, len, &mut bytes)?;
        let is_plain = self.is_plain;
        let decode = || codec::get_bare(is_plain, &mut bytes);
        descriptors::supply(&mut self.beside, decode).map_err(|error| invalid(&error.to_string()))
    }
}

impl<C> Deref for SharedArg<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.0.value
    }
}

impl<C> Clone for SharedArg<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C: fmt::Debug> fmt::Debug for SharedArg<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedArg").field(&self.0.value).finish()
    }
}

/// Serializes only when it is sent to a process; anywhere else this is an error.
impl<C: Serialize + 'static> Serialize for SharedArg<C> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sealed = self.sealed().map_err(|error| {
            S::Error::custom(format_args!("a shared argument cannot be sent: {error}"))
        })?;
        let beside: Vec<_> = sealed.beside.iter().map(Lasting).collect();
        let (file, lifeline) = (Lasting(&sealed.file), Lasting(&sealed.lifeline));
        (file, lifeline, sealed.len, sealed.is_plain, beside).serialize(serializer)
    }
}

impl<'de, C: DeserializeOwned + Any + Send + Sync> Deserialize<'de> for SharedArg<C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (file, lifeline, len, is_plain, beside) = Deserialize::deserialize(deserializer)?;
        let mut sealed = SealedValue {
            file,
            lifeline,
            len,
            is_plain,
            beside,
        };
        let failed = |error: io::Error| {
            D::Error::custom(format_args!(
                "a shared argument cannot be received: {error}"
            ))
        };
        if !sealed.file.is_of_parent() {
            // Another process may send a file of the parent's with a wrong length or with other objects.
            let value = sealed.open().map_err(failed)?;
            return Ok(Self::with(value, SealState::Sealed(sealed)));
        }
        let file = sealed.file.file_identity().map_err(failed)?;
        if let Some(known) = kept::find::<SharedValue<C>>(file) {
            return Ok(Self(known));
        }
        let value = sealed.open().map_err(failed)?;
        let lifeline = sealed.lifeline.clone();
        let shared = Self::with(value, SealState::Sealed(sealed));
        kept::keep(file, lifeline, shared.0.clone());
        Ok(shared)
    }
}
