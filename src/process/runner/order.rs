//! From an order to a process that is about to run its function.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::word::Word;
use super::{GRACE, Runner, State};
use crate::executor::error::{BuildError, BuildFailure, InitFailure};
use crate::process::limits::Limits;
use crate::process::output::{Ends, Outlets, Output};
use crate::process::start::{
    Connection, ForkHere, ForkServer, Opening, Recipe, StartError, Starter, Surroundings,
};
use crate::process::verdict::init_failure;
use crate::process::{ServeForked, StartMethod, workers_allowed};
use crate::sys::{self, ChildProcess};
use crate::wire::Chain;
use crate::wire::errand::{Errand, Legacy};
use crate::wire::message::{Identity, Role};

/// The fork server of this program, and in which process it was made: in a fork of that, it is of no use.
static FORK_SERVER: Mutex<Option<(u32, Arc<ForkServer>)>> = Mutex::new(None);

/// What is to be run, and in what kind of process.
pub(crate) struct Order {
    pub(crate) call: Opening,
    pub(crate) start_method: StartMethod,
    pub(crate) surroundings: Surroundings,
    pub(crate) is_daemon: bool,
    pub(crate) limits: Limits,
    pub(crate) spawn_timeout: Duration,
    /// Nothing is an empty one.
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    /// Our ends of these, where they are pipes.
    pub(crate) ours: Vec<RawFd>,
}

/// Why there is no such process.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It cannot be.
    Build(BuildError),
    /// It did not become what it was started for.
    Start(Box<InitFailure>),
}

impl Order {
    /// Starts the process, and waits until it is about to run the function. Given up before that, it is
    /// killed.
    pub(crate) async fn start(mut self) -> Result<Arc<Runner>, Refusal> {
        let not_initialized = BuildError(BuildFailure::NotInitialized);
        let serve = workers_allowed().ok_or(Refusal::Build(not_initialized))?;
        let told = self.words()?;
        let limit = self.spawn_timeout;
        let recipe = Arc::new(Recipe {
            surroundings: self.surroundings,
            preload: None,
            initializer: None,
            limits: Vec::new(),
            outlets: Outlets::new(Some(Output::inherit()), Some(Output::inherit())),
            max_frame_length: 0, // Nothing but words of greeting will come.
            spawn_timeout: limit,
        });
        let ends = Ends {
            stdout: self.stdout,
            stderr: self.stderr,
        };
        let mut not_theirs = self.ours;
        not_theirs.extend(self.stdin.as_ref().map(AsRawFd::as_raw_fd)); // It is told of another.
        let starter = starter(self.start_method, serve, not_theirs);
        let is_fork = self.start_method == StartMethod::Fork;
        let started = starter.bring_forth(&recipe, Role::Runner, ends).await;
        let (process, zygote, socket) = started.map_err(|error| refused(error, is_fork))?;
        let newborn = Newborn::new(process, is_fork).map_err(system("make a file in memory"))?;
        let mut connection = Connection::new(socket).map_err(system("use a socket"))?;
        let outcome = tokio::select! {
            outcome = newborn.meet(&mut connection, told, self.stdin.as_ref()) => outcome,
            () = tokio::time::sleep(limit) => Err(StartError::TimedOut(limit)),
        };
        if zygote.is_some() {
            let word = Word::new(connection).map_err(system("use a socket"))?;
            newborn.runner.lock().word = Some(word);
        }
        match outcome {
            Ok(()) => Ok(newborn.keep()),
            Err(error) => Err(Refusal::Start(Box::new(newborn.fail(error).await))),
        }
    }

