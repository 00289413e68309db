//! Runs a function in its own process, which prints to the same stdout.
//!
//! Run it with `cargo run --release --example process`.

use std::error::Error;

use concurrent_futures::multiprocessing::Process;

/// Called in another process.
fn print(text: String) {
    println!("{text}");
}

fn main() -> Result<(), Box<dyn Error>> {
    concurrent_futures::init();
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn Error>> {
    let process = Process::spawn(print, "text".to_owned()).await?;
    process.join().await?;
    Ok(())
}
