//! Runs a task by each start method.

fn main() {
    programs::tasks::main();
}