    /// What the process is told, but for who speaks. What is left of its surroundings is what it is to be
    /// executed with.
    fn words(&mut self) -> Result<Chain, Refusal> {
        let (environment, folder) = match self.start_method {
            StartMethod::Spawn => (None, None),
            // It is forked from a process that may have been started long ago.
            _ => std::mem::take(&mut self.surroundings)
                .resolve()
                .map_err(system("find the current folder"))?,
        };
        let (function, args) = &mut self.call;
        let errand = Errand {
            is_daemon: self.is_daemon,
            has_stdin: self.stdin.is_some(),
            environment,
            folder,
            limits: self.limits.check().map_err(Refusal::Build)?,
            function: *function,
            descriptors: args.descriptors().len() as u32, // There are few.
        };
        let mut told = Chain::new();
        errand.put(&mut told, args);
        args.detach(); // What they stand for is to end when the process is done with it.
        Ok(told)
    }
}

/// Why nothing was started.
fn refused(error: StartError, is_fork: bool) -> Refusal {
    match error {
        // Not by the system: it is the other threads.
        StartError::System { error, .. } if is_fork && error.raw_os_error().is_none() => {
            let what = format!(
                "StartMethod::Fork cannot be used here: {error}; start the process before the runtime and \
                 all other threads, or use StartMethod::ForkServer"
            );
            Refusal::Build(BuildError(BuildFailure::Unsupported(what.into())))
        }
        error => Refusal::Start(Box::new(init_failure(error, None))),
    }
}

fn system(doing: &'static str) -> impl FnOnce(io::Error) -> Refusal {
    move |error| {
        let error = StartError::system(doing)(error);
        Refusal::Start(Box::new(init_failure(error, None)))
    }
}

fn starter(method: StartMethod, serve: ServeForked, not_theirs: Vec<RawFd>) -> Starter {
    match method {
        StartMethod::Spawn => Starter::Spawn,
        StartMethod::Fork => Starter::ForkHere(ForkHere { serve, not_theirs }),
        StartMethod::ForkServer => Starter::Fork(fork_server()),
    }
}

/// One for all such processes of the program: none asks for more than a bare process.
fn fork_server() -> Arc<ForkServer> {
    let mut held = FORK_SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    match &*held {
        Some((generation, server)) if *generation == sys::generation() => server.clone(),
        _ => {
            let server = Arc::new(ForkServer::unattended());
            let parents = held.replace((sys::generation(), server.clone()));
            std::mem::forget(parents); // Its drop would end the server of another process.
            server
        }
    }
}

/// A process that is yet to begin. Dropping it kills it.
struct Newborn {
    runner: Arc<Runner>,
    is_kept: bool,
}

impl Newborn {
    fn new(mut process: ChildProcess, is_fork: bool) -> io::Result<Self> {
        let legacy = Legacy::create()?;
        process.set_free();
        let runner = Runner {
            pid: process.id(),
            pidfd: process.pidfd().clone(),
            legacy: Arc::new(legacy),
            state: Mutex::new(State {
                process,
                word: None,
                oom_kills: sys::oom_kills(),
                end: None,
            }),
            is_fork,
        };
        Ok(Self {
            runner: Arc::new(runner),
            is_kept: false,
        })
    }

    /// Tells it what it is to run, and waits until it is about to.
    async fn meet(
        &self,
        connection: &mut Connection,
        told: Chain,
        stdin: Option<&OwnedFd>,
    ) -> Result<(), StartError> {
        let mut fds = vec![self.runner.legacy.file().as_fd()];
        fds.extend(stdin.map(OwnedFd::as_fd));
        connection.establish(&Identity::own(), &fds, told, 0).await
    }

    /// Why it did not begin. It has ended by then.
    async fn fail(self, error: StartError) -> InitFailure {
        // What ended by itself has an exit status of its own; give it the time to.
        if matches!(error, StartError::Mute | StartError::Gone) {
            let _ = tokio::time::timeout(GRACE, self.runner.gone()).await;
        }
        self.runner.kill();
        init_failure(error, Some(self.runner.ended().await))
    }

    fn keep(mut self) -> Arc<Runner> {
        self.is_kept = true;
        self.runner.clone()
    }
}

impl Drop for Newborn {
    fn drop(&mut self) {
        if !self.is_kept {
            self.runner.kill();
            self.runner.clone().see_out(|_| {});
        }
    }
}
