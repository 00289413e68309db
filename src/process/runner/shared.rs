//! The fork servers of the program. One is for all of its processes that run one function, since none needs more than a
//! bare process. Those without the environment of the program have another one: a fork has the memory of its fork
//! server, and so must not find that environment there.

use std::sync::{Arc, Mutex, PoisonError};

use crate::process::start::{ForkServer, Surroundings};
use crate::sys;

/// A fork server, and the process that created it: a fork of that process cannot use it.
type SharedForkServer = Mutex<Option<(u32, Arc<ForkServer>)>>;

static FORK_SERVER: SharedForkServer = Mutex::new(None);
static WITHOUT_ENVIRONMENT: SharedForkServer = Mutex::new(None);

/// What the fork server of a process with these surroundings starts with. The process changes the rest.
pub(super) fn surroundings(process: &Surroundings) -> Surroundings {
    Surroundings {
        env_clear: process.env_clear,
        ..Surroundings::default()
    }
}

/// The fork server that starts with these surroundings.
pub(super) fn fork_server(surroundings: &Surroundings) -> Arc<ForkServer> {
    let held = match surroundings.env_clear {
        false => &FORK_SERVER,
        true => &WITHOUT_ENVIRONMENT,
    };
    let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
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
