//! A stream that is copied to this process's own. Its end is kept for the error that reports the worker's
//! death.

use std::io::{self, PipeReader};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;

use super::OutputStream;
use crate::sys::{self, AsFd as _, AsyncPipe};

/// The number of bytes that are kept.
const TAIL: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct OutputRelay {
    stream: OutputStream,
    pipe: AsyncPipe,
    text: Mutex<RelayedText>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct RelayedText {
    tail: Vec<u8>,
    unprinted: Vec<u8>,
}

impl OutputRelay {
    /// Takes the read end of the worker's pipe and copies the output, in a task of its own.
    pub(super) fn start(stream: OutputStream, pipe: PipeReader) -> io::Result<Arc<Self>> {
        let relay = Arc::new(Self {
            stream,
            pipe: sys::watch_output(pipe)?,
            text: Mutex::default(),
            ended: Notify::new(),
        });
        tokio::spawn(relay.clone().pass_on());
        Ok(relay)
    }

    pub(super) fn stream(&self) -> OutputStream {
        self.stream
    }

    async fn pass_on(self: Arc<Self>) {
        let mut ours: Box<dyn AsyncWrite + Send + Unpin> = match self.stream {
            OutputStream::Stdout => Box::new(tokio::io::stdout()),
            OutputStream::Stderr => Box::new(tokio::io::stderr()),
        };
        let mut open = true;
        while open {
            open = tokio::select! {
                biased;
                // The worker has ended. A child of it may hold the pipe open for longer.
                () = self.ended.notified() => false,
                ready = self.pipe.readable() => ready.is_ok() && self.read(Self::try_read),
            };
            let unprinted = std::mem::take(&mut self.lock().unprinted);
            // While this process's stream accepts nothing, the worker's pipe fills and the worker blocks.
            let _ = ours.write_all(&unprinted).await;
            let _ = ours.flush().await;
        }
    }

    /// Reads through tokio, which then knows when nothing is left.
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pipe.try_read(buffer)
    }

    /// Reads without tokio, which may not know of the output yet.
    fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        sys::read_now(self.pipe.as_fd(), buffer)
    }

    /// Reads available bytes. False at the end.
    fn read(&self, read: fn(&Self, &mut [u8]) -> io::Result<usize>) -> bool {
        let mut text = self.lock();
        let mut buffer = [0; TAIL];
        loop {
            match read(self, &mut buffer) {
                Ok(0) => return false,
                Ok(len) => text.push(&buffer[..len]),
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
            if text.unprinted.len() > 16 * TAIL {
                return true; // Write before the next read.
            }
        }
    }

    /// Reads the last output of a worker that has ended, all of which is in the pipe by now.
    pub(super) fn into_tail(self: Arc<Self>) -> Vec<u8> {
        self.read(Self::read_now);
        self.ended.notify_one();
        std::mem::take(&mut self.lock().tail)
    }

    fn lock(&self) -> MutexGuard<'_, RelayedText> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RelayedText {
    fn push(&mut self, bytes: &[u8]) {
        self.unprinted.extend_from_slice(bytes);
        keep_tail(&mut self.tail, bytes);
    }
}

/// Keeps the end of the output.
pub(super) fn keep_tail(tail: &mut Vec<u8>, bytes: &[u8]) {
    tail.extend_from_slice(bytes);
    let excess = tail.len().saturating_sub(TAIL);
    tail.drain(..excess);
}
