//! One call, item by item. Each item is claimed in the shared page just before it runs, and its outcome is
//! posted before it counts as done.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::log::Log;
use super::marks::Marks;
use super::memory::MemoryWatch;
use super::outbox::WorkerOutbox;
use super::output_count::OutputCount;
use super::stdout_flush::StdoutFlush;
use super::stop::StopListener;
use crate::executor::context::{self, Context, Wanted};
use crate::function::{Answer, Desk, EntryPoint, FunctionOffset};
use crate::panic::PanicReport;
use crate::sys;
use crate::wire::claim::{Claim, ClaimSlot, Stage};
use crate::wire::descriptors::Descriptor;
use crate::wire::message::{self, CallHead, FromWorker};
use crate::wire::outcomes::ItemFailure;
use crate::wire::page::{Page, ProgressReport};
use crate::wire::{Chain, Reader, codec};

/// The parent, as tasks use it.
pub(super) struct Parent {
    page: Arc<Page>,
    outbox: Arc<WorkerOutbox>,
    /// Locked by the thread that writes a progress report to the page.
    reporting: Mutex<()>,
    stop: Arc<StopListener>,
}

impl Parent {
    pub(super) fn new(page: Arc<Page>, outbox: Arc<WorkerOutbox>) -> Arc<Self> {
        Arc::new(Self {
            page,
            outbox,
            reporting: Mutex::new(()),
            stop: Arc::default(),
        })
    }
}

/// What all calls of this worker share.
pub(super) struct Station {
    pub(super) worker_id: u64,
    pub(super) parent: Arc<Parent>,
    /// Present if the parent reports output by line.
    pub(super) marks: Option<Marks>,
    /// Present if the parent relays stderr.
    pub(super) output_count: Option<OutputCount>,
    pub(super) memory: MemoryWatch,
    pub(super) stdout: StdoutFlush,
}

impl Station {
    fn flush_stdout_after(&self, took: Option<u64>) {
        self.stdout.flush_after(took, || self.parent.stop.threads());
    }
}

/// What the messages before a call contain for it.
#[derive(Default)]
pub(super) struct Preface {
    /// Its descriptors.
    pub(super) beside: Vec<Descriptor>,
    /// Its trace.
    pub(super) traceparent: Option<Arc<str>>,
    /// The number of its attempt, if it is not the first.
    pub(super) attempt: Option<u32>,
}

pub(super) struct CallDesk<'a> {
    head: CallHead,
    input: Reader,
    /// The descriptors of the next item, which takes ownership of them.
    beside: Vec<Descriptor>,
    /// The descriptors of a call with several items: each gets all of them.
    lasting: Vec<Descriptor>,
    /// The trace of the call.
    traceparent: Option<Arc<str>>,
    attempt: u32,
    next: u32,
    /// Whether the next item was claimed when the previous one ended.
    is_claimed: bool,
    /// When the first item started, by the monotonic clock.
    begun: Option<u64>,
    /// How long its items ran, in nanoseconds, once the last one has ended.
    took: Option<u64>,
    station: &'a Station,
    log: &'a mut Log,
}

impl<'a> CallDesk<'a> {
    pub(super) fn new(
        head: CallHead,
        input: Reader,
        preface: Preface,
        station: &'a Station,
        log: &'a mut Log,
    ) -> Self {
        let Preface {
            beside,
            traceparent,
            attempt,
        } = preface;
        let (beside, lasting) = match head.end - head.first {
            1 => (beside, Vec::new()),
            _ => (Vec::new(), beside),
        };
        Self {
            head,
            input,
            beside,
            lasting,
            traceparent,
            attempt: attempt.unwrap_or(1),
            next: head.first,
            is_claimed: false,
            begun: None,
            took: None,
            station,
            log,
        }
    }

    fn slot(&self) -> ClaimSlot<'a> {
        self.station.parent.page.slot(self.head.seq)
    }

    fn is_timed(&self) -> bool {
        self.head.timeout > 0
    }

    /// Sets the context of the item.
    fn enter(&self, is_first: bool) {
        let key = key(self.head.seq, self.next);
        if !is_first && !self.is_timed() {
            return context::next_item(key);
        }
        let timeout = self
            .is_timed()
            .then(|| Duration::from_nanos(self.head.timeout));
        context::enter(Context {
            task_id: self.head.task_id,
            worker_id: self.station.worker_id,
            attempt: self.attempt,
            deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
            wanted: self.station.parent.clone(),
            key,
            traceparent: self.traceparent.clone(),
        });
    }

    /// Exits, because the parent is about to kill this process for the item that has just ended. If another item
    /// started, the kill would end that one. The outcome of the ended item may still be wanted.
    #[cold]
    fn exit_after_item(&mut self) -> ! {
        let _ = self.log.flush();
        sys::kill_own_group();
    }
}

