//! A queue.
mod ring;
mod state;
mod store;
