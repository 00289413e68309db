//! The fork server of the program: one for all of its processes that run one function, since none needs more than a bare
//! process.

use std::sync::{Arc, Mutex, PoisonError};

use crate::process::start::ForkServer;
use crate::sys;

/// The fork server, and the process that created it: a fork of that process cannot use it.
static FORK_SERVER: Mutex<Option<(u32, Arc<ForkServer>)>> = Mutex::new(None);

pub(super) fn fork_server() -> Arc<ForkServer> {
    let mut held = FORK_SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    match &*held {
        Some((generation, server)) if *generation == sys::generation() => server.clone(),
        _ => {
            let server = Arc::new(ForkServer::unattended());
            let parents = held.replace((sys::generation(), server.clone()));
            std::mem::forget(parents); // Its drop would end the fork server of another process.
            server
        }
    }
}
