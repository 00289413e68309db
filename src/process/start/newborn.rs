//! From nothing to a process that is ready, for a worker as for a process that runs one function. The start method
//! creates it, both sides exchange the first messages within a time limit, and what the process writes meanwhile is
//! passed on. If that fails, the process is killed and reaped, and its last output and how it ended are reported.

use std::future::Future;
use std::io;
use std::time::Duration;

use super::child::Child;
use super::connection::ChildConnection;
use super::create::Starter;
use super::error::StartError;
use super::failure::StartFailure;
use super::new_process::NewProcess;
use super::recipe::Recipe;
use crate::home::timeout;
use crate::process::output::{OutputWriter, Outputs};
use crate::process::verdict::death;
use crate::sys;

/// How long a process that has hung up may take to end.
const EXIT_GRACE: Duration = Duration::from_secs(5);

/// A process on its way to be ready. Dropping it kills the process.
pub(in crate::process) struct Newborn {
    pub(in crate::process) child: Child,
    pub(in crate::process) connection: ChildConnection,
    pub(in crate::process) outputs: Outputs,
    /// The kernel's count of kills for lack of memory, before the process did anything.
    pub(in crate::process) oom_kills: u64,
}

impl Newborn {
    /// Creates a process. `attend` starts to read its output, once it has an id. The error is `None` if no process is
    /// needed any more.
    pub(in crate::process) async fn create(
        starter: &Starter,
        new: NewProcess<'_>,
        attend: impl FnOnce(u32) -> io::Result<Outputs>,
    ) -> Result<Self, Option<StartFailure>> {
        let (child, connection) = match starter.create(new).await {
            Ok(created) => created,
            Err(StartError::Closed) => return Err(None),
            Err(error) => return Err(Some(error.into())),
        };
        let oom_kills = sys::oom_kills(); // Read while the process starts, which takes longer than this.
        let outputs = attend(child.id()).map_err(StartError::system("read a pipe"));
        Ok(Self {
            child,
            connection,
            outputs: outputs.map_err(|error| Some(error.into()))?,
            oom_kills,
        })
    }

    /// Waits until the process is ready, or ends it. If `unwanted` completes first, the error is `None`.
    pub(in crate::process) async fn make_ready(
        mut self,
        recipe: &Recipe,
        writer: OutputWriter<'_>,
        unwanted: impl Future<Output = ()>,
    ) -> Result<Self, Option<StartFailure>> {
        let met = tokio::select! {
            met = self.connection.establish(recipe) => met.map_err(Some),
            () = unwanted => Err(None),
            never = self.outputs.attend_on(writer) => match never {},
        };
        match met {
            Ok(()) => Ok(self),
            Err(error) => Err(self.fail(error, writer).await),
        }
    }

    /// Ends the process, and says why it is not ready; `None` if it was not needed any more.
    async fn fail(
        mut self,
        error: Option<StartError>,
        writer: OutputWriter<'_>,
    ) -> Option<StartFailure> {
        // A process that ended by itself has an exit status; wait for it.
        if matches!(error, Some(StartError::SentNothing | StartError::Ended)) {
            timeout(EXIT_GRACE, self.child.ended()).await;
        }
        self.child.kill();
        let exit = self.child.exit().await;
        self.outputs.finish(writer).await;
        let tail = self.outputs.tail(writer);
        Some(StartFailure {
            error: error?,
            death: Some(death(self.child.id(), exit, tail, self.oom_kills)),
        })
    }
}

#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use std::future::{pending, ready};
    use std::process::Command;

    use super::*;
    use crate::process::output::{Outlets, Output};
    use crate::sys::ChildProcess;
    use crate::wire::Chain;

    fn recipe(spawn_timeout: Duration) -> Recipe {
        let outlets = Outlets::new(Some(Output::null()), Some(Output::lines(|_| ())));
        Recipe {
            spawn_timeout,
            ..Recipe::plain(outlets)
        }
    }

    /// Starts a shell that runs `script` in place of a worker.
    fn newborn(recipe: &Recipe, script: &str) -> Newborn {
        let (ends, pipes) = recipe.outlets.open().expect("streams");
        let (ours, theirs) = sys::socket_pair().expect("a socket pair");
        // Before the shell starts, because it may end at once.
        let connection = ChildConnection::begin(ours, Chain::new()).expect("a connection");
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).stdin(theirs);
        shell.stdout(ends.stdout).stderr(ends.stderr);
        let process = ChildProcess::spawn(&mut shell).expect("a process");
        drop(shell); // It holds the other ends of the pipes.
        Newborn {
            connection,
            outputs: recipe
                .outlets
                .attend(pipes, 1, process.id())
                .expect("streams"),
            child: Child::from(process),
            oom_kills: 0,
        }
    }

    async fn settle(
        recipe: &Recipe,
        script: &str,
        unwanted: impl Future<Output = ()>,
    ) -> Option<StartFailure> {
        let newborn = newborn(recipe, script);
        let pidfd = newborn.child.pidfd().clone();
        let writer = OutputWriter::default();
        let settled = newborn.make_ready(recipe, writer, unwanted).await;
        let error = settled.err().expect("a shell is no worker");
        assert!(sys::is_readable(pidfd), "the process has ended");
        error
    }

    #[tokio::test]
    async fn a_process_that_ends_before_it_is_ready_is_reported_with_its_end_and_its_last_words() {
        let recipe = recipe(Duration::from_secs(60));
        let failure = settle(&recipe, "echo no luck >&2; exit 3", pending()).await;
        let report = failure.expect("a failure").into_report();
        let death = report.death.expect("the shell ended by itself");
        assert_eq!(death.exit_code, Some(3));
        assert_eq!(death.stderr_tail, "no luck\n");
    }

    #[tokio::test]
    async fn a_process_that_is_not_ready_in_time_is_killed_which_is_no_end_of_its_own() {
        let recipe = recipe(Duration::from_millis(1));
        let failure = settle(&recipe, "exec sleep 3600", pending()).await;
        let failure = failure.expect("a failure");
        assert!(matches!(failure.error, StartError::TimedOut(_)));
        assert!(failure.into_report().death.is_none());
    }

    #[tokio::test]
    async fn a_process_that_no_one_wants_any_more_is_killed_without_a_report() {
        let recipe = recipe(Duration::from_secs(60));
        let failure = settle(&recipe, "exec sleep 3600", ready(())).await;
        assert!(failure.is_none());
    }
}
