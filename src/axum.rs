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
#[cfg_attr(not(doctest), doc = include_str!("guide/snippets/axum.md"))]
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
