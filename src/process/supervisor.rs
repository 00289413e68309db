//! The life of one worker that is ready: drives its link and settles what it leaves. Runs in the task of the worker's
//! [`place`](super::place).

use std::future::poll_fn;
use std::io;
use std::ops::{ControlFlow, Range};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::task::yield_now;

use super::arrival::{Arrival, Arriving};
use super::link::{Answered, Dismissal, EXIT_GRACE, Ending, Fate, Late, Link};
use super::output::{OutputWriter, Outputs};
use super::pool::{Departure, Pool};
use super::start::Child;
use super::turn::Turn;
use super::verdict::death;
use super::watch::WorkerWatch;
use crate::executor::error::Cause;
use crate::executor::promise::Owed;
use crate::executor::served::{PromiseEncoded, failure_cause};
use crate::home::DeadlineTimer;
use crate::wire::Reader;
use crate::wire::bulk::IncomingPayload;
use crate::wire::claim::InvalidClaim;
use crate::wire::frame_buffer::FrameBuffer;
use crate::wire::message::{FromWorker, WorkerFrame};
use crate::wire::outcomes::{InvalidEntry, ItemFailure, OutcomeEntry, OutcomeReader, Values};
use crate::wire::ring::{RING, RingDirection};

/// The most bytes to read from the pipe of a dead worker: as much as an ordinary user's pipe can hold.
const MOST_REST: usize = 1 << 20;
/// The most bytes in the pipe behind a large result that is still arriving. A worker sends only a few messages there.
const MOST_BEHIND: usize = 1 << 20;
/// The number of entries of a large result: its call, its time and its value. They are settled in the turn in which the
/// result is complete.
const FEW: usize = 3;
/// An event costs as much as this number of other messages, because a subscriber formats it.
#[cfg(feature = "tracing")]
const EVENT: usize = 8;
/// A result of this size or more is decoded on another thread, because it could stall the runtime.
const DECODE_ELSEWHERE: usize = 256 * 1024;

/// A worker that is ready, with everything that the parent has for it.
pub(super) struct SupervisedWorker {
    pub(super) link: Arc<Link>,
    watch: WorkerWatch,
    /// What has arrived and has not been read. It comes after `outcomes` and `arriving`.
    frames: FrameBuffer,
    listener: OutcomeReader,
    /// The outcomes of a frame that have not been settled.
    outcomes: Reader,
    /// Parts of the next outcomes that arrive through the ring.
    announced: Option<IncomingPayload>,
    /// The outcomes whose parts are arriving.
    arriving: Option<Arrival>,
    /// How many bytes of the ring may still be read.
    ring_rest: usize,
    /// What is left of the present turn.
    turn: Turn,
    /// Whether the turn ended before everything that has arrived was settled.
    has_more: bool,
    pipe: AnswerPipe,
    /// Waits for the next deadline of the link or the pipe.
    timer: DeadlineTimer,
    child: Child,
    outputs: Outputs,
    oom_kills: u64,
}

/// The pipe with a worker's answers.
#[derive(Clone, Copy)]
enum AnswerPipe {
    Open,
    /// The worker closed the pipe, most likely because it has ended. The end is usually reported before this instant.
    Closed(Instant),
    /// The pipe was closed for too long. The worker is being killed.
    Condemned,
}

/// What the supervisor reacts to.
#[derive(Debug)]
enum SupervisorEvent {
    /// Bytes of outcomes were read; none or an error is the end of the pipe.
    Read(io::Result<usize>),
    /// The process has ended.
    Ended,
    /// Another thread changed the link.
    Woken,
    /// Bytes were written to the socket.
    Written,
    /// The other tasks of the runtime ran since the last turn, or the last piece of a large payload.
    Resumed,
    /// The next deadline of the link or the pipe has passed.
    Deadline,
    /// Lines of output were passed on.
    Printed,
}

