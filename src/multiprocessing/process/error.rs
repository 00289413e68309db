//! The errors of a start.

use std::error::Error;
use std::fmt::{self, Write as _};

use crate::executor::error::{BuildError, InitFailure};
use crate::executor::escaped::Escaped;
use crate::executor::options::TaskName;
use crate::process::runner::Refusal;

/// A [`Process`](super::Process) was not started.
///
/// The predicates tell errors apart; the text says what happened and what to do.
///
/// ```
/// # use concurrent_futures::multiprocessing::Process;
/// # concurrent_futures::init_before_main!();
/// # #[tokio::main] async fn main() {
/// let builder = Process::builder().name("converter").current_dir("/does/not/exist");
/// let error = builder.spawn(std::process::id, ()).await.unwrap_err();
/// assert!(error.to_string().starts_with("process `converter` was not started: "), "{error}");
/// # }
/// ```
#[derive(Debug)]
pub struct SpawnError {
    name: TaskName,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Build(BuildError),
    Codec(String),
    Start(Box<InitFailure>),
}

impl SpawnError {
    pub(super) fn refused(name: TaskName, refusal: Refusal) -> Self {
        let why = match refusal {
            Refusal::Build(error) => Why::Build(error),
            Refusal::Start(failure) => Why::Start(failure),
        };
        Self { name, why }
    }

    pub(super) fn invalid(name: TaskName, error: BuildError) -> Self {
        let why = Why::Build(error);
        Self { name, why }
    }

    pub(super) fn codec(name: TaskName, reason: String) -> Self {
        let why = Why::Codec(reason);
        Self { name, why }
    }

    fn build(&self) -> Option<&BuildError> {
        match &self.why {
            Why::Build(error) => Some(error),
            _ => None,
        }
    }

    fn start(&self) -> Option<&InitFailure> {
        match &self.why {
            Why::Start(failure) => Some(failure),
            _ => None,
        }
    }

    /// [`init`](crate::init) was not called first in `main`, so no process can start.
    pub fn is_not_initialized(&self) -> bool {
        self.build().is_some_and(BuildError::is_not_initialized)
    }

    /// A setting is invalid.
    ///
    /// ```
    /// # use concurrent_futures::multiprocessing::Process;
    /// # concurrent_futures::init_before_main!();
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// let builder = Process::builder().spawn_timeout(Duration::ZERO);
    /// let error = builder.spawn(std::process::id, ()).await.unwrap_err();
    /// assert!(error.is_invalid_setting());
    /// # Ok(()) }
    /// ```
    pub fn is_invalid_setting(&self) -> bool {
        self.build().is_some_and(BuildError::is_invalid_setting)
    }

    /// [`StartMethod::Fork`](crate::StartMethod::Fork) was used in a process that has other threads.
    pub fn is_unsupported(&self) -> bool {
        self.build().is_some_and(BuildError::is_unsupported)
    }

    /// An argument could not be encoded, or the function is not in the main executable.
    pub fn is_codec(&self) -> bool {
        matches!(self.why, Why::Codec(_))
    }

    /// The exit code of the process, if it exited before it was ready.
    pub fn exit_code(&self) -> Option<i32> {
        self.start()?.death.as_ref()?.exit_code
    }

    /// The signal that ended the process, if one did before it was ready.
    pub fn signal(&self) -> Option<i32> {
        self.start()?.death.as_ref()?.signal
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = Escaped(f);
        write!(f, "process `{}` ", self.name.as_str())?;
        match &self.why {
            Why::Build(error) => write!(f, "was not started: {error}"),
            Why::Codec(reason) => f.write_str(reason),
            Why::Start(failure) => {
                write!(f, "was not started: {}", failure.reason)?;
                if let Some(panic) = &failure.panic {
                    write!(f, " {panic}")?;
                }
                match &failure.death {
                    Some(death) => write!(f, ": {death}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl Error for SpawnError {}
