//! Bytes that travel in a memory file of their own.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::fs::MemfdFlags;
use rustix::io::Errno;

use super::call::Call as _;
use super::growing::{memory_file, seal};
use super::limits::check_length;
use super::memory::enlarge;
use super::reserve::reserve;

/// A file that contains these pieces, `len` bytes in all.
pub(crate) fn file_of<'a>(
    len: usize,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> io::Result<OwnedFd> {
    check_length(len as u64)?;
    let mut file = File::from(memory_file(MemfdFlags::empty())?);
    for piece in pieces {
        file.write_all(piece).of_call("write")?;
    }
    Ok(file.into())
}

/// A file that contains these bytes and that no process can change. Fails with the kind `OutOfMemory` if there is no
/// memory for them.
pub(crate) fn sealed_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    let file = memory_file(MemfdFlags::ALLOW_SEALING)?;
    reserve(&file, bytes.len() as u64)?;
    write_all_at(&file, bytes, 0)?;
    seal(&file)?;
    Ok(file)
}

/// Writes at `offset`, whatever the length of the file. Returns the number of bytes that were written.
pub(crate) fn write_at(
    file: impl AsFd,
    slices: &[io::IoSlice<'_>],
    offset: u64,
) -> io::Result<usize> {
    rustix::io::retry_on_intr(|| rustix::io::pwritev(&file, slices, offset)).of_call("pwritev")
}

/// Reads at `offset`. Fails if the file has fewer bytes there.
pub(crate) fn read_at(file: impl AsFd, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        let rest = &mut bytes[done..];
        let read = rustix::io::retry_on_intr(|| {
            rustix::io::pread(&file, &mut *rest, offset + done as u64)
        });
        match read.of_call("pread")? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => done += read,
        }
    }
    Ok(())
}

/// Writes all bytes at `offset`.
pub(crate) fn write_all_at(file: impl AsFd, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match write_at(&file, &[io::IoSlice::new(bytes)], offset)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => (bytes, offset) = (&bytes[written..], offset + written as u64),
        }
    }
    Ok(())
}

/// The identity of a file. No other file has the same while it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
}

/// The identity of this file.
pub(crate) fn file_identity(file: impl AsFd) -> io::Result<FileIdentity> {
    let found = rustix::fs::fstat(file).of_call("fstat")?;
    Ok(FileIdentity {
        device: found.st_dev,
        inode: found.st_ino,
    })
}

/// The length of a file in bytes.
pub(crate) fn file_len(file: impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(file)
        .of_call("fstat")?
        .st_size
        .unsigned_abs())
}

/// Appends the first `len` bytes of a file to `target`.
pub(crate) fn read_file(file: impl AsFd, len: usize, target: &mut Vec<u8>) -> io::Result<()> {
    let start = target.len();
    enlarge(target, start + len)?;
    while target.len() < start + len {
        let at = (target.len() - start) as u64;
        match rustix::io::pread(&file, spare_capacity(target), at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).of_call("pread"),
        }
    }
    target.truncate(start + len);
    Ok(())
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn bytes_written_in_pieces_are_read_in_one() {
        let pieces = [&[1; 100_000][..], &[], &[2; 5]];
        let file = file_of(100_005, pieces.into_iter()).expect("a file");
        for _ in 0..2 {
            let mut target = vec![0];
            read_file(&file, 100_005, &mut target).expect("it is there");
            assert_eq!(target, [&[0], pieces[0], pieces[2]].concat());
        }
        let sealed = sealed_file(pieces[0]).expect("a file");
        let mut target = Vec::new();
        read_file(&sealed, 100_000, &mut target).expect("it is there");
        assert_eq!(target, pieces[0]);
        write_all_at(&sealed, &[2], 0).expect_err("no process can change it");
        let mut target = Vec::new();
        read_file(&file, 100_006, &mut target).expect_err("it is shorter");
    }
}
