//! A place in a pool. Its task starts a worker, tries again after a failure, drives the worker, and frees the place
//! however the task ends. It moves to another runtime when its own ends, see [`home`](crate::home).

use std::io::PipeReader;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::link::{Link, Tenure};
use super::output::OutputWriter;
use super::pool::{AfterFailure, Departure, Pool, ProcessPoolConfig};
use super::start::{NewProcess, Newborn, StartError, StartFailure};
use super::supervisor::SupervisedWorker;
use super::watch::WorkerWatch;
use crate::executor::error::Cause;
use crate::home::sleep;
use crate::sys;
use crate::wire::descriptors::Descriptor;
use crate::wire::frame;
use crate::wire::frame_buffer::FrameBuffer;
use crate::wire::message::{self, Role};
use crate::wire::page::Page;

/// Starts a worker in the place `id` of the pool.
pub(super) fn start(pool: Arc<Pool>, id: u64) {
    let home = pool.home.clone();
    let place = TakenPlace {
        pool,
        id,
        link: None,
        end: PlaceEnd::NeverPolled,
    };
    home.spawn(place.run());
}

/// A place in the pool. Dropping it releases the place, however its task ends.
struct TakenPlace {
    pool: Arc<Pool>,
    id: u64,
    link: Option<Arc<Link>>,
    end: PlaceEnd,
}

enum PlaceEnd {
    /// No runtime could start the task.
    NeverPolled,
    /// Why the worker ended, if there was one, and how many items were lost with it.
    Ended(Option<Departure>, usize),
}

impl TakenPlace {
    async fn run(mut self) {
        self.end = PlaceEnd::Ended(None, 0);
        if let Some(moment) = self.pool.starts_after() {
            let span = moment.saturating_duration_since(Instant::now());
            if pause(&self.pool, span).await.is_break() {
                return;
            }
        }
        loop {
            match start_worker(&self.pool, self.id).await {
                Ok(worker) => {
                    self.link = Some(worker.link.clone());
                    let (departure, lost) = worker.supervise(&self.pool).await;
                    self.end = PlaceEnd::Ended(Some(departure), lost);
                    return;
                }
                Err(None) => return,
                Err(Some(failure)) => {
                    if self.after(failure).await.is_break() {
                        return;
                    }
                }
            }
        }
    }

    /// Waits for the next try, if there is one.
    async fn after(&self, failure: StartFailure) -> ControlFlow<()> {
        match self.pool.start_failed(self.id, failure) {
            AfterFailure::TryAgain(span) => pause(&self.pool, span).await,
            AfterFailure::KeepTrying(span) => tokio::select! {
                flow = pause(&self.pool, span) => flow,
                () = self.pool.pause_ended(self.id) => ControlFlow::Continue(()),
            },
            AfterFailure::GiveUp => ControlFlow::Break(()),
        }
    }
}

impl Drop for TakenPlace {
    fn drop(&mut self) {
        // If a value is left here, there was no runtime left to continue in.
        let cut_off = self
            .link
            .as_ref()
            .map_or(0, |link| link.settle_death(&Cause::Shutdown).lost);
        if let (Some(_), PlaceEnd::Ended(departure, _)) = (&self.link, &self.end) {
            self.pool
                .worker_ended(departure.unwrap_or(Departure::ShutDown));
        }
        match self.end {
            PlaceEnd::NeverPolled => self.pool.discard_place(self.id),
            PlaceEnd::Ended(departure, lost) => {
                self.pool.worker_gone(self.id, departure, lost + cut_off)
            }
        }
    }
}

/// Waits until a worker may start. Breaks if none is needed any more.
async fn pause(pool: &Pool, span: Duration) -> ControlFlow<()> {
    tokio::select! {
        () = sleep(span) => ControlFlow::Continue(()),
        () = not_needed(pool) => ControlFlow::Break(()),
    }
}

async fn not_needed(pool: &Pool) {
    loop {
        let changed = pool.changed.notified();
        if pool.needs_no_worker() {
            return;
        }
        changed.await;
    }
}

/// Starts a worker and waits until it is ready. `Err(None)`: the worker is not needed any more.
async fn start_worker(pool: &Pool, id: u64) -> Result<SupervisedWorker, Option<StartFailure>> {
    let created = tokio::select! {
        created = create_worker(pool, id) => created,
        // Dropping a process that was already created kills it.
        () = not_needed(pool) => return Err(None),
    };
    let (newborn, page, answers) = created?;
    let config = &pool.config;
    let writer = OutputWriter::from(&page);
    let ready = newborn.make_ready(&config.recipe, writer, not_needed(pool));
    let Newborn {
        child,
        connection,
        outputs,
        oom_kills,
    } = ready.await?;
    let socket = Arc::new(connection.stream.into_inner());
    let watch = WorkerWatch::new(answers, socket.clone());
    let tenure = Tenure {
        max_tasks: config.max_tasks_per_child,
        max_age: config.max_age_per_child,
        idle_timeout: config.idle_timeout,
    };
    let link = Arc::new(Link::new(id, child.id(), page, socket, tenure));
    let longest = config
        .recipe
        .max_frame_length
        .saturating_add(message::REPORT);
    let frames = FrameBuffer::new(longest.min(frame::LARGEST));
    Ok(SupervisedWorker::new(
        link, watch, frames, child, outputs, oom_kills,
    ))
}

/// The name that a worker uses for itself.
fn name_of(config: &ProcessPoolConfig, id: u64) -> String {
    let pool = config.name.as_deref().unwrap_or("worker");
    format!("{pool}-{id}")
}

/// Creates the process of a worker, its page and the pipe for its answers.
async fn create_worker(
    pool: &Pool,
    id: u64,
) -> Result<(Newborn, Page, PipeReader), Option<StartFailure>> {
    // While both ends of everything are open here, a start uses more descriptors than a running worker.
    let _turn = pool.start_turn().await;
    let config = &pool.config;
    let recipe = &config.recipe;
    let system = |doing| move |error| Some(StartFailure::from(StartError::system(doing)(error)));
    let (page, page_fd) = Page::create().map_err(system("make shared memory"))?;
    if let Some(bytes) = config.max_memory_per_child {
        page.limit_memory(bytes);
    }
    if recipe.outlets.follows_stderr() {
        page.follow_output();
    }
    let (answers, theirs) = sys::pipe().map_err(system("make a pipe"))?;
    let streams = recipe.outlets.open();
    let (ends, pipes) = streams.map_err(system("open a stdout and a stderr for a worker"))?;
    let captured = recipe.outlets.captured(&pipes);
    let own = [page_fd, theirs].map(Descriptor::from);
    let new = NewProcess {
        recipe,
        role: Role::Worker,
        surroundings: &recipe.surroundings,
        output: [ends.stdout, ends.stderr],
        setup: &|| recipe.setup(id, name_of(config, id), captured, own.to_vec()),
    };
    let attend = |pid| recipe.outlets.attend(pipes, id, pid);
    let newborn = Newborn::create(&config.starter, new, attend).await?;
    Ok((newborn, page, answers))
}
