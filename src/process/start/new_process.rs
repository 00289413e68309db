//! [`NewProcess`]: what to create, by any start method.

use std::sync::Arc;

use super::child::Child;
use super::connection::ChildConnection;
use super::error::StartError;
use super::recipe::Recipe;
use super::surroundings::Surroundings;
use crate::sys::{self, OwnedFd};
use crate::wire::Chain;
use crate::wire::message::Role;

/// What to create.
pub(in crate::process) struct NewProcess<'a> {
    pub(in crate::process) recipe: &'a Arc<Recipe>,
    pub(in crate::process) role: Role,
    /// The surroundings of a forked process. An executed one has those of the recipe.
    pub(in crate::process) surroundings: &'a Surroundings,
    /// Its stdout and its stderr.
    pub(in crate::process) output: [OwnedFd; 2],
    /// Creates its setup, once for each attempt.
    pub(in crate::process) setup: &'a (dyn Fn() -> Chain + Sync),
}

/// A process and the connection to it, on which the hello and the setup were sent.
pub(super) type CreatedProcess = (Child, ChildConnection);

pub(super) fn socket_pair() -> Result<(OwnedFd, OwnedFd), StartError> {
    sys::socket_pair().map_err(StartError::system("make a socket pair"))
}
