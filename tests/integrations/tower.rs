//! Executors as tower services, among tower's own layers.

#[path = "../common/mod.rs"]
mod common;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use concurrent_futures::tower::{OffloadLayer, TaskService};
use concurrent_futures::{
    Executor as _, ExecutorExt as _, ProcessPoolExecutor, TaskError, TaskOptions,
    ThreadPoolExecutor,
};
use futures::FutureExt as _;
use tower::load_shed::error::Overloaded;
use tower::timeout::error::Elapsed;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt as _, service_fn};

use self::common::{Gate, Key, eventually, within};

concurrent_futures::init_before_main!();

fn stand_at(key: Key) -> u32 {
    key.wait();
    7
}

fn double(x: u64) -> u64 {
    x * 2
}

#[tokio::test]
async fn a_request_is_the_arguments_and_the_response_the_result() {
    let pool = ThreadPoolExecutor::with_workers(1).expect("a pool");
    let mut closed = TaskService::<_, u64, _>::new(&pool, double);
    drop(pool); // The service does not keep the pool open.
    let error = within(closed.ready()).await.expect_err("it was dropped");
    assert!(error.is_shutdown(), "{error}");
    let pool = ProcessPoolExecutor::with_workers(1).expect("a pool");
    let mut service = TaskService::new(&pool, double).options(TaskOptions::new().name("twice"));
    let response = within(service.ready()).await.expect("it is open").call(4);
    assert_eq!(within(response).await.expect("a result"), 8);
    let mut power = TaskService::new(&pool, u64::pow);
    let response = within(power.ready())
        .await
        .expect("it is open")
        .call((2, 8));
    assert_eq!(within(response).await.expect("a result"), 256);
    pool.shutdown().await;
}

#[tokio::test]
async fn poll_ready_waits_for_room_and_keeps_it_for_one_call() {
    let pool = ThreadPoolExecutor::builder()
        .max_workers(1)
        .queue_capacity(1)
        .build();
    let pool = pool.expect("a pool");
    let gate = Gate::new();
    let mut service = TaskService::new(&pool, stand_at);
    let running = within(service.ready())
        .await
        .expect("there is room")
        .call(gate.key());
    let guest = gate.guest().await;
    within(service.ready()).await.expect("there is room");
    let mut clone = service.clone();
    assert!(
        clone.ready().now_or_never().is_none(),
        "a clone has no room of its own"
    );
    assert!(
        service.ready().now_or_never().is_some(),
        "what is ready stays so"
    );
    let waiting = service.call(gate.key());
    let refused = within(service.call(gate.key()))
        .await
        .expect_err("there was no room");
    assert!(refused.is_rejected());
    assert!(clone.ready().now_or_never().is_none());
    guest.let_in().await;
    assert_eq!(within(running).await.expect("a result"), 7);
    within(clone.ready()).await.expect("one has left the queue");
    gate.guest().await.let_in().await;
    assert_eq!(within(waiting).await.expect("a result"), 7);
}

#[tokio::test]
async fn load_shedding_time_outs_buffers_and_limits_compose() {
    let pool = ProcessPoolExecutor::builder()
        .max_workers(1)
        .queue_capacity(1)
        .build();
    let pool = pool.expect("a pool");
    let gate = Gate::new();
    let mut shedding = ServiceBuilder::new()
        .load_shed()
        .service(TaskService::new(&pool, stand_at));
    let running = within(shedding.ready())
        .await
        .expect("ready")
        .call(gate.key());
    let guest = gate.guest().await;
    let waiting = within(shedding.ready())
        .await
        .expect("ready")
        .call(gate.key());
    let shed = within(shedding.ready())
        .await
        .expect("ready")
        .call(gate.key());
    let error = within(shed).await.expect_err("there is no room");
    assert!(error.is::<Overloaded>(), "{error}");
    guest.let_in().await;
    assert_eq!(within(running).await.expect("a result"), 7);
    gate.guest().await.let_in().await;
    assert_eq!(within(waiting).await.expect("a result"), 7);
    drop(shedding); // It has been waiting for room since the call that it shed.

    let mut limited = ServiceBuilder::new()
        .buffer(4)
        .concurrency_limit(1)
        .timeout(Duration::from_secs(2))
        .service(TaskService::new(&pool, stand_at));
    let slow = within(limited.ready())
        .await
        .expect("ready")
        .call(gate.key());
    let guest = gate.guest().await;
    let error = within(slow).await.expect_err("it took too long");
    assert!(error.is::<Elapsed>(), "{error}");
    guest.gone().await; // The timeout has dropped the call, and that has freed its worker.
    assert_eq!(within(pool.submit(double, 4)).await.expect("a result"), 8);
    pool.shutdown().await;
}

