//! Progress reports of a task. Only the latest counts; it replaces one that has not been read.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use tokio::sync::watch;

use crate::home::Home;

/// How far a task is; reported by
/// [`worker::Context::report_progress`](crate::worker::Context::report_progress).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Progress {
    /// How much is done, in units of the task.
    pub done: u64,
    /// How much there is to do; 0 if unknown.
    pub total: u64,
}

/// The progress reports of a task, as a stream; made by
/// [`JoinHandle::progress`](crate::JoinHandle::progress).
///
/// It yields the latest report, then waits for the next. A slow reader misses reports in between,
/// never the last. The stream ends when the task has its outcome.
///
/// # Cancel safety
/// Awaiting the next report is cancel safe.
#[must_use = "a stream does nothing until it is polled"]
pub struct ProgressStream {
    reports: BoxStream<'static, Progress>,
    /// The home of the executor that has the task.
    home: Option<Arc<Home>>,
}

/// The reports of one task, and their watchers. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Reports(watch::Sender<Latest>);

#[derive(Clone, Copy, Debug, Default)]
struct Latest {
    progress: Progress,
    /// The number of reports so far.
    count: u64,
    /// Whether the task has its outcome.
    ended: bool,
}

impl Reports {
    /// Records a report; does nothing after the end.
    pub(crate) fn put(&self, done: u64, total: u64) {
        self.0.send_if_modified(|latest| {
            if !latest.ended {
                latest.progress = Progress { done, total };
                latest.count += 1;
            }
            !latest.ended
        });
    }

    /// Ends the streams that exist. Code that creates a later stream calls this again.
    pub(crate) fn end(&self) {
        self.0.send_modify(|latest| latest.ended = true);
    }

    pub(crate) fn watch(&self, home: Option<Arc<Home>>) -> ProgressStream {
        let watched = (self.0.subscribe(), 0);
        let reports = stream::unfold(watched, |(mut receiver, seen)| async move {
            loop {
                let latest = *receiver.borrow_and_update();
                if latest.count > seen {
                    return Some((latest.progress, (receiver, latest.count)));
                }
                if latest.ended || receiver.changed().await.is_err() {
                    return None;
                }
            }
        });
        ProgressStream {
            reports: reports.fuse().boxed(),
            home,
        }
    }
}

impl Stream for ProgressStream {
    type Item = Progress;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Progress>> {
        let polled = self.reports.as_mut().poll_next(cx);
        if polled.is_pending()
            && let Some(home) = &self.home
        {
            home.note_caller(); // Once for each poll: a different runtime may wait for the report now.
        }
        polled
    }
}

impl fmt::Debug for ProgressStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgressStream").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_watcher_gets_the_latest_report_however_late_it_comes_and_then_the_end() {
        let reports = Reports::default();
        let mut early = reports.watch(None);
        assert!(early.next().now_or_never().is_none());
        reports.put(1, 3);
        reports.put(2, 3);
        let two_of_three = Progress { done: 2, total: 3 };
        assert_eq!(early.next().now_or_never(), Some(Some(two_of_three)));
        assert!(early.next().now_or_never().is_none());
        let mut late = reports.watch(None);
        reports.end();
        reports.put(3, 3);
        let mut too_late = reports.watch(None);
        assert_eq!(early.next().now_or_never(), Some(None));
        assert_eq!(early.next().now_or_never(), Some(None));
        for stream in [&mut late, &mut too_late] {
            assert_eq!(stream.next().now_or_never(), Some(Some(two_of_three)));
            assert_eq!(stream.next().now_or_never(), Some(None));
        }
    }

    #[test]
    fn the_same_report_twice_is_two_reports() {
        let reports = Reports::default();
        let mut stream = reports.watch(None);
        for _ in 0..2 {
            reports.put(0, 0);
            assert_eq!(
                stream.next().now_or_never(),
                Some(Some(Progress::default()))
            );
        }
        drop(reports);
        assert_eq!(stream.next().now_or_never(), Some(None));
    }
}
