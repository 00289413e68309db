//! A cluster on this machine: worker programs, which are this program again, and a client.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, process, thread};

use concurrent_futures::cluster::{
    ClusterExecutor, Durability, Functions, QueueSettings, Worker, sigterm,
};
use concurrent_futures::{ExecutorExt as _, TaskOptions, ThreadPoolExecutor, functions};

use crate::common::figure::Figure;
use crate::nats::NatsServer;
use crate::work::{self, add_one, echo, noop};

/// The local workers of each program.
pub(crate) const WORKERS: usize = 2;
/// Queue, slots and servers, with `;` between.
const SERVE: &str = "CLUSTER_BENCH_SERVE";

fn tasks() -> Functions {
    functions![noop, add_one, echo, wait_or_return]
}

/// In the first run, writes the process id to `file` and waits for its end. In the next run, returns at once.
fn wait_or_return(file: String) {
    if !Path::new(&file).exists() {
        fs::write(&file, process::id().to_string()).expect("the folder is there");
        thread::sleep(Duration::from_secs(600));
    }
}

/// Serves, if this is a worker program. Returns at its end.
pub(crate) fn serve_if_worker() -> bool {
    let Ok(order) = env::var(SERVE) else {
        return false;
    };
    let parts: Vec<&str> = order.split(';').collect();
    let &[queue, slots, servers] = &*parts else {
        panic!("it is queue, slots and servers: {order}");
    };
    let slots = slots.parse().expect("a number");
    crate::common::runtime().block_on(async {
        let pool = ThreadPoolExecutor::builder().max_workers(WORKERS).build();
        let worker = Worker::connect(servers).queue(queue).functions(tasks());
        let worker = worker
            .slots(slots)
            .build(Arc::new(pool.expect("a pool")))
            .await;
        worker.expect("a worker").run_until(sigterm()).await;
    });
    true
}

/// What serves, and where the tasks are kept.
#[derive(Clone, Copy)]
pub(crate) struct Fleet {
    pub(crate) programs: usize,
    /// Of each program.
    pub(crate) slots: usize,
    pub(crate) durability: Durability,
}

pub(crate) struct Cluster {
    pub(crate) client: ClusterExecutor,
    pub(crate) programs: Vec<Child>,
    order: String,
    folder: std::path::PathBuf,
}

impl Cluster {
    pub(crate) async fn start(servers: &[NatsServer], name: &str, fleet: Fleet) -> Self {
        let queue = name.replace([' ', ','], "-");
        let urls: Vec<String> = servers.iter().map(NatsServer::url).collect();
        let settings = QueueSettings::new().durability(fleet.durability);
        let client = ClusterExecutor::connect(urls.join(","))
            .queue(&queue)
            .functions(tasks())
            .settings(settings.ack_wait(Duration::from_secs(5)))
            .timeout(Duration::from_secs(60));
        let mut cluster = Self {
            client: client.build().await.expect("a client"),
            programs: Vec::new(),
            order: format!("{queue};{};{}", fleet.slots, urls.join(",")),
            folder: servers[0].folder().to_owned(),
        };
        for _ in 0..fleet.programs {
            cluster.start_program();
        }
        cluster.until_all_serve().await;
        cluster
    }

    fn start_program(&mut self) {
        let program = Command::new(env::current_exe().expect("this program"))
            .env(SERVE, &self.order)
            .stdin(Stdio::null())
            .spawn();
        self.programs.push(program.expect("it starts"));
    }

    async fn until_all_serve(&self) {
        while self
            .client
            .workers()
            .await
            .map_or(0, |workers| workers.len())
            < self.programs.len()
        {}
    }

    /// From the kill of the program that runs a task to its result from another one.
    pub(crate) async fn recovery(&mut self, times: usize) -> Figure {
        let mut measured = Vec::new();
        for number in 0..times {
            let file = self.folder.join(format!("{number}.pid"));
            let name = file.to_str().expect("text").to_owned();
            let options = TaskOptions::new().retries(1);
            let handle = self.client.submit_with(&options, wait_or_return, name);
            let pid = loop {
                let text = fs::read_to_string(&file).unwrap_or_default();
                if let Ok(pid) = text.parse::<u32>() {
                    break pid;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            };
            let its = self.programs.iter().position(|program| program.id() == pid);
            let mut program = self.programs.swap_remove(its.expect("one of ours"));
            let start = Instant::now();
            program.kill().expect("it is not reaped yet");
            handle.await.expect("another one runs it");
            measured.push(start.elapsed());
            program.wait().expect("it is a child");
            let _ = fs::remove_file(&file);
            self.start_program();
            self.until_all_serve().await;
        }
        work::figure(measured, 1)
    }

    pub(crate) async fn end(mut self) {
        self.client.shutdown().await;
        self.kill_all();
    }

    fn kill_all(&mut self) {
        for mut program in self.programs.drain(..) {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill_all();
    }
}