#[tokio::test]
async fn a_call_that_is_dropped_frees_its_worker() {
    let pool = ProcessPoolExecutor::with_workers(1).expect("a pool");
    let gate = Gate::new();
    let mut service = TaskService::new(&pool, stand_at);
    let response = within(service.ready())
        .await
        .expect("there is room")
        .call(gate.key());
    let guest = gate.guest().await;
    drop(response);
    guest.gone().await;
    pool.shutdown().await;
}

fn offloaded<S, R>(
    pool: &Arc<ThreadPoolExecutor>,
    service: S,
) -> impl Service<R, Response = S::Response, Error = BoxError> + Clone
where
    S: Service<R> + Clone + Send + 'static,
    S::Response: Send,
    S::Error: Into<BoxError> + Send,
    R: Send + 'static,
{
    ServiceBuilder::new()
        .layer(OffloadLayer::new(pool.clone()))
        .service(service)
}

#[tokio::test]
async fn the_work_of_an_offloaded_service_is_done_on_the_pool_within_the_callers_runtime() {
    let pool = Arc::new(ThreadPoolExecutor::with_workers(1).expect("a pool"));
    let here = std::thread::current().id();
    let mut service = offloaded(
        &pool,
        service_fn(move |x: u64| async move {
            assert_ne!(std::thread::current().id(), here);
            tokio::time::sleep(Duration::from_millis(1)).await; // The runtime's timers are there.
            assert_ne!(std::thread::current().id(), here);
            Ok::<u64, Infallible>(x * 2)
        }),
    );
    let response = within(service.ready()).await.expect("ready").call(21);
    assert_eq!(within(response).await.expect("a response"), 42);
}

#[tokio::test]
async fn an_offloaded_service_waits_for_room_and_tells_errors_of_both_kinds() {
    let pool = ThreadPoolExecutor::builder()
        .max_workers(1)
        .queue_capacity(1)
        .build();
    let pool = Arc::new(pool.expect("a pool"));
    let mut service = offloaded(
        &pool,
        service_fn(|key: Option<Key>| async move {
            match key {
                Some(key) => {
                    key.wait();
                    Ok(())
                }
                None => Err(std::fmt::Error),
            }
        }),
    );
    let gate = Gate::new();
    let running = within(service.ready())
        .await
        .expect("ready")
        .call(Some(gate.key()));
    let guest = gate.guest().await;
    let waiting = within(service.ready()).await.expect("ready").call(None);
    assert!(service.ready().now_or_never().is_none());
    let refused = within(service.call(None))
        .await
        .expect_err("there is no room");
    assert!(
        refused
            .downcast_ref::<TaskError>()
            .is_some_and(TaskError::is_rejected)
    );
    guest.let_in().await;
    within(running).await.expect("a response");
    let error = within(waiting).await.expect_err("the service's own error");
    assert!(error.is::<std::fmt::Error>(), "{error}");
    let mut broken = offloaded(
        &pool,
        service_fn(|()| async {
            if true {
                panic!("in the service");
            }
            Ok::<(), Infallible>(())
        }),
    );
    let response = within(broken.ready()).await.expect("ready").call(());
    let error = within(response).await.expect_err("it panicked");
    let error = error
        .downcast_ref::<TaskError>()
        .expect("an error of the task");
    assert_eq!(error.panic_message(), Some("in the service"));
}

#[tokio::test]
async fn an_offloaded_call_that_is_dropped_ends_at_its_next_await() {
    let pool = Arc::new(ThreadPoolExecutor::with_workers(1).expect("a pool"));
    let (begun, has_begun) = tokio::sync::oneshot::channel::<()>();
    let begun = Arc::new(std::sync::Mutex::new(Some(begun)));
    let mut service = offloaded(
        &pool,
        service_fn(move |()| {
            let begun = begun.lock().expect("no panic").take();
            async move {
                drop(begun);
                std::future::pending::<Result<(), Infallible>>().await
            }
        }),
    );
    let response = within(service.ready()).await.expect("ready").call(());
    let _ = within(has_begun).await;
    drop(response);
    eventually(|| pool.stats().running == 0).await;
}
