//! What a process that runs one function receives instead of a worker's setup, and what it leaves behind: its outcome,
//! in a file in memory. The process never waits for a reader, and its parent can read the outcome at any time after the
//! process ends. The parent seals the file first, because a process that the dead one forked may still have it open.

use std::io;

use super::FunctionOffset;
use super::chain::{Chain, Reader};
use super::confinement::Confinement;
use super::declare::message;
use super::message::{ChildIdentity, FirstMessage};
use super::outcomes::{self, ItemFailure, MOST_FAILURE};
use crate::sys::{self, AsRawFd, FileIdentity, Limit, OwnedFd, RawFd};

message! {
    /// The function of a process, and how the process runs it. The arguments follow it. Descriptors travel beside it:
    /// the outcome file, stdin if there is one, and those of the arguments.
    #[derive(Debug, PartialEq, Eq)]
    pub(crate) struct ProcessSetup {
        pub(crate) identity: ChildIdentity,
        pub(crate) has_stdin: bool,
        /// Whether other processes of its user may trace it.
        pub(crate) is_dumpable: bool,
        pub(crate) limits: Vec<(Limit, i64)>,
        /// The most bytes that its encoded result may have.
        pub(crate) max_result: u64,
        /// The rights that it gives up before it is ready.
        pub(crate) confinement: Option<Confinement>,
        pub(crate) function: FunctionOffset,
        /// The number of descriptors beside the arguments.
        pub(crate) descriptors: u32,
    }
}

impl FirstMessage for ProcessSetup {
    fn is_plain(&self) -> bool {
        self.limits.is_empty() && self.confinement.is_none()
    }
}

/// The file with the outcome of a process: a length, then the [entry](outcomes) of its only item. The length
/// is written last, so an outcome with a length is complete.
#[derive(Debug)]
pub(crate) struct OutcomeFile {
    file: OwnedFd,
    /// The identity of the file. A function may close the descriptor and open another file, which then gets its number.
    identity: Option<FileIdentity>,
}

/// The size of the length in bytes.
const HEAD: u64 = 8;
/// Space for an outcome that says why there is no other.
const ROOM: u64 = 4096;

impl OutcomeFile {
    pub(crate) fn create() -> io::Result<Self> {
        let file = sys::sealable_file()?;
        sys::lengthen(&file, ROOM)?; // Fails if the file size limit prevents an outcome.
        Ok(file.into())
    }

    /// A descriptor for the process that writes the outcome.
    pub(crate) fn share(&self) -> io::Result<OwnedFd> {
        sys::own_descriptor(&self.file)
    }

    /// Writes the outcome. It replaces one that was not written completely.
    pub(crate) fn leave(&self, mut outcome: Chain) -> io::Result<()> {
        if Some(sys::file_identity(&self.file)?) != self.identity {
            return Err(sys::closed());
        }
        let len = outcome.len() as u64;
        sys::lengthen(&self.file, HEAD + len)?;
        let mut at = HEAD;
        outcome.write_with(|slices| {
            let written = sys::write_at(&self.file, slices, at)?;
            at += written as u64;
            Ok(written)
        })?;
        let head = len.to_le_bytes();
        let written = sys::write_at(&self.file, &[io::IoSlice::new(&head)], 0)?;
        if written < head.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(())
    }

    /// Parent, once the process has ended: makes the outcome final. Returns its size in bytes, or `None` if there is
    /// none.
    ///
    /// # Errors
    /// If the outcome cannot be made final, its memory is missing, or a value in it exceeds `max_result` bytes.
    pub(crate) fn settle(&self, max_result: u64) -> io::Result<Option<u64>> {
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
        sys::seal(&self.file)
            .map_err(|error| invalid(format!("another process still writes to it: {error}")))?;
        let Some(len) = self.len() else {
            return Ok(None);
        };
        // The first byte says what kind of outcome it is.
        if len > max_result.max(MOST_FAILURE as u64).saturating_add(1) {
            return Err(invalid(format!(
                "it has {len} bytes, and may have {max_result}; raise `max_result_length`"
            )));
        }
        let held = sys::file_memory(&self.file)?;
        if len > sys::file_len(&self.file)? - HEAD || HEAD + len > held {
            return Err(invalid("its length is not that of its memory".to_owned()));
        }
        Ok(Some(len))
    }

    /// The size of the outcome in bytes, as the process reports it.
    fn len(&self) -> Option<u64> {
        let mut head = [0; HEAD as usize];
        sys::read_at(&self.file, &mut head, 0).ok()?;
        Some(u64::from_le_bytes(head)).filter(|len| *len > 0)
    }

    /// The outcome, whose size [`settle`](Self::settle) has returned: the encoded value, or the failure in its place.
    pub(crate) fn read(&self, len: u64) -> io::Result<Result<Reader, ItemFailure>> {
        let mut bytes = Vec::new();
        sys::read_file(&self.file, (HEAD + len) as usize, &mut bytes)?;
        let mut outcome = Reader::from(bytes);
        let _len = outcome.u64();
        Ok(outcomes::get_single(outcome).ok_or(io::ErrorKind::InvalidData)?)
    }
}

impl AsRawFd for OutcomeFile {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl From<OwnedFd> for OutcomeFile {
    fn from(fd: OwnedFd) -> Self {
        Self {
            identity: sys::file_identity(&fd).ok(),
            file: fd,
        }
    }
}

#[cfg(all(test, properties))]
#[path = "../../tests/properties/wire/process_setup.rs"]
mod tests;