impl SupervisedWorker {
    pub(super) fn new(
        link: Arc<Link>,
        watch: WorkerWatch,
        frames: FrameBuffer,
        child: Child,
        outputs: Outputs,
        oom_kills: u64,
    ) -> Self {
        Self {
            link,
            watch,
            frames,
            listener: OutcomeReader::default(),
            outcomes: Reader::default(),
            announced: None,
            arriving: None,
            ring_rest: usize::MAX,
            turn: Turn::new(),
            has_more: false,
            pipe: AnswerPipe::Open,
            timer: DeadlineTimer::new(),
            child,
            outputs,
            oom_kills,
        }
    }

    /// Drives the worker until it has ended. Returns why, and how many items were lost with it.
    pub(super) async fn supervise(mut self, pool: &Arc<Pool>) -> (Departure, usize) {
        pool.worker_ready(&self.link);
        self.drive(pool).await;
        let exit = self.child.exit().await;
        let writer = OutputWriter::from(&*self.link);
        let ending = self.link.ending();
        // Done while the names of its tasks are known. A worker that was killed because of a timeout does not wait for
        // a slow stream: its caller waits for the error.
        match ending {
            None | Some(Ending::Dismissed(_) | Ending::Protocol(_)) => {
                self.outputs.finish(writer).await;
            }
            Some(_) => self.outputs.read_rest(writer).await,
        }
        self.read_rest_after_death(pool).await;
        let tail = self.outputs.tail(OutputWriter::from(&*self.link));
        let mut death = death(self.link.pid, exit, tail, self.oom_kills);
        let (departure, loss) = match ending {
            Some(Ending::TimedOut { limit }) => (Departure::TimedOut, Cause::TimedOut { limit }),
            Some(Ending::Cancelled) => (Departure::Cancelled, Cause::Cancelled),
            Some(Ending::Shutdown | Ending::Terminated) => (Departure::ShutDown, Cause::Shutdown),
            Some(Ending::Dismissed(why)) => {
                let departure = match why {
                    Dismissal::Closed => Departure::ShutDown,
                    Dismissal::Retired => Departure::Retired,
                    Dismissal::Idle => Departure::Idle,
                };
                (departure, Cause::WorkerLost(death))
            }
            Some(Ending::Protocol(what)) => {
                death.protocol = Some(what);
                (Departure::Crashed, Cause::WorkerLost(death))
            }
            None => (Departure::Crashed, Cause::WorkerLost(death)),
        };
        let remains = self.link.settle_death(&loss);
        let departure = match departure {
            Departure::Crashed if remains.was_useless => Departure::CrashedUnused,
            departure => departure,
        };
        // The place is freed before the calls are settled: they may need a new worker.
        pool.free_place(self.link.id, departure);
        pool.give_back(remains.unstarted);
        (departure, remains.lost)
    }

    /// Reads, writes and watches the clock. Returns once the process has ended or been killed.
    async fn drive(&mut self, pool: &Arc<Pool>) {
        while let ControlFlow::Continue(deadline) = self.next_deadline() {
            let event = self.next_event(deadline).await;
            if self.handle(event, pool).is_break() {
                return;
            }
        }
    }

    /// Does what the link decided about the worker. Continues with the next instant to check the clock, or breaks after
    /// a kill.
    fn next_deadline(&mut self) -> ControlFlow<(), Option<Instant>> {
        let moment = match self.link.fate() {
            Fate::Serve(moment) | Fate::Wait(moment) => moment,
            Fate::Dismiss(moment) => {
                self.link.write_now();
                Some(moment)
            }
            Fate::Terminate(moment) => {
                self.child.terminate();
                moment
            }
            Fate::Kill => {
                self.child.kill();
                return ControlFlow::Break(());
            }
        };
        let closed = match self.pipe {
            AnswerPipe::Closed(until) => Some(until),
            AnswerPipe::Open | AnswerPipe::Condemned => None,
        };
        let output = self.outputs.deadline();
        let moments = moment.into_iter().chain(closed).chain(output);
        ControlFlow::Continue(moments.min())
    }

