//! The fork servers for the program's processes that run one function. One bare fork server serves all processes
//! without a preload, and each preload has a fork server of its own. Processes with a cleared environment do not share
//! a fork server with others: a fork has the memory of its fork server, and must not find the program's environment
//! there.

use std::sync::{Arc, Mutex, PoisonError};

use crate::executor::error::BuildError;
use crate::process::start::{ForkServer, Opening, Recipe, Surroundings};
use crate::sys;
use crate::wire::FunctionOffset;

/// The most fork servers of a program. Each of them stays until the program ends.
const MOST: usize = 32;

static FORK_SERVERS: Mutex<SharedForkServers> = Mutex::new(SharedForkServers {
    generation: 0,
    servers: Vec::new(),
});

struct SharedForkServers {
    /// The process that created them: a fork of that process cannot use them.
    generation: u32,
    servers: Vec<(ForkServerKey, Arc<ForkServer>)>,
}

/// What makes fork servers differ: what each has done before its first fork.
#[derive(PartialEq, Eq)]
struct ForkServerKey {
    env_clear: bool,
    /// The function and its encoded arguments.
    preload: Option<(FunctionOffset, Vec<u8>)>,
}

impl ForkServerKey {
    fn of(recipe: &Recipe) -> Self {
        let encoded =
            |(function, args): &Opening| (*function, args.pieces().flatten().copied().collect());
        Self {
            env_clear: recipe.surroundings.env_clear,
            preload: recipe.preload.as_ref().map(encoded),
        }
    }
}

/// What the fork server of a process with these surroundings starts with. The process changes the rest.
pub(super) fn surroundings(process: &Surroundings) -> Surroundings {
    Surroundings {
        env_clear: process.env_clear,
        ..Surroundings::default()
    }
}

/// Returns the fork server that starts by this recipe.
///
/// # Errors
/// If the program has too many.
pub(super) fn fork_server(recipe: &Recipe) -> Result<Arc<ForkServer>, BuildError> {
    let key = ForkServerKey::of(recipe);
    let mut shared = FORK_SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
    if shared.generation != sys::generation() {
        shared.generation = sys::generation();
        // Dropping them would end the fork servers of another process.
        std::mem::forget(std::mem::take(&mut shared.servers));
    }
    if let Some((_, server)) = shared.servers.iter().find(|(known, _)| *known == key) {
        return Ok(server.clone());
    }
    if shared.servers.len() >= MOST {
        return Err(BuildError::invalid(format!(
            "processes of this program have {MOST} different preloads, each with a fork server that stays, and \
             may have no more; pass what differs as an argument of the function"
        )));
    }
    let server = Arc::new(ForkServer::unattended());
    shared.servers.push((key, server.clone()));
    Ok(server)
}
