//! What a client can do. The methods are those of every executor.

use std::time::Duration;

use concurrent_futures::cluster::{ClusterExecutor, TaskKey};
use concurrent_futures::{ExecutorExt as _, TaskOptions};
use futures::StreamExt as _;

use crate::Outcome;
use crate::tasks::{count_primes, crash, is_prime, parse, spin};

/// The numbers of the map.
const NUMBERS: u64 = 200_000;

pub(crate) async fn show(cluster: &ClusterExecutor) -> Outcome {
    println!("97 is prime: {}", cluster.submit(is_prime, 97).await?);
    follow(cluster).await?;
    fail(cluster).await?;
    end_early(cluster).await?;
    overtake(cluster).await?;
    map(cluster).await?;
    cluster.shutdown().await; // Ends this client, but no worker.
    Ok(())
}

/// Progress reports arrive while the task runs on another machine.
async fn follow(cluster: &ClusterExecutor) -> Outcome {
    let counting = cluster.submit(count_primes, 1_000_000);
    let mut progress = counting.progress();
    let mut reports = 0;
    while progress.next().await.is_some() {
        reports += 1;
    }
    let primes = counting.await?;
    println!("{primes} primes below a million, {reports} reports of progress");
    Ok(())
}

/// An error of the function is a value. An error of the task says what happened, where, and after how many attempts.
async fn fail(cluster: &ClusterExecutor) -> Outcome {
    if let Err(error) = cluster.submit(parse, "ten".to_owned()).await? {
        println!("parse: {error}");
    }
    let twice = TaskOptions::new().retries(1); // Safe to run again: it writes nothing.
    match cluster.submit_with(&twice, crash, ()).await {
        Err(error) if error.is_worker_lost() => println!("crash: {error}"),
        other => other?,
    }
    Ok(())
}

/// A cancel and a timeout end a function that never returns.
async fn end_early(cluster: &ClusterExecutor) -> Outcome {
    let spinning = cluster.submit(spin, ());
    spinning.progress().next().await; // After its first report, it runs.
    spinning.abort();
    match spinning.await {
        Err(error) if error.is_cancelled() => {
            println!("aborted, was started: {}", error.was_started());
        }
        other => other?,
    }
    let soon = TaskOptions::new().timeout(Duration::from_millis(100));
    match cluster.submit_with(&soon, spin, ()).await {
        Err(error) if error.is_timeout() => println!("timed out"),
        other => other?,
    }
    Ok(())
}

/// A task of a higher priority starts first, whichever client submitted it.
async fn overtake(cluster: &ClusterExecutor) -> Outcome {
    let later = TaskOptions::new().priority(-1);
    let slow: Vec<_> = (0..50)
        .map(|_| cluster.submit_with(&later, count_primes, 20_000))
        .collect();
    let urgent = TaskOptions::new().priority(1);
    cluster.submit_with(&urgent, is_prime, 97).await?;
    let left = slow.iter().filter(|handle| !handle.is_finished()).count();
    println!("urgent, with {left} of {} others unfinished", slow.len());
    for handle in slow {
        handle.await?;
    }
    Ok(())
}

/// Items travel in chunks. Results arrive in order.
async fn map(cluster: &ClusterExecutor) -> Outcome {
    let mut results = cluster.map(is_prime, 0..NUMBERS);
    let mut primes = 0;
    for n in 0..NUMBERS {
        let result = results.next().await.ok_or("a result for each number")?;
        primes += u64::from(result?);
        if n == NUMBERS / 2 {
            println!("half of the numbers");
        }
    }
    println!("{primes} primes below {NUMBERS}");
    Ok(())
}

/// Once `stored` has returned, the task does not need this program any more.
pub(crate) async fn submit(cluster: &ClusterExecutor, limit: u64) -> Outcome {
    let again = TaskOptions::new().retries(3);
    let counting = cluster.submit_with(&again, count_primes, limit);
    println!("{}", cluster.stored(&counting).await);
    Ok(())
}

pub(crate) async fn result(cluster: &ClusterExecutor, key: &TaskKey) -> Outcome {
    println!("{} primes", cluster.reattach::<u64>(key).await?);
    Ok(())
}