impl Desk for CallDesk<'_> {
    fn skip(&self) -> u32 {
        self.head.first - self.head.base
    }

    fn input(&mut self) -> &mut Reader {
        &mut self.input
    }

    fn claim(&mut self) -> bool {
        if self.next == self.head.end {
            return false;
        }
        let is_first = self.begun.is_none();
        if !std::mem::take(&mut self.is_claimed) {
            let now = sys::monotonic_nanos();
            if !self
                .station
                .parent
                .page
                .claim(self.head.seq, self.next, now)
            {
                return false;
            }
            self.begun.get_or_insert(now);
        }
        if is_first
            && self.head.end - self.head.first > 1
            && let Some(count) = &self.station.output_count
        {
            count.begin_chunk();
        }
        if is_first && !self.beside.is_empty() {
            // This process owns the descriptors now. As long as the parent also holds them, it keeps the objects open.
            // Earlier outcomes are sent first, because the parent accepts only the call whose turn it is. If this write
            // fails, so does the next one before the worker waits.
            let _ = self.log.flush();
            let _ = self
                .station
                .parent
                .outbox
                .send(|out| message::put(out, &FromWorker::Taken(self.head.seq)));
        }
        self.log.wake_attendant();
        if let Some(marks) = &self.station.marks {
            marks.begin(self.head.task_id);
        }
        self.enter(is_first);
        true
    }

    fn item(&mut self) -> (&mut Reader, &mut Vec<Descriptor>, &mut Chain) {
        if !self.lasting.is_empty() {
            self.beside.clone_from(&self.lasting);
        }
        (&mut self.input, &mut self.beside, self.log.begin())
    }

    fn answer(&mut self, answer: Answer) -> bool {
        self.log.end(answer);
        self.finish_item()
    }

    fn answer_value(&mut self) -> bool {
        self.log.end_value();
        self.finish_item()
    }
}

impl CallDesk<'_> {
    /// Posts the outcome of the item, which is in the log, and claims the next item.
    fn finish_item(&mut self) -> bool {
        let item = self.next;
        self.next += 1;
        let has_next = self.next < self.head.end;
        self.took = match self.begun {
            Some(begun) if !has_next => Some(sys::monotonic_nanos().saturating_sub(begun)),
            _ => None,
        };
        match &self.station.marks {
            Some(marks) => marks.end(),
            // Buffered text is written before the outcome is posted. A flush after each item of a chunk would take as
            // long as a short item.
            None if !has_next || self.is_timed() => self.station.flush_stdout_after(self.took),
            None => {}
        }
        self.station.memory.check(&self.station.parent.page);
        if !has_next && let Some(count) = &self.station.output_count {
            count.end_call(self.took);
        }
        self.log.post(self.head.seq, item, self.took);
        self.is_claimed = has_next && !self.is_timed() && self.slot().start_next(item);
        if !self.is_claimed && !self.slot().finish(item) {
            self.exit_after_item();
        }
        if self.is_timed() {
            // The outcome of one item tells the parent when the next one started. If this write fails, so does the next
            // one before the worker waits.
            let _ = self.log.flush();
        }
        self.claim()
    }
}

impl Drop for CallDesk<'_> {
    fn drop(&mut self) {
        if self.took.is_none() && self.begun.is_some() {
            // The parent has taken back the rest of the call.
            self.station.flush_stdout_after(None);
            if let Some(count) = &self.station.output_count {
                count.end_call(None);
            }
        }
        context::leave();
    }
}

fn key(seq: u32, item: u32) -> u64 {
    u64::from(seq) << 32 | u64::from(item)
}

/// The parent withdraws its interest by changing the item's stage.
impl Wanted for Parent {
    fn is_wanted(&self, key: u64) -> bool {
        let claim = self.page.slot((key >> 32) as u32).read();
        let is_wanted = |claim: Claim| {
            claim.item == key as u32 && matches!(claim.stage, Stage::Running | Stage::Last)
        };
        claim.is_ok_and(is_wanted)
    }

