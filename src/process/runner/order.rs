//! What to run, and in what kind of process.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::outcome::LeftOutcome;
use super::{RunningProcess, shared};
use crate::executor::error::{BuildError, InitFailure};
use crate::process::StartMethod;
use crate::process::first_init::workers_allowed;
use crate::process::limits::Limits;
use crate::process::output::{Outlets, Output, OutputWriter, Outputs};
use crate::process::start::{
    ForkHere, NewProcess, Newborn, Opening, Recipe, StartError, StartFailure, Starter, Surroundings,
};
use crate::sys::{AsFd as _, AsRawFd as _, OwnedFd, ProcessIdentity, RawFd};
use crate::wire::Chain;
use crate::wire::confinement::Confinement;
use crate::wire::descriptors::Descriptor;
use crate::wire::message::{self, ChildIdentity, Role};
use crate::wire::process_setup::{OutcomeFile, ProcessSetup};

/// What to run, and in what kind of process.
pub(crate) struct StartOrder {
    pub(crate) name: String,
    pub(crate) call: Opening,
    /// What its fork server calls before the first fork.
    pub(crate) preload: Option<Opening>,
    pub(crate) start_method: StartMethod,
    pub(crate) surroundings: Surroundings,
    pub(crate) is_daemon: bool,
    pub(crate) is_dumpable: bool,
    pub(crate) limits: Limits,
    /// The most bytes that its encoded result may have.
    pub(crate) max_result: u64,
    pub(crate) confinement: Option<Confinement>,
    pub(crate) spawn_timeout: Duration,
    /// `None`: an empty stdin.
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    /// This process's ends of the streams that are pipes.
    pub(crate) ours: Vec<RawFd>,
}

/// Why there is no process.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// This build or these settings cannot run it.
    Build(BuildError),
    /// The start failed.
    Start(Box<InitFailure>),
}

impl Refusal {
    /// The system refused something.
    pub(crate) fn system(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| {
            let failure = StartFailure::from(StartError::system(doing)(error));
            Self::Start(failure.into_report())
        }
    }
}

/// A process that is about to run its function. Dropping this kills the process.
///
/// The start runs in a task of its own. So its caller may be dropped after the process is ready and before the caller
/// receives it.
#[must_use = "dropping it kills the process"]
pub(crate) struct StartedProcess(Option<Arc<RunningProcess>>);

impl StartedProcess {
    /// Lets the process run by itself.
    pub(crate) fn keep(mut self) -> Arc<RunningProcess> {
        let running = self.0.take();
        running.expect("only `keep` and the drop take it")
    }
}

impl Drop for StartedProcess {
    fn drop(&mut self) {
        if let Some(running) = self.0.take() {
            running.kill();
            running.reap_in_background(|_| ());
        }
    }
}

impl StartOrder {
    /// Starts the process, and waits until it is about to run the function. If this is dropped earlier, the
    /// process is killed.
    ///
    /// With `may_block`, the calling thread may block for about a millisecond.
    pub(crate) async fn start(self, may_block: bool) -> Result<StartedProcess, Refusal> {
        let is_fork = self.start_method == StartMethod::Fork;
        let serve = workers_allowed(is_fork).map_err(Refusal::Build)?;
        let outcome_file =
            OutcomeFile::create().map_err(Refusal::system("make a file in memory"))?;
        let process_setup = self.process_setup()?;
        let max_result = self.max_result;
        let mut not_theirs = self.ours;
        // They travel with the process setup, whichever start method is used.
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
        let setup = || {
            let mut out = Chain::new();
            out.attach(beside.clone());
            message::put_with(&mut out, &process_setup, &args);
            out
        };
        let (executed, forked) = match self.start_method {
            StartMethod::Spawn => (self.surroundings, Surroundings::default()),
            _ => (shared::surroundings(&self.surroundings), self.surroundings),
        };
        let recipe = Arc::new(Recipe {
            surroundings: executed,
            preload: self.preload,
            initializer: None,
            is_dumpable: false,
            limits: Vec::new(),
            confinement: None,
            outlets: Outlets::new(Some(Output::inherit()), Some(Output::inherit())),
            max_frame_length: 0, // Only greetings arrive from it.
            spawn_timeout: self.spawn_timeout,
            may_block,
        });
        let starter = match self.start_method {
            StartMethod::Spawn => Starter::Spawn,
            StartMethod::ForkServer => {
                let server = shared::fork_server(&recipe).map_err(Refusal::Build)?;
                Starter::Fork(server)
            }
            StartMethod::Fork => Starter::ForkHere(ForkHere { serve, not_theirs }),
        };
        let new = NewProcess {
            recipe: &recipe,
            role: Role::Runner,
            surroundings: &forked,
            output: [self.stdout, self.stderr],
            setup: &setup,
        };
        // No task reads its output, which goes directly to its streams.
        let no_outputs = |_| Ok(Outputs::default());
        let ready = match Newborn::create(&starter, new, no_outputs).await {
            Ok(newborn) => {
                let writer = OutputWriter::default();
                newborn.make_ready(&recipe, writer, pending()).await
            }
            Err(failure) => Err(failure),
        };
        let is_fork = self.start_method == StartMethod::Fork;
        match ready {
            Ok(newborn) => {
                let left = LeftOutcome::new(outcome_file, max_result);
                let running = RunningProcess::from_newborn(newborn, left, is_fork);
                Ok(StartedProcess(Some(Arc::new(running))))
            }
            Err(Some(failure)) => Err(refused(failure, is_fork)),
            Err(None) => Err(refused(StartError::Closed.into(), is_fork)),
        }
    }

    fn process_setup(&self) -> Result<ProcessSetup, Refusal> {
        let (function, args) = &self.call;
        Ok(ProcessSetup {
            identity: ChildIdentity {
                name: self.name.clone(),
                parent: ProcessIdentity::own().to_word(),
                is_daemon: self.is_daemon,
            },
            has_stdin: self.stdin.is_some(),
            is_dumpable: self.is_dumpable || self.limits.dump_memory(),
            limits: self.limits.check().map_err(Refusal::Build)?,
            max_result: self.max_result,
            confinement: self.confinement.clone(),
            function: *function,
            descriptors: args.descriptors().len() as u32, // There are at most a few hundred.
        })
    }
}

/// Why there is no process.
fn refused(failure: StartFailure, is_fork: bool) -> Refusal {
    match &failure.error {
        // The other threads are the reason, not the system.
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
        _ => Refusal::Start(failure.into_report()),
    }
}
