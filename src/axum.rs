//! A [`TaskError`] as the response of an [axum](https://docs.rs/axum) handler (feature `axum`).

use axum_core::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use crate::executor::error::TaskError;

/// How many seconds a client waits before it retries, after the queue was full or its task waited there for
/// too long.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// Lets a handler return `Result<_, TaskError>`. The response has no details of the error: log the error if
/// you need them.
///
/// | error | status |
/// |---|---|
/// | the queue is full, or the task waited in it for too long | 503, with `Retry-After: 1` |
/// | the task was cancelled, the executor has shut down, or no worker became ready | 503 |
/// | the task ran longer than its timeout | 504 |
/// | any other: a panic, a lost worker, an encoding error | 500 |
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
