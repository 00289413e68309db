//! A [`TaskError`] as the answer of an [axum](https://docs.rs/axum) handler (feature `axum`).

use axum_core::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use crate::executor::error::TaskError;

/// After so many seconds a client may try again that was refused for want of room.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// A handler may return `Result<_, TaskError>`. The client learns nothing of the inside: log the error
/// for that.
///
/// | error | status |
/// |---|---|
/// | the queue was full, or the task waited there for too long | 503, with `Retry-After: 1` |
/// | cancelled, shut down, or no worker could be made ready | 503 |
/// | time-out | 504 |
/// | anything else: a panic, a lost worker, what cannot be encoded | 500 |
///
/// ```
/// use std::sync::Arc;
/// use axum::extract::{Path, State};
/// use concurrent_futures::{TaskError, ThreadPoolExecutor};
///
/// fn is_prime(n: u64) -> bool {
///     n > 1 && (2..=n.isqrt()).all(|divisor| n % divisor != 0)
/// }
///
/// async fn prime(State(pool): State<Arc<ThreadPoolExecutor>>, Path(n): Path<u64>) -> Result<String, TaskError> {
///     Ok(pool.submit(is_prime, n).abort_on_drop().await?.to_string())
/// }
///
/// let pool = Arc::new(ThreadPoolExecutor::new().unwrap());
/// let router = axum::Router::new().route("/prime/{n}", axum::routing::get(prime)).with_state(pool);
/// # let _: axum::Router = router;
/// ```
impl IntoResponse for TaskError {
    fn into_response(self) -> Response {
        let (status, text) = if self.is_busy() {
            let retry = [(header::RETRY_AFTER, RETRY_AFTER)];
            return (
                StatusCode::SERVICE_UNAVAILABLE,
                retry,
                "the service is busy; try again later\n",
            )
                .into_response();
        } else if self.is_cancelled() || self.is_shutdown() || self.is_init_failed() {
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the service is not available\n",
            )
        } else if self.is_timeout() {
            (StatusCode::GATEWAY_TIMEOUT, "the request took too long\n")
        } else {
            (StatusCode::INTERNAL_SERVER_ERROR, "the request failed\n")
        };
        (status, text).into_response()
    }
}
