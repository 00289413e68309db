//! stub
use super::Executor;
use std::sync::Arc;
/// x
#[derive(Debug)]
pub struct Map<R>(R);
impl<R> Map<R> {
    pub(crate) fn new<F, S>(_e: Arc<dyn Executor>, _f: F, _s: S) -> Self {
        todo!()
    }
}
