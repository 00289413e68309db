use concurrent_futures::multiprocessing::{Array, Atomic, Value};
use concurrent_futures::{Async, Executor, ExecutorExt, ThreadPoolExecutor};
use futures::TryStreamExt as _;

fn is_prime(n: u64) -> bool {
    n > 1 && (2..n).all(|divisor| !n.is_multiple_of(divisor))
}

fn power(base: u32, exponent: u32) -> u64 {
    u64::from(base).pow(exponent)
}

fn hello() -> String {
    "hello".to_owned()
}

fn sum(pair: (i32, i32)) -> i32 {
    pair.0 + pair.1
}

async fn length(text: String) -> usize {
    text.len()
}

async fn on(pool: &dyn Executor) {
    assert!(pool.submit(is_prime, 97).await.unwrap());
    assert_eq!(pool.submit(power, (2, 8)).await.unwrap(), 256);
    // What the arguments must be is known from the function.
    assert!(pool.submit(is_prime, 97_u32.into()).await.unwrap());
    assert_eq!(pool.submit(power, (2, Default::default())).await.unwrap(), 1);
    assert_eq!(pool.submit(hello, ()).await.unwrap(), "hello");
    assert_eq!(pool.submit(sum, (1, 2)).await.unwrap(), 3);
    assert_eq!(pool.submit(|x: i32| x + 1, 1).await.unwrap(), 2);
    assert_eq!(pool.submit(|x: i32, y: i32| x + y, (1, 2)).await.unwrap(), 3);
    let powers: Vec<u64> = pool
        .map(power, [1, 2, 3].into_iter().zip([2, 2, 2]))
        .try_collect()
        .await
        .unwrap();
    assert_eq!(powers, [1, 4, 9]);
    // What the arguments must be is known from an async function, too.
    assert_eq!(pool.submit_async(length, "four".into()).await.unwrap(), 4);
    assert_eq!(pool.submit_async(async |x: i32, y: i32| x + y, (1, 2)).await.unwrap(), 3);
    let lengths = pool.map(Async(length), ["four".to_owned()]);
    assert_eq!(lengths.try_collect::<Vec<usize>>().await.unwrap(), [4]);
}

#[tokio::main]
async fn main() {
    let pool = ThreadPoolExecutor::new().unwrap();
    on(&pool).await;
    let greeting = hello();
    assert_eq!(pool.submit(move || greeting, ()).await.unwrap(), "hello");
    // A number in shared memory needs no suffix.
    assert_eq!(Value::new(1).unwrap().get().await, 1);
    assert_eq!(Array::new(&[1.5]).unwrap().lock().await[..], [1.5]);
    drop(Atomic::new(7_u8).unwrap());
}
