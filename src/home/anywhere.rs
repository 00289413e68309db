//! Awaits a future for a caller that may be in any runtime, or in none.

use tokio::sync::oneshot;

use super::place::Home;

/// Awaits `future` as a task of its own. The task runs in the caller's runtime, and moves to another one if the caller
/// does or if the runtime ends.
///
/// # Cancel safety
/// As cancel safe as `future`: dropping this drops `future`.
pub(crate) async fn anywhere<F>(future: F) -> F::Output
where
    F: Future<Output: Send> + Send + 'static,
{
    let (give, take) = oneshot::channel();
    let home = Home::new();
    let _task = home.spawn_guarded(async move {
        let _ = give.send(future.await); // The caller may have been dropped.
    });
    home.awaited(take)
        .await
        .expect("the system has a thread and a descriptor for the runtime of concurrent-futures")
}
