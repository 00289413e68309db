//! Runs a few actors in every order in which they can be polled, and dropped while they wait. Each actor is a tokio
//! task, so that a lock knows which task takes it. An actor's future is polled only when the order says so.
//!
//! A search finds the orders. Each run repeats the choices of the run before up to some point, and takes the first
//! alternative after that. The next run takes the next alternative at the last point that has one.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::{mpsc, oneshot};

/// Checks how a run ended.
type Check = Box<dyn FnOnce(&Ending)>;
type Body = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The actors that run side by side.
#[derive(Default)]
pub(crate) struct Scene {
    actors: Vec<(&'static str, Mortality, Body)>,
    check: Option<Check>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mortality {
    /// It may be dropped while it waits.
    Mortal,
    Immortal,
}

/// The end of a run: no actor can continue.
#[derive(Debug)]
pub(crate) struct Ending {
    /// The steps, in order.
    pub(crate) story: Vec<String>,
    fates: Vec<(&'static str, Fate)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Done,
    Waits,
    Dropped,
    Panicked(String),
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds an actor that is polled until it is done.
    pub(crate) fn actor(
        self,
        name: &'static str,
        body: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        self.with(name, Mortality::Immortal, body)
    }

    /// Adds an actor that may also be dropped at any point where it waits.
    pub(crate) fn mortal(
        self,
        name: &'static str,
        body: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        self.with(name, Mortality::Mortal, body)
    }

    /// Sets the check at the end of each run.
    pub(crate) fn check(mut self, check: impl FnOnce(&Ending) + 'static) -> Self {
        self.check = Some(Box::new(check));
        self
    }

    fn with(
        mut self,
        name: &'static str,
        mortality: Mortality,
        body: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        self.actors.push((name, mortality, Box::pin(body)));
        self
    }
}

impl Ending {
    #[track_caller]
    pub(crate) fn fate(&self, name: &str) -> &Fate {
        let found = self.fates.iter().find(|(actor, _)| *actor == name);
        &found.expect("an actor").1
    }

    pub(crate) fn waiting(&self) -> Vec<&'static str> {
        let waiting = self.fates.iter().filter(|(_, fate)| *fate == Fate::Waits);
        waiting.map(|(name, _)| *name).collect()
    }

    pub(crate) fn panics(&self) -> Vec<&str> {
        let fates = self.fates.iter();
        let panics = fates.filter_map(|(_, fate)| match fate {
            Fate::Panicked(message) => Some(message.as_str()),
            _ => None,
        });
        panics.collect()
    }
}

/// Lets all other actors take a turn.
pub(crate) async fn pause() {
    let mut is_paused = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut is_paused, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs the scene in every order. Returns the number of orders.
#[track_caller]
pub(crate) fn explore(scene: impl Fn() -> Scene) -> usize {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    let mut choices = Choices::default();
    let mut runs = 0;
    loop {
        let Scene { actors, check } = scene();
        let ending = runtime.block_on(play(actors, &mut choices));
        let checked = catch_unwind(AssertUnwindSafe(|| check.map(|check| check(&ending))));
        if let Err(panic) = checked {
            panic!("{}\n{ending:#?}", words_of(&panic));
        }
        runs += 1;
        if !choices.next_run() {
            return runs;
        }
    }
}

/// The choices of one run, and the next run.
#[derive(Default)]
struct Choices {
    /// For each point the number of alternatives, and the one that was taken.
    taken: Vec<(usize, usize)>,
    at: usize,
}

impl Choices {
    fn choose(&mut self, ways: usize) -> usize {
        if self.at == self.taken.len() {
            self.taken.push((ways, 0));
        }
        let (known, choice) = self.taken[self.at];
        assert_eq!(known, ways, "a scene must do the same each time");
        self.at += 1;
        choice
    }

    fn next_run(&mut self) -> bool {
        self.at = 0;
        while let Some((ways, choice)) = self.taken.pop() {
            if choice + 1 < ways {
                self.taken.push((ways, choice + 1));
                return true;
            }
        }
        false
    }
}

/// The exploring side of an actor: tells it when to take a step.
struct Actor {
    name: &'static str,
    mortality: Mortality,
    woken: Arc<Woken>,
    has_begun: bool,
    orders: mpsc::UnboundedSender<(Order, oneshot::Sender<Fate>)>,
    fate: Fate,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Poll,
    Drop,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

async fn play(actors: Vec<(&'static str, Mortality, Body)>, choices: &mut Choices) -> Ending {
    let mut story = Vec::new();
    let mut actors: Vec<Actor> = actors.into_iter().map(Actor::enter).collect();
    loop {
        let mut moves: Vec<Option<(usize, Order)>> = Vec::new();
        let waits = |actor: &Actor| actor.fate == Fate::Waits;
        for (index, _) in actors.iter().enumerate().filter(|(_, actor)| waits(actor)) {
            if actors[index].woken.0.load(Ordering::SeqCst) {
                moves.push(Some((index, Order::Poll)));
            }
        }
        if moves.is_empty() {
            moves.push(None); // No actor can continue: this may be the end.
        }
        for (index, actor) in actors.iter().enumerate().filter(|(_, actor)| waits(actor)) {
            if actor.mortality == Mortality::Mortal && actor.has_begun {
                moves.push(Some((index, Order::Drop)));
            }
        }
        let Some((index, order)) = moves[choices.choose(moves.len())] else {
            break;
        };
        let actor = &mut actors[index];
        actor.obey(order).await;
        story.push(format!("{order:?} {}: {:?}", actor.name, actor.fate));
    }
    let fates = actors.iter().map(|actor| (actor.name, actor.fate.clone()));
    Ending {
        fates: fates.collect(),
        story,
    }
}

impl Actor {
    fn enter((name, mortality, body): (&'static str, Mortality, Body)) -> Self {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let (orders, received) = mpsc::unbounded_channel();
        tokio::spawn(act(body, woken.clone(), received));
        Self {
            name,
            mortality,
            woken,
            has_begun: false,
            orders,
            fate: Fate::Waits,
        }
    }

    async fn obey(&mut self, order: Order) {
        self.woken.0.store(false, Ordering::SeqCst);
        self.has_begun = true;
        let (reply, fate) = oneshot::channel();
        assert!(self.orders.send((order, reply)).is_ok(), "it acts");
        self.fate = fate.await.expect("it replies");
    }
}

async fn act(
    body: Body,
    woken: Arc<Woken>,
    mut orders: mpsc::UnboundedReceiver<(Order, oneshot::Sender<Fate>)>,
) {
    let mut body = Some(body);
    while let Some((order, reply)) = orders.recv().await {
        let fate = match (order, &mut body) {
            (Order::Poll, Some(body)) => poll(body, &woken),
            (Order::Drop, _) => Fate::Dropped,
            (Order::Poll, None) => unreachable!("it is done"),
        };
        if fate != Fate::Waits {
            body = None; // Dropped here, inside its task.
        }
        let _ = reply.send(fate);
    }
}

fn poll(body: &mut Body, woken: &Arc<Woken>) -> Fate {
    let waker = Waker::from(woken.clone());
    let mut cx = Context::from_waker(&waker);
    match catch_unwind(AssertUnwindSafe(|| body.as_mut().poll(&mut cx))) {
        Ok(Poll::Ready(())) => Fate::Done,
        Ok(Poll::Pending) => Fate::Waits,
        Err(panic) => Fate::Panicked(words_of(&panic)),
    }
}

fn words_of(panic: &Box<dyn Any + Send>) -> String {
    let words = panic.downcast_ref::<String>().cloned();
    words.unwrap_or_else(|| {
        let words = panic.downcast_ref::<&str>();
        words.map_or_else(|| "a panic".to_owned(), |words| (*words).to_owned())
    })
}

/// Two actors take three steps each: one is at its first, second or third step when the other continues.
/// Then the drops.
#[test]
fn every_order_is_found_once() {
    let three = || async {
        pause().await;
        pause().await;
    };
    let stories = Arc::new(std::sync::Mutex::new(std::collections::BTreeSet::new()));
    let told = stories.clone();
    let runs = explore(move || {
        let told = told.clone();
        let scene = Scene::new().actor("a", three()).actor("b", three());
        scene.check(move |ending| {
            assert_eq!(ending.fate("a"), &Fate::Done);
            assert!(ending.waiting().is_empty() && ending.panics().is_empty());
            told.lock().expect("no panic").insert(ending.story.clone());
        })
    });
    assert_eq!(runs, 20, "three of six steps");
    assert_eq!(stories.lock().expect("no panic").len(), runs);
    let runs = explore(|| Scene::new().mortal("a", pause()));
    assert_eq!(runs, 2, "polled twice, or polled and dropped");
}