    /// Waits for the next event. The first that is ready wins, in the order of `poll_event`.
    async fn next_event(&mut self, deadline: Option<Instant>) -> SupervisorEvent {
        let (has_room, has_unwritten) = self.link.put_more();
        self.watch.watch_room(has_unwritten);
        let holds_outcomes = self.outputs.holds_outcomes();
        let rests = self.turn.is_over();
        let resumes = has_room || rests || (self.has_more && !holds_outcomes);
        let reads =
            !(rests || self.has_more || holds_outcomes) && matches!(self.pipe, AnswerPipe::Open);
        let mut others = pin!(yield_now());
        poll_fn(|cx| {
            if reads && let Poll::Ready(read) = self.watch.poll_read(cx, &mut self.frames) {
                return Poll::Ready(SupervisorEvent::Read(read));
            }
            let others = resumes.then_some(others.as_mut());
            let event = self.poll_event(cx, has_unwritten, others, deadline);
            if event.is_pending() {
                self.turn = Turn::new(); // The other tasks have run.
            }
            event
        })
        .await
    }

    /// As `next_event`, for all events but the most frequent one. With `others`, waits until the other tasks of the
    /// runtime have run.
    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        has_unwritten: bool,
        others: Option<Pin<&mut impl Future<Output = ()>>>,
        deadline: Option<Instant>,
    ) -> Poll<SupervisorEvent> {
        if self.child.poll_ended(cx).is_ready() {
            return Poll::Ready(SupervisorEvent::Ended);
        }
        if self.link.poll_woken(cx).is_ready() {
            return Poll::Ready(SupervisorEvent::Woken);
        }
        if has_unwritten && self.link.poll_write(cx, &mut self.watch).is_ready() {
            return Poll::Ready(SupervisorEvent::Written);
        }
        // The other tasks of the runtime run between two turns.
        let resumes = others.is_some();
        if others.is_some_and(|others| others.poll(cx).is_ready()) {
            return Poll::Ready(SupervisorEvent::Resumed);
        }
        if let Some(deadline) = deadline
            && self.timer.poll(cx, deadline).is_ready()
        {
            return Poll::Ready(SupervisorEvent::Deadline);
        }
        // Checked last, and not before the turn resumes, since a worker may write endlessly.
        if resumes {
            return Poll::Pending;
        }
        let printed = self.outputs.poll(cx, (&*self.link).into(), &mut self.turn);
        printed.map(|()| SupervisorEvent::Printed)
    }

    /// Breaks when the process has ended or been killed.
    fn handle(&mut self, event: SupervisorEvent, pool: &Arc<Pool>) -> ControlFlow<()> {
        match event {
            SupervisorEvent::Read(Ok(len @ 1..)) => {
                self.turn.moved(len);
                self.has_more = self.read_results(pool);
            }
            SupervisorEvent::Read(Ok(0) | Err(_)) => {
                self.pipe = AnswerPipe::Closed(Instant::now() + EXIT_GRACE);
            }
            SupervisorEvent::Resumed if self.has_more && !self.outputs.holds_outcomes() => {
                self.has_more = self.read_results(pool);
            }
            SupervisorEvent::Resumed | SupervisorEvent::Written | SupervisorEvent::Printed => {}
            SupervisorEvent::Woken => pool.refill(&self.link),
            SupervisorEvent::Ended => return ControlFlow::Break(()),
            SupervisorEvent::Deadline => self.on_deadline(pool),
        }
        ControlFlow::Continue(())
    }

    fn on_deadline(&mut self, pool: &Arc<Pool>) {
        let now = Instant::now();
        if let AnswerPipe::Closed(until) = self.pipe
            && until <= now
        {
            self.pipe = AnswerPipe::Condemned;
            self.link
                .end(Ending::Protocol("closing its connection".to_owned()));
        }
        if self.link.has_idled() {
            pool.dismiss_idle(&self.link);
        }
        self.outputs.on_deadline(now);
        self.retire_if_due(pool);
        if self.link.share_is_due() {
            pool.share(&self.link);
        }
        if let Some(Late {
            promise,
            item,
            losses,
            limit,
        }) = self.link.on_deadline(self.outputs.holds_outcomes())
        {
            pool.item_overran(1);
            let error = promise.ticket().error(true, Cause::TimedOut { limit });
            promise.fail(item, error.of_rerun(losses));
        }
    }

    /// Settles what has arrived. True if the turn is over before all of it is settled.
    fn read_results(&mut self, pool: &Arc<Pool>) -> bool {
        // A task's output is written before its caller gets the outcome.
        if !self.outputs.drain((&*self.link).into(), &mut self.turn) {
            return true;
        }
        let more = self.read_frames(pool);
        pool.refill(&self.link);
        self.retire_if_due(pool);
        more
    }

    fn retire_if_due(&self, pool: &Pool) {
        let config = &pool.config;
        let may_be = config.max_age_per_child.is_some() || config.max_memory_per_child.is_some();
        if may_be && self.link.is_due() {
            pool.retire(&self.link);
        }
    }

    /// Like `read_results`.
    fn read_frames(&mut self, pool: &Arc<Pool>) -> bool {
        loop {
            self.read_outcomes(pool);
            if self.turn.is_over() {
                return self.has_unsettled();
            }
            if let Some(arriving) = self.arriving.take() {
                let ring = self.link.page.ring(RingDirection::FromWorker);
                match arriving.read(ring, &mut self.turn, &mut self.ring_rest) {
                    Arriving::Whole(outcomes) => self.outcomes = outcomes,
                    Arriving::More(arriving) => self.arriving = Some(arriving),
                    Arriving::Waits(arriving) => {
                        self.arriving = Some(arriving);
                        if self.frames.len() > MOST_BEHIND {
                            self.fail_protocol("sending more before a large result is complete");
                        }
                        return false;
                    }
                    Arriving::Failed(what) => {
                        self.fail_protocol(&what);
                        return false;
                    }
                }
                continue;
            }
            match self.frames.next() {
                Ok(None) => return false,
                Ok(Some(frame)) => {
                    self.turn.handled_messages(1);
                    let frame = WorkerFrame::parse(Reader::from(frame));
                    if let Err(what) = self.act_on(frame) {
                        self.fail_protocol(what);
                        return false;
                    }
                }
                Err(error) => {
                    self.fail_protocol(&format!("sending an invalid frame: {error}"));
                    return false;
                }
            }
        }
    }

    /// Whether something that has arrived is not settled.
    fn has_unsettled(&self) -> bool {
        !self.outcomes.is_empty() || self.arriving.is_some() || self.frames.len() > 0
    }

    /// Handles a frame. The error says what the worker did wrong.
    fn act_on(&mut self, frame: Option<WorkerFrame>) -> Result<(), &'static str> {
        let message = match frame.ok_or("sending an invalid message")? {
            WorkerFrame::Outcomes(entries) => {
                match self.announced.take() {
                    Some(parts) => self.arriving = Some(Arrival::new(entries, parts)),
                    None => self.outcomes = entries,
                }
                return Ok(());
            }
            WorkerFrame::Message(message) => message,
        };
        match message {
            FromWorker::Progress(seq) => self.link.report(seq),
            FromWorker::Taken(seq) => {
                let taken = self.link.taken(seq);
                taken
                    .map_err(|InvalidClaim| "taking the objects of a call that it does not run")?;
            }
            #[cfg(feature = "tracing")]
            FromWorker::Event { call, event } => {
                self.turn.handled_messages(EVENT);
                self.link.pass_on_event(call, event);
            }
            FromWorker::Bulk(parts) => {
                let parts = self.link.expect(parts);
                if parts.missing() > self.frames.limit() {
                    return Err("sending a result over the limit");
                }
                self.announced = Some(parts);
            }
            FromWorker::Moved => {} // The ring is checked in any case.
            FromWorker::Alive => self.link.is_alive(),
            FromWorker::Ready | FromWorker::Failed(_) => {
                return Err("sending a second answer to its setup");
            }
        }
        Ok(())
    }

    fn fail_protocol(&mut self, what: &str) {
        self.frames.clear();
        self.outcomes = Reader::default();
        (self.announced, self.arriving) = (None, None);
        self.link.end(Ending::Protocol(what.to_owned()));
    }

    /// Reads what a dead worker sent, and what it finished but did not send. Drops a frame that its death cut off. A
    /// process that the worker left behind may still write, so this reads only what was there at the worker's death.
    async fn read_rest_after_death(&mut self, pool: &Arc<Pool>) {
        let mut rest = self.watch.waiting().min(MOST_REST);
        self.ring_rest = RING;
        loop {
            self.settle_frames(pool).await;
            if rest == 0 {
                break;
            }
            let Ok(len @ 1..) = self.watch.read_now(&mut self.frames) else {
                break;
            };
            rest = rest.saturating_sub(len);
        }
        // If a large result was still arriving, a part of it was lost with the worker.
        (self.announced, self.arriving) = (None, None);
        self.frames.clear();
        self.listener = OutcomeReader::default();
        self.outcomes = Reader::from(self.link.page.outbox());
        self.settle_frames(pool).await;
        self.link.last_report();
    }

    /// Settles everything that has arrived, turn by turn.
    async fn settle_frames(&mut self, pool: &Arc<Pool>) {
        self.turn = Turn::new();
        while self.read_frames(pool) {
            yield_now().await;
            self.turn = Turn::new();
        }
    }

    /// Passes the outcomes of a frame on to their receivers, until the turn is over.
    fn read_outcomes(&mut self, pool: &Arc<Pool>) {
        let mut settled = 0;
        while (settled < FEW || !self.turn.is_over())
            && let Some(entry) = self.listener.next(&mut self.outcomes, Turn::VALUES)
        {
            settled += 1;
            match entry {
                Ok(OutcomeEntry::Call) => self.turn.handled_values(1),
                Ok(OutcomeEntry::Time { seq, nanos }) => {
                    self.turn.handled_values(1);
                    self.link.ran(seq, nanos);
                }
                Ok(OutcomeEntry::Values(values)) => {
                    self.turn.handled_values(values.count as usize);
                    self.fulfil(values, pool);
                }
                Ok(OutcomeEntry::Failure { seq, item, failure }) => {
                    self.turn.handled_messages(1);
                    self.fail(seq, item, failure, pool);
                }
                Err(InvalidEntry) => self.fail_protocol("sending invalid outcomes"),
            }
        }
    }

    fn fulfil(&self, mut values: Values, pool: &Arc<Pool>) {
        while values.count > 0 {
            let Some((promise, items, _)) = self.settle(values.seq, values.items(), pool) else {
                return;
            };
            values.skip(items.start - values.first);
            let values = values.take(items.len() as u32);
            let Some(promise) = promise else { continue };
            pool.items_ended(items.len(), 0);
            let may_stall = values.len() >= DECODE_ELSEWHERE && !promise.takes_bytes();
            let owed = Owed::new(promise, items);
            let deliver = move || owed.answer_all(|promise| promise.fulfil_encoded(values));
            if may_stall {
                pool.home.detach(deliver);
            } else {
                deliver();
            }
        }
    }

    fn fail(&self, seq: u32, item: u32, failure: ItemFailure, pool: &Arc<Pool>) {
        let Some((Some(promise), _, losses)) = self.settle(seq, item..item + 1, pool) else {
            return;
        };
        pool.items_ended(1, 1);
        let started = failure.has_started();
        let error = promise.ticket().error(started, failure_cause(failure));
        promise.fail(item, error.of_rerun(losses));
    }

    /// Finds the receiver of the outcomes of some items, and for which of them. Without a receiver if their callers
    /// already have an outcome. `None` if none of them is awaited.
    fn settle(&self, seq: u32, items: Range<u32>, pool: &Arc<Pool>) -> Option<Settled> {
        // If two threads report at once, one nudge may stand for both, and arrive after the end of the task.
        if self.link.page.has_report(seq) {
            self.link.report(seq);
        }
        let Answered {
            promise,
            items,
            losses,
            late,
            finished,
        } = self.link.answered(seq, items)?;
        if let Some((items, time)) = finished.took {
            promise.ticket().ran(self.link.id, items, time);
            promise.took(items, time);
        }
        if let Some(rest) = finished.rest.filter(|rest| !rest.ticket().is_closed()) {
            pool.give_back(vec![rest]);
        }
        if self.link.prove() {
            pool.worker_proved();
        }
        Some(((!late).then_some(promise), items, losses))
    }
}