    fn wake_if_unwanted(&self, _: u64, waker: Option<Waker>) {
        self.stop.set(&self.page, waker);
    }

    fn report(&self, key: u64, done: u64, total: u64) {
        let report = ProgressReport {
            seq: (key >> 32) as u32,
            item: key as u32,
            done,
            total,
        };
        let reporting = self.reporting.lock();
        let reporting = reporting.unwrap_or_else(PoisonError::into_inner);
        // A thread of a task that has just ended may still put its report into the slot. The report of the slot's next
        // task waits for the lock, so it comes later, and the parent knows which task a report is about.
        let nudge = self.is_wanted(key) && self.page.put_report(report);
        drop(reporting);
        if nudge {
            // If this write fails, so does the next one before the worker waits.
            let _ = self
                .outbox
                .send(|out| message::put(out, &FromWorker::Progress(report.seq)));
        }
    }
}

/// Runs an initializer or a preload. `what` names it in the text of its failure.
pub(super) fn run_initializer(
    what: &str,
    function: Option<FunctionOffset>,
    input: Reader,
    beside: Vec<Descriptor>,
) -> Result<(), Result<String, PanicReport>> {
    let Some(function) = function else {
        return Ok(());
    };
    let entry = find(function).map_err(|error| Ok(error.to_string()))?;
    let (answer, value) = call_alone(entry, input, beside, Chain::new());
    match answer {
        Some(Ok(())) => {
            // The entry of an initializer answers with the text of its error, if there is one.
            match codec::get::<Option<String>>(&mut value.into_reader()) {
                Ok(None) => Ok(()),
                Ok(Some(error)) => Err(Ok(format!("the {what} failed: {error}"))),
                Err(error) => Err(Ok(format!("the {what}'s outcome is invalid: {error}"))),
            }
        }
        Some(Err(ItemFailure::Panicked(report))) => Err(Err(report)),
        Some(Err(ItemFailure::Undecodable(reason))) => Err(Ok(format!(
            "the {what}'s arguments cannot be decoded: {reason}"
        ))),
        Some(Err(ItemFailure::Unencodable(reason))) => Err(Ok(reason)),
        Some(Err(ItemFailure::NoRuntime(reason))) => Err(Ok(format!("the {what}: {reason}"))),
        Some(Err(ItemFailure::Dropped | ItemFailure::Invalid)) | None => {
            Err(Ok(format!("the {what} returned no outcome")))
        }
    }
}

/// Returns the function that the parent named.
#[expect(
    unsafe_code,
    reason = "the parent is trusted: it decides which functions this process runs"
)]
pub(super) fn find(function: FunctionOffset) -> io::Result<EntryPoint> {
    let outside = "the parent named a function that is outside the executable";
    let outside = || io::Error::new(io::ErrorKind::InvalidData, outside);
    // SAFETY: the parent created the offset by `of`. It sends a setup and calls only after it has compared the build
    // identities of both processes, and a worker of another build ignores them.
    let entry = unsafe { function.entry() };
    entry.ok_or_else(outside)
}

/// Calls a function outside the calls of a worker, such as an initializer. Its value is appended to `value`.
pub(super) fn call_alone(
    entry: EntryPoint,
    input: Reader,
    beside: Vec<Descriptor>,
    value: Chain,
) -> (Option<Answer>, Chain) {
    let mut desk = LoneDesk {
        input,
        beside,
        value,
        answer: None,
    };
    entry(&mut desk);
    (desk.answer, desk.value)
}

/// A desk for one item that cannot be revoked.
struct LoneDesk {
    input: Reader,
    beside: Vec<Descriptor>,
    value: Chain,
    answer: Option<Answer>,
}

impl Desk for LoneDesk {
    fn skip(&self) -> u32 {
        0
    }

    fn input(&mut self) -> &mut Reader {
        &mut self.input
    }

    fn item(&mut self) -> (&mut Reader, &mut Vec<Descriptor>, &mut Chain) {
        (&mut self.input, &mut self.beside, &mut self.value)
    }

    fn claim(&mut self) -> bool {
        true
    }

    fn answer(&mut self, answer: Answer) -> bool {
        self.answer = Some(answer);
        false
    }

    fn answer_value(&mut self) -> bool {
        self.answer(Ok(()))
    }
}
