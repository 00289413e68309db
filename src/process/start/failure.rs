//! [`StartFailure`]: a start that failed, and what it means for the next one.

use super::error::StartError;
use crate::executor::error::{Death, InitFailure};
use crate::process::verdict::death;

/// Why a process could not be made ready.
#[derive(Debug)]
pub(in crate::process) struct StartFailure {
    pub(in crate::process) error: StartError,
    /// How the process ended, if there was one.
    pub(in crate::process) death: Option<Death>,
}

impl StartFailure {
    /// Whether every start would fail in the same way.
    pub(in crate::process) fn would_repeat(&self) -> bool {
        match self.error {
            StartError::UserCode(..)
            | StartError::ForkServerLost
            | StartError::OtherVersion(_)
            | StartError::OtherBuild
            | StartError::Garbage(_) => true,
            StartError::System { .. }
            | StartError::TimedOut(_)
            | StartError::Mute
            | StartError::Gone
            | StartError::ForkServerDied { .. }
            | StartError::Closed => false,
        }
    }

    /// The report for those who wait for the process.
    pub(in crate::process) fn into_report(self) -> Box<InitFailure> {
        let reason = self.error.to_string();
        let (death, panic) = match self.error {
            StartError::ForkServerDied {
                pid,
                exit,
                stderr_tail,
                ..
            } => (Some(death(pid, exit, stderr_tail, u64::MAX)), None),
            // It ended by itself.
            StartError::Mute | StartError::Gone => (self.death, None),
            StartError::UserCode(_, Err(panic)) => (None, Some(panic)),
            _ => (None, None),
        };
        Box::new(InitFailure {
            reason,
            death,
            panic,
            ..InitFailure::default()
        })
    }
}

/// There was no process.
impl From<StartError> for StartFailure {
    fn from(error: StartError) -> Self {
        Self { error, death: None }
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::io;
    use std::time::Duration;

    use super::*;
    use crate::sys::Exit;

    #[test]
    fn what_the_program_or_its_code_caused_would_repeat_and_what_the_system_refused_would_not() {
        let code = || StartError::UserCode("initializer", Ok("no".to_owned()));
        for error in [code(), StartError::OtherBuild, StartError::ForkServerLost] {
            assert!(StartFailure::from(error).would_repeat());
        }
        let refused = StartError::system("fork a process")(io::ErrorKind::OutOfMemory.into());
        for error in [
            refused,
            StartError::Mute,
            StartError::TimedOut(Duration::ZERO),
        ] {
            assert!(!StartFailure::from(error).would_repeat());
        }
    }

    #[test]
    fn the_end_of_a_fork_server_is_reported_as_that_of_a_worker() {
        let exit = Exit {
            code: Some(7),
            signal: None,
        };
        let error = StartError::ForkServerDied {
            pid: 12,
            exit,
            mute: false,
            stderr_tail: "out of luck".to_owned(),
        };
        let report = StartFailure::from(error).into_report();
        let death = report.death.expect("it has ended");
        assert_eq!((death.pid, death.exit_code), (12, Some(7)));
        assert_eq!(death.stderr_tail, "out of luck");
        assert!(report.panic.is_none() && !report.broken);
    }
}