/// The receiver of outcomes, if there is one, their items, and how many workers were lost with the first.
type Settled = (Option<Arc<dyn PromiseEncoded>>, Range<u32>, u32);

#[cfg(all(test, target_os = "linux", properties))]
#[path = "../../tests/properties/process/supervisor.rs"]
mod properties;

/// The tests feed events to a supervisor, instead of having a worker that causes them.
#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use std::io::Read as _;
    use std::process::Command;

    use super::*;
    use crate::executor::open::Close as _;
    use crate::process::link::Tenure;
    use crate::process::output::{Outlets, Output};
    use crate::process::pool::ProcessPoolConfig;
    use crate::process::start::Recipe;
    use crate::sys::{self, ChildProcess, Socket};
    use crate::wire::Chain;
    use crate::wire::message::outcomes_head;
    use crate::wire::outcomes::put_failure;
    use crate::wire::page::Page;

    /// A pool that starts no workers.
    fn pool() -> Arc<Pool> {
        let recipe = Recipe::plain(Outlets::new(Some(Output::null()), Some(Output::null())));
        Pool::new(ProcessPoolConfig::example(recipe, 1), |_, _| {})
    }

    /// A process that only waits, like a worker that never answers. The pool knows it as ready.
    fn worker(pool: &Arc<Pool>) -> SupervisedWorker {
        worker_and_socket(pool).0
    }

    fn worker_and_socket(pool: &Arc<Pool>) -> (SupervisedWorker, Socket) {
        let process = ChildProcess::spawn(Command::new("sleep").arg("3600"));
        let process = process.expect("a process");
        let (page, _) = Page::create().expect("memory");
        let (answers, _) = sys::pipe().expect("a pipe");
        let (ours, theirs) = Socket::pair().expect("sockets");
        for socket in [&ours, &theirs] {
            socket.set_nonblocking(true).expect("a socket");
        }
        let socket = Arc::new(ours);
        let outlets = &pool.config.recipe.outlets;
        let (_, pipes) = outlets.open().expect("streams");
        let link = Link::new(1, process.id(), page, socket.clone(), Tenure::default());
        let outputs = outlets.attend(pipes, 1, process.id()).expect("streams");
        let watch = WorkerWatch::new(answers, socket);
        let frames = FrameBuffer::new(1 << 20);
        let child = Child::from(process);
        let worker = SupervisedWorker::new(Arc::new(link), watch, frames, child, outputs, 0);
        pool.worker_ready(&worker.link);
        (worker, theirs)
    }

    async fn exit(mut worker: SupervisedWorker) -> Option<i32> {
        worker.child.exit().await.signal
    }

    #[tokio::test]
    async fn a_worker_that_closes_its_pipe_and_lives_on_is_killed_for_that() {
        let pool = pool();
        let mut worker = worker(&pool);
        let closed = SupervisorEvent::Read(Ok(0));
        assert!(worker.handle(closed, &pool).is_continue());
        let ControlFlow::Continue(Some(deadline)) = worker.next_deadline() else {
            panic!("the worker has a deadline");
        };
        assert!(deadline <= Instant::now() + EXIT_GRACE);
        assert!(
            worker
                .handle(SupervisorEvent::Deadline, &pool)
                .is_continue()
        );
        assert!(
            worker.link.ending().is_none(),
            "the deadline has not passed"
        );
        worker.pipe = AnswerPipe::Closed(Instant::now());
        assert!(
            worker
                .handle(SupervisorEvent::Deadline, &pool)
                .is_continue()
        );
        assert!(matches!(worker.link.ending(), Some(Ending::Protocol(_))));
        assert!(worker.next_deadline().is_break(), "the worker is killed");
        assert_eq!(exit(worker).await, Some(9));
    }

    #[tokio::test]
    async fn a_dismissed_worker_is_asked_to_exit_once_and_has_a_last_moment() {
        let pool = pool();
        let (mut worker, mut theirs) = worker_and_socket(&pool);
        pool.close();
        assert!(worker.handle(SupervisorEvent::Woken, &pool).is_continue());
        let ControlFlow::Continue(Some(deadline)) = worker.next_deadline() else {
            panic!("the worker has a deadline");
        };
        assert!(deadline <= Instant::now() + EXIT_GRACE);
        let mut request = [0; 64];
        assert!(theirs.read(&mut request).expect("the request was sent") > 0);
        assert!(worker.next_deadline() == ControlFlow::Continue(Some(deadline)));
        let nothing = theirs.read(&mut request).expect_err("once is enough");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(worker.link.fate(), Fate::Wait(Some(deadline)));
        worker.child.kill();
        assert_eq!(exit(worker).await, Some(9));
    }

    #[tokio::test]
    async fn a_terminated_worker_gets_the_signal_once() {
        let pool = pool();
        let mut worker = worker(&pool);
        assert!(worker.link.terminate().is_empty());
        assert!(worker.next_deadline().is_continue());
        assert_eq!(worker.link.fate(), Fate::Wait(None), "the signal was sent");
        assert!(worker.next_deadline().is_continue());
        assert_eq!(exit(worker).await, Some(15));
    }

    #[tokio::test]
    async fn garbage_condemns_a_worker_and_the_end_of_its_process_ends_the_loop() {
        let pool = pool();
        let mut worker = worker(&pool);
        worker.frames.push(&[2, 0, 0, 0, 250, 250]);
        let read = SupervisorEvent::Read(Ok(6));
        assert!(worker.handle(read, &pool).is_continue());
        assert!(matches!(worker.link.ending(), Some(Ending::Protocol(_))));
        assert!(worker.handle(SupervisorEvent::Ended, &pool).is_break());
        worker.child.kill();
        assert_eq!(exit(worker).await, Some(9));
    }

    #[tokio::test]
    async fn events_without_news_change_nothing() {
        let pool = pool();
        let mut worker = worker(&pool);
        for event in [
            SupervisorEvent::Woken,
            SupervisorEvent::Written,
            SupervisorEvent::Resumed,
            SupervisorEvent::Printed,
            SupervisorEvent::Deadline,
        ] {
            assert!(worker.handle(event, &pool).is_continue());
            assert!(worker.link.ending().is_none() && worker.link.is_idle());
        }
        assert_eq!(pool.workers().len(), 1);
        worker.child.kill();
        assert_eq!(exit(worker).await, Some(9));
    }

    /// A worker that collects outcomes sends a few thousand at once; a hostile one may send as many as fit.
    #[tokio::test]
    async fn one_frame_of_many_entries_takes_many_turns() {
        const LEN: usize = 4 << 20;
        let other_call = [&[64][..], &[9; 8]].concat();
        let failure = {
            let mut out = Chain::new();
            put_failure(&mut out, ItemFailure::Invalid);
            out.into_bytes().to_vec()
        };
        for entry in [
            other_call,
            vec![65, 0, 0, 0, 0, 0, 0, 0, 0],
            vec![0, 0],
            failure,
        ] {
            let pool = pool();
            let mut worker = worker(&pool);
            let entries = entry.repeat(LEN / entry.len());
            worker.frames = FrameBuffer::new(2 * LEN);
            worker.frames.push(&outcomes_head(entries.len()));
            worker.frames.push(&entries);
            let mut turns = 1;
            while worker.read_frames(&pool) {
                worker.turn = Turn::new();
                turns += 1;
            }
            assert!(worker.link.ending().is_none() && worker.frames.len() == 0);
            assert!(turns >= LEN / (512 * 1024), "{turns} turns for {entry:?}");
            worker.child.kill();
            assert_eq!(exit(worker).await, Some(9));
        }
    }
}
