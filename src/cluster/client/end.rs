//! How a client ends. Only its own tasks end with it; the workers continue.

use std::time::{Duration, Instant};

use super::core::ClientCore;
use crate::executor::open::Close;
use crate::executor::options::{Shutdown, ShutdownReport};
use crate::home::within;

/// How long a shutdown waits after its deadline: first for the server to decide about tasks that wait, then for the
/// cancels of running tasks to be sent.
const DECISION: Duration = Duration::from_millis(100);

impl Close for ClientCore {
    fn close(&self) {
        self.rooms.close();
        self.note_end();
    }
}

impl ClientCore {
    pub(super) async fn shut_down(&self, how: Shutdown) -> ShutdownReport {
        let deadline = how.ends_at();
        let before = self.counts.now();
        self.close();
        if how.cancel_pending {
            self.update(|table, now| table.cancel_waiting(now));
        }
        match deadline {
            None => self.until(|| self.is_done()).await,
            Some(deadline) => {
                if within(&self.home, deadline, self.until(|| self.is_done()))
                    .await
                    .is_none()
                {
                    self.give_up().await;
                }
            }
        }
        self.counts.since(&before)
    }

    /// Ends all tasks at the deadline. The server has a moment to decide which have not started.
    async fn give_up(&self) {
        self.update(|table, now| table.cancel_waiting(now));
        let decided = self.until(|| self.table().waiting() == 0);
        within(&self.home, Instant::now() + DECISION, decided).await;
        self.update(|table, now| table.abandon(now));
        let me = self.shared();
        let sent = self.nats.run(async move { me.send_last_actions().await });
        within(&self.home, Instant::now() + DECISION, sent).await;
        self.past_deadline.cancel();
        self.until(|| self.is_idle()).await;
    }

    /// Waits until `is_so` holds. The end of a task wakes it.
    async fn until(&self, is_so: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            if is_so() {
                return;
            }
            changed.await;
        }
    }
}
