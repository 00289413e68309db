//! Which processes of the program are running.

use std::collections::BTreeMap;

use concurrent_futures::StartMethod;
use concurrent_futures::multiprocessing::{Process, active_children, blocking_join_all, join_all};

use super::alone::alone;
use super::common::{Gate, eventually, within};
use super::methods::by_fork;
use super::{builder, is_there, wait_at};

#[test]
fn running_processes_are_listed_and_all_but_daemons_can_be_waited_for() {
    let test = "active::running_processes_are_listed_and_all_but_daemons_can_be_waited_for";
    alone(test, || async {
        assert!(active_children().is_empty());
        let gate = Gate::new();
        let mut pids = Vec::new();
        for (name, daemon, method) in [
            ("first", false, StartMethod::ForkServer),
            ("daemon", true, StartMethod::Spawn),
            ("last", false, StartMethod::Spawn),
        ] {
            let builder = builder(method).name(name).daemon(daemon);
            let process = within(builder.spawn(wait_at, gate.key())).await;
            pids.push(process.expect("it starts").pid()); // This drops the handle.
        }
        let listed = active_children();
        let names: Vec<_> = listed.iter().map(|child| child.name()).collect();
        assert_eq!(names, ["first", "daemon", "last"]);
        assert!(
            listed
                .iter()
                .map(|child| child.pid())
                .eq(pids.iter().copied())
        );
        assert!(listed[1].is_daemon() && !listed[0].is_daemon());
        let mut guests = BTreeMap::new();
        for _ in 0..3 {
            let guest = gate.guest().await;
            guests.insert(guest.pid(), guest);
        }
        let all = join_all();
        tokio::pin!(all);
        let mut let_in = async |pid| guests.remove(&pid).expect("it is there").let_in().await;
        assert!(futures::poll!(all.as_mut()).is_pending());
        let_in(pids[2]).await;
        eventually(|| active_children().len() == 2).await;
        assert!(futures::poll!(all.as_mut()).is_pending());
        let_in(pids[0]).await;
        within(all).await;
        within(join_all()).await;
        within(tokio::task::spawn_blocking(blocking_join_all))
            .await
            .expect("no panic");
        let names = active_children();
        assert_eq!(
            names.iter().map(|child| child.name()).collect::<Vec<_>>(),
            ["daemon"]
        );
        let_in(pids[1]).await;
        eventually(|| active_children().is_empty()).await;
        // A process does not list its parent's children, although they are in its memory.
        let _process = within(Process::spawn(wait_at, gate.key()))
            .await
            .expect("it starts");
        let count = within(Process::spawn(|| active_children().len(), ())).await;
        assert_eq!(
            within(count.expect("it starts").join())
                .await
                .expect("it ran"),
            0
        );
    });
}

async fn a_look_at_any_handle_leaves_no_zombie_of_a_kept_one(method: StartMethod) {
    let gate = Gate::new();
    let process = within(builder(method).spawn(wait_at, gate.key())).await;
    let process = process.expect("it starts");
    gate.guest().await.let_in().await;
    eventually(|| active_children().is_empty()).await;
    assert!(!is_there(process.pid()));
    assert_eq!(process.exit_code(), Some(0));
}

#[test]
fn a_look_at_any_handle_leaves_no_zombie_by_spawn() {
    let test = "active::a_look_at_any_handle_leaves_no_zombie_by_spawn";
    alone(test, || {
        a_look_at_any_handle_leaves_no_zombie_of_a_kept_one(StartMethod::Spawn)
    });
}

#[test]
fn a_look_at_any_handle_leaves_no_zombie_by_fork() {
    by_fork(
        "mp_process::active::a_look_at_any_handle_leaves_no_zombie_by_fork",
        a_look_at_any_handle_leaves_no_zombie_of_a_kept_one,
    );
}

#[test]
fn a_fork_does_not_list_the_processes_of_its_parent() {
    by_fork(
        "mp_process::active::a_fork_does_not_list_the_processes_of_its_parent",
        async |method| {
            let gate = Gate::new();
            let first = within(builder(method).spawn(wait_at, gate.key())).await;
            let _guest = gate.guest().await;
            let count = within(builder(method).spawn(|| active_children().len(), ())).await;
            assert_eq!(
                within(count.expect("it starts").join())
                    .await
                    .expect("it ran"),
                0
            );
            assert_eq!(active_children().len(), 1);
            assert!(first.is_ok_and(|first| first.is_alive()));
        },
    );
}
