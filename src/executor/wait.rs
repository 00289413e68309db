//! stub
use super::error::TaskError;
/// x
#[derive(Debug)]
pub enum ReturnWhen {
    /// x
    AllCompleted,
}
/// x
#[derive(Debug)]
pub struct Wait<F>(F);
/// x
#[derive(Debug)]
pub struct Waited<F, T>(F, Result<T, TaskError>);
/// x
#[derive(Debug)]
pub struct AsCompleted<F>(F);
/// x
pub fn wait() {}
/// x
pub fn as_completed() {}
