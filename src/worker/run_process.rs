//! A process that runs one function. It receives the function, sends `Ready`, runs the function, leaves the outcome in
//! a file in memory, and exits. After `Ready` it has no connection with its parent.

use std::ffi::CString;
use std::io;

use super::closed::unless_closed;
use super::desk::{call_alone, find};
use super::inlet::{Inlet, Met, invalid};
use super::isolate::{self, HalfIsolated};
use super::limits::limit;
use super::log::failure_entry;
use crate::executor::context::process::become_child;
use crate::function::EntryPoint;
use crate::panic::PanicReport;
use crate::sys::{self, OwnedFd};
use crate::wire::descriptors::Descriptor;
use crate::wire::message::{self, FromWorker};
use crate::wire::outcomes::{self, ItemFailure};
use crate::wire::process_setup::{OutcomeFile, ProcessSetup};
use crate::wire::{Chain, Reader};

/// Runs the function that the parent names. Returns the exit code of this process.
pub(super) fn run(
    mut inlet: Inlet,
    parent: Option<OwnedFd>,
    name: Option<CString>,
) -> io::Result<i32> {
    let Some(met) = inlet.meet::<ProcessSetup>()? else {
        return Ok(0);
    };
    if let Some(name) = name {
        sys::name_process(&name);
    }
    let Met {
        setup: process_setup,
        args,
        greeting: mut words,
    } = met;
    match prepare(&mut inlet, process_setup, parent) {
        Ok(ready) => {
            message::put(&mut words, &FromWorker::Ready);
            // Fails if the parent has ended. So after this, it is certain that the parent was alive when the pidfd was
            // opened.
            inlet.say(&mut words)?;
            drop(inlet);
            Ok(ready.go(args))
        }
        Err(failure) => {
            message::put(&mut words, &FromWorker::failed(failure));
            inlet.say(&mut words)?;
            Ok(1)
        }
    }
}

/// Prepares everything but the arguments.
struct Ready {
    entry: EntryPoint,
    beside: Vec<Descriptor>,
    outcome_file: OutcomeFile,
    max_result: u64,
}

fn prepare(
    inlet: &mut Inlet,
    process_setup: ProcessSetup,
    parent: Option<OwnedFd>,
) -> Result<Ready, Result<String, PanicReport>> {
    let refused = |error: io::Error| Ok(error.to_string());
    let missing = || refused(invalid("a descriptor of the process setup is missing"));
    let outcome_file = inlet.fds.pop_front().ok_or_else(missing)?;
    if process_setup.has_stdin {
        let stdin = inlet.fds.pop_front().ok_or_else(missing)?;
        sys::set_input(stdin).map_err(refused)?;
    }
    let beside = inlet.take_descriptors(process_setup.descriptors);
    let beside = beside.map_err(refused)?;
    limit(&process_setup.limits)?;
    let isolating = process_setup.confinement.map(isolate::begin);
    let isolating = isolating.transpose().map_err(Ok)?;
    sys::set_dumpable(process_setup.is_dumpable); // Becoming another user has reset it.
    sys::restore_signals();
    let entry = find(process_setup.function).map_err(refused)?;
    isolating
        .map_or(Ok(()), HalfIsolated::complete)
        .map_err(Ok)?;
    let is_daemon = process_setup.identity.is_daemon;
    become_child(process_setup.identity);
    if is_daemon {
        // Last, because it starts a thread.
        let parent = parent.ok_or_else(|| {
            let text =
                "a daemon has to end with its parent, but its descriptor of the parent is missing";
            Ok(text.to_owned())
        })?;
        sys::end_with(sys::out_of_reach(parent)).map_err(refused)?;
    }
    Ok(Ready {
        entry,
        beside,
        outcome_file: sys::out_of_reach(outcome_file).into(),
        max_result: process_setup.max_result,
    })
}

impl Ready {
    fn go(self, args: Reader) -> i32 {
        let mut outcome = Chain::new();
        outcomes::begin_value(&mut outcome);
        let head = outcome.len();
        let (answer, mut outcome) = call_alone(self.entry, args, self.beside, outcome);
        let missing = || ItemFailure::Undecodable("the arguments are missing".to_owned());
        let len = outcome.len() - head;
        let too_long = len as u64 > self.max_result;
        let answer = match answer.unwrap_or_else(|| Err(missing())) {
            Ok(()) if too_long => Err(ItemFailure::Unencodable(format!(
                "its result encodes to {len} bytes, and may have {}; raise `max_result_length`",
                self.max_result
            ))),
            answer => answer,
        };
        let code = match answer {
            Ok(()) => 0,
            Err(failure) => {
                let has_panicked = matches!(failure, ItemFailure::Panicked(_));
                outcome = failure_entry(failure);
                if has_panicked { sys::PANICKED } else { 1 }
            }
        };
        let Err(error) = unless_closed(self.outcome_file.leave(outcome)) else {
            return code;
        };
        let reason = format!("no memory is left for the result: {error}");
        let failure = failure_entry(ItemFailure::Unencodable(reason));
        if let Err(error) = self.outcome_file.leave(failure) {
            eprintln!("concurrent-futures: a process cannot leave its result: {error}");
        }
        1
    }
}
