//! A member of a [crowd](super::crowd), a leader or a follower.
//!
//! A follower registers for `news` first, then compares the versions, and then waits. A leader listens, sets the mark,
//! reads the version, and notifies `news` if that version is new. So a change after a follower has compared the
//! versions reaches it: the changer rings for the leader, or the leader reads the new version.

use std::sync::Arc;

use super::bell::Bell;
use super::changes::Changes;
use super::crowd::{Crowd, Lead, Leader};
use super::driver::Driver;
use super::wait::WatchedProcesses;
use super::waiter::{Waiter, Woken};

#[derive(Debug)]
pub(crate) struct Member<W> {
    crowd: Arc<Crowd<W>>,
    lead: Option<Lead<W>>,
    /// Its own waiter, if it watches processes and does not lead.
    own: Option<W>,
}

impl<W: Waiter> Member<W> {
    pub(crate) fn new(crowd: Arc<Crowd<W>>) -> Self {
        let lead = crowd.try_to_lead();
        Self {
            crowd,
            lead,
            own: None,
        }
    }

    /// Whether it watches processes for the whole crowd.
    pub(crate) fn leads(&self) -> bool {
        self.lead.is_some()
    }

    /// Waits for a version other than this one, for the end of a process of this interest, or until it leads. `None` if
    /// time is up.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn changed<D: Driver<Waiter = W>>(
        &mut self,
        driver: &D,
        bell: &Bell,
        changes: Changes<'_>,
        version: u64,
        watched: &mut WatchedProcesses,
    ) -> Option<()> {
        let ended = if self.leads() || !watched.all().is_empty() {
            self.listen(driver, bell, changes, version, watched).await?
        } else {
            self.follow(changes, version).await;
            Woken::Rang
        };
        watched.renew(ended.ended());
        Some(())
    }

    async fn listen<D: Driver<Waiter = W>>(
        &mut self,
        driver: &D,
        bell: &Bell,
        changes: Changes<'_>,
        version: u64,
        watched: &mut WatchedProcesses,
    ) -> Option<Woken> {
        let (waiter, mut spread) = match &mut self.lead {
            Some(lead) => {
                let Leader { waiter, spread } = lead.leader();
                (waiter, Some(spread))
            }
            None => (&mut self.own, None),
        };
        let waiter = waiter.get_or_insert_with(|| W::new(bell));
        loop {
            let now = changes.listen();
            if let Some(spread) = &mut spread
                && **spread != Some(now)
            {
                **spread = Some(now);
                self.crowd.news.notify_waiters();
            }
            if now != version {
                return Some(Woken::Rang);
            }
            if let ended @ Woken::Ended(_) = watched.wait(driver, waiter).await? {
                return Some(ended);
            }
        }
    }

    async fn follow(&mut self, changes: Changes<'_>, version: u64) {
        loop {
            let news = self.crowd.news.notified();
            // Before the comparison: the news may be that there is no leader. If a follower found another version and
            // did not react to this news, the others would stay without a leader.
            self.lead = self.crowd.try_to_lead();
            if self.leads() || changes.version() != version {
                return;
            }
            news.await;
        }
    }
}
