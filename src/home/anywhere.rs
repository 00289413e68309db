//! A future of a caller that may be in any runtime, or in none.

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::place::Home;
use super::probe;

/// Awaits `future` here if the caller's runtime can drive it, and otherwise on the crate's own.
///
/// # Cancel safety
/// As cancel safe as `future`: dropping this drops that.
pub(crate) async fn anywhere<F>(future: F) -> F::Output
where
    F: Future<Output: Send> + Send + 'static,
{
    if Handle::try_current().is_ok_and(|runtime| probe::can_drive(&runtime)) {
        return future.await;
    }
    let (give, take) = oneshot::channel();
    let home = Home::new();
    let _task = home.spawn_guarded(async move {
        let _ = give.send(future.await); // The caller may have been dropped.
    });
    take.await
        .expect("the system has a thread and a descriptor for the runtime of concurrent-futures")
}
