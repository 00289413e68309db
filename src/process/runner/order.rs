//! What to run, and in what kind of process.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::RunningProcess;
use super::birth::{self, Born, UnclaimedProcess};
use super::outcome::LeftOutcome;
use crate::executor::error::{BuildError, BuildFailure, InitFailure};
use crate::home::timeout;
use crate::process::limits::Limits;
use crate::process::output::{Outlets, Output};
use crate::process::start::{Opening, Recipe, StartError, Surroundings};
use crate::process::verdict::init_failure;
use crate::process::{StartMethod, workers_allowed};
use crate::sys::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use crate::wire::Chain;
use crate::wire::descriptors::Descriptor;
use crate::wire::message;
use crate::wire::process_setup::{OutcomeFile, ProcessSetup};

/// What to run, and in what kind of process.
pub(crate) struct StartOrder {
    pub(crate) call: Opening,
    pub(crate) start_method: StartMethod,
    pub(crate) surroundings: Surroundings,
    pub(crate) is_daemon: bool,
    pub(crate) limits: Limits,
    /// The most bytes that its encoded result may have.
    pub(crate) max_result: u64,
    pub(crate) spawn_timeout: Duration,
    /// `None` is an empty one.
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    /// This process's ends of the streams that are pipes.
    pub(crate) ours: Vec<RawFd>,
}

/// Why there is no process.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is not possible.
    Build(BuildError),
    /// The start failed.
    Start(Box<InitFailure>),
}

impl Refusal {
    /// The system refused something.
    pub(crate) fn system(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| {
            let error = StartError::system(doing)(error);
            Self::Start(Box::new(init_failure(error, None)))
        }
    }
}

impl StartOrder {
    /// Starts the process, and waits until it is about to run the function. If this is dropped earlier, the
    /// process is killed.
    ///
    /// With `may_block`, the calling thread may block for about a millisecond.
    pub(crate) async fn start(self, may_block: bool) -> Result<Arc<RunningProcess>, Refusal> {
        let not_initialized = BuildError(BuildFailure::NotInitialized);
        let serve = workers_allowed().ok_or(Refusal::Build(not_initialized))?;
        let outcome_file =
            OutcomeFile::create().map_err(Refusal::system("make a file in memory"))?;
        let process_setup = self.process_setup()?;
        let max_result = self.max_result;
        let mut not_theirs = self.ours;
        // These travel with the process setup, whichever start method is used.
        let shared = outcome_file
            .share()
            .map_err(Refusal::system("share a file in memory"))?;
        let beside: Vec<_> = [shared]
            .into_iter()
            .chain(self.stdin)
            .map(Descriptor::from)
            .collect();
        not_theirs.push(outcome_file.as_raw_fd());
        not_theirs.extend(beside.iter().map(|fd| fd.as_fd().as_raw_fd()));
        let args = self.call.1;
        let words = || {
            let mut out = Chain::new();
            out.attach(beside.clone());
            message::put_with(&mut out, &process_setup, &args);
            out
        };
        let (executed, forked) = match self.start_method {
            StartMethod::Spawn => (self.surroundings, Surroundings::default()),
            // Its fork server has those of the program.
            _ => (Surroundings::default(), self.surroundings),
        };
        let recipe = Arc::new(Recipe {
            surroundings: executed,
            preload: None,
            initializer: None,
            limits: Vec::new(),
            outlets: Outlets::new(Some(Output::inherit()), Some(Output::inherit())),
            max_frame_length: 0, // Only greetings arrive.
            spawn_timeout: self.spawn_timeout,
            may_block,
        });
        let output = [self.stdout, self.stderr];
        let born = match self.start_method {
            StartMethod::Spawn => birth::execute(&recipe, output, words).await,
            StartMethod::ForkServer => birth::fork_at_server(&recipe, &forked, output, words).await,
            StartMethod::Fork => birth::fork_here(serve, &forked, &not_theirs, output, words),
        };
        let is_fork = self.start_method == StartMethod::Fork;
        let Born {
            process,
            mut connection,
            word,
        } = born.map_err(|error| refused(error, is_fork))?;
        let left = LeftOutcome::new(outcome_file, max_result);
        let newborn = UnclaimedProcess::new(process, word, left, is_fork);
        let limit = recipe.spawn_timeout;
        let established = timeout(limit, connection.establish(recipe.max_frame_length)).await;
        match established.unwrap_or(Err(StartError::TimedOut(limit))) {
            Ok(()) => Ok(newborn.keep()),
            Err(error) => Err(Refusal::Start(Box::new(newborn.fail(error).await))),
        }
    }

    fn process_setup(&self) -> Result<ProcessSetup, Refusal> {
        let (function, args) = &self.call;
        Ok(ProcessSetup {
            is_daemon: self.is_daemon,
            has_stdin: self.stdin.is_some(),
            limits: self.limits.check().map_err(Refusal::Build)?,
            max_result: self.max_result,
            function: *function,
            descriptors: args.descriptors().len() as u32, // There are few.
        })
    }
}

/// Why nothing was started.
fn refused(error: StartError, is_fork: bool) -> Refusal {
    match error {
        // The reason is not the system but the other threads.
        StartError::System { error, .. }
            if is_fork && error.kind() == io::ErrorKind::ResourceBusy =>
        {
            let what = format!(
                "StartMethod::Fork cannot be used here: {error}; start the process before the runtime and \
                 all other threads, or use StartMethod::ForkServer; if a library starts them before main, use \
                 StartMethod::Spawn"
            );
            Refusal::Build(BuildError::unsupported(what))
        }
        error => Refusal::Start(Box::new(init_failure(error, None))),
    }
}
