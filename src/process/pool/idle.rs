//! The workers without work. Each step takes the same time for two workers and for hundreds: a worker's link
//! remembers whether the worker is here, so only its removal out of turn searches.

use std::sync::Arc;

use crate::process::link::Link;

/// The last one that worked is on top: its caches are the warmest.
#[derive(Default)]
pub(super) struct IdleWorkers(Vec<Arc<Link>>);

impl IdleWorkers {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Puts a worker on top, if it is not here.
    pub(super) fn push(&mut self, link: &Arc<Link>) {
        if link.start_rest() {
            self.0.push(link.clone());
        }
    }

    /// Takes the worker on top, reserved for a call.
    pub(super) fn pop(&mut self) -> Option<Arc<Link>> {
        let link = self.0.pop()?;
        link.reserve();
        Some(link)
    }

    /// Takes a worker out of turn. Returns whether it was here.
    pub(super) fn remove(&mut self, link: &Link) -> bool {
        let is_here = link.end_rest();
        if is_here {
            self.0.retain(|idle| idle.id != link.id);
        }
        is_here
    }

    /// Takes all.
    pub(super) fn drain(&mut self) -> Vec<Arc<Link>> {
        for link in &self.0 {
            link.end_rest();
        }
        std::mem::take(&mut self.0)
    }
}

#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use super::*;
    use crate::process::link::Tenure;
    use crate::sys::Socket;
    use crate::wire::page::Page;

    fn link(id: u64) -> Arc<Link> {
        let (ours, _) = Socket::pair().expect("a socket pair");
        let (page, _) = Page::create().expect("memory");
        Arc::new(Link::new(id, 1, page, Arc::new(ours), Tenure::default()))
    }

    #[test]
    fn each_idle_worker_is_there_once_and_the_last_that_worked_comes_first() {
        let [one, two, three] = [1, 2, 3].map(link);
        let mut idle = IdleWorkers::default();
        for link in [&one, &two, &three, &one] {
            idle.push(link);
        }
        assert_eq!(idle.len(), 3);
        assert!(idle.remove(&two) && !idle.remove(&two));
        assert_eq!(idle.pop().map(|link| link.id), Some(3));
        assert!(!three.is_idle(), "it is reserved");
        idle.push(&two);
        assert_eq!(idle.pop().map(|link| link.id), Some(2));
        assert_eq!(idle.drain().len(), 1);
        assert!(!one.rests() && idle.pop().is_none());
    }
}
