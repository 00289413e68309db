//! A function as a number. A worker is the same executable as its parent, so a function lies
//! at the same distance from a fixed one, the anchor, in both; only the place where the system
//! put the executable differs. This is the one file besides `sys` with unsafe code: it turns the
//! distance back into a function, and makes a function item out of its type alone.

#![expect(
    unsafe_code,
    reason = "a function is called by its distance from the anchor"
)]

use std::marker::PhantomData;

use crate::panic::PanicReport;
use crate::sys;
pub(crate) use crate::wire::FunctionOffset;
use crate::wire::{Chain, Reader};

/// A task's function as a worker calls it: for each item, arguments in, outcome out.
pub(crate) type Entry = fn(&mut dyn Desk);

/// Where an entry gets the items of a call and leaves their outcomes.
pub(crate) trait Desk {
    /// How many items at the front of the input have been dealt with elsewhere.
    fn skip(&self) -> u32;

    /// The input as it stands, to pass over items.
    fn input(&mut self) -> &mut Reader;

    /// Claims the next item; false if there is none, or it is no longer wanted. After a true,
    /// the entry reads its arguments from `input` and calls `answer`.
    fn claim(&mut self) -> bool;

    fn answer(&mut self, answer: Answer);
}

/// What became of one item.
pub(crate) enum Answer {
    Value(Chain),
    Panicked(PanicReport),
    Undecodable(String),
    Unencodable(String),
}

/// The fixed point. Its body matters little, but must not be the same as another's, lest the
/// linker folds the two.
#[inline(never)]
fn anchor(desk: &mut dyn Desk) {
    std::hint::black_box(desk.skip());
    std::hint::black_box("the anchor of concurrent-futures");
}

fn anchor_address() -> usize {
    anchor as Entry as usize
}

impl FunctionOffset {
    /// The offset of `entry`, or nothing if it does not lie in the main executable: code of a
    /// shared library may lie elsewhere in a worker.
    pub(crate) fn of(entry: Entry) -> Option<Self> {
        let address = entry as usize;
        let both_inside = sys::in_executable(address) && sys::in_executable(anchor_address());
        both_inside.then(|| Self(address.wrapping_sub(anchor_address()) as i64))
    }

    /// The entry at this offset, or nothing if it lies outside the code of the executable.
    ///
    /// # Safety
    /// The offset must have been made by [`FunctionOffset::of`] in a process that runs the same
    /// build of the same executable.
    pub(crate) unsafe fn entry(self) -> Option<Entry> {
        let address = anchor_address().wrapping_add(self.0 as usize);
        sys::in_executable(address).then(|| {
            // SAFETY: by the caller's word an `Entry` lies at this distance from the anchor in
            // this very build, and all code of the executable keeps its distances when loaded.
            unsafe { std::mem::transmute::<usize, Entry>(address) }
        })
    }
}

/// The function of type `F` in a process that was not handed one.
///
/// # Safety
/// A value of `F` must exist in the process that sent the call.
pub(crate) unsafe fn conjure<F: Copy + Send + Sync + 'static>() -> F {
    const { assert_stateless::<F>() };
    // SAFETY: `F` has no bytes, so any address that is aligned and not null holds one, and it may
    // be copied, by the caller's word from a value that exists. Rust's functions and closures
    // that capture nothing are all there is: nobody else can implement `Fn` on stable Rust.
    unsafe { std::ptr::NonNull::<F>::dangling().read() }
}

/// Refuses, at compile time, a function that carries state.
pub(crate) const fn assert_stateless<F>() {
    Stateless::<F>::CHECK
}

/// The check as a constant, which the compiler reports once for each `F`, however many ask.
struct Stateless<F>(PhantomData<F>);

impl<F> Stateless<F> {
    const CHECK: () = {
        let stateless = if size_of::<F>() == 0 { Some(()) } else { None };
        // Not `assert!`: the compiler would point into the macro instead of at this line.
        stateless.expect(
            "a task for an executor must be a function or a closure that captures nothing: pass what it \
             captures as an argument (only `ThreadPoolExecutor::submit` takes capturing closures)",
        )
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_finds_its_function_again() {
        fn entry(desk: &mut dyn Desk) {
            desk.claim();
        }
        let offset = FunctionOffset::of(entry).expect("a test's code lies in its executable");
        // SAFETY: this process made the offset.
        let found = unsafe { offset.entry() }.expect("the offset lies in the executable");
        assert_eq!(found as usize, entry as Entry as usize);
    }

    #[test]
    fn an_offset_out_of_the_executable_is_refused() {
        // SAFETY: nothing is called.
        assert!(unsafe { FunctionOffset(i64::MAX).entry() }.is_none());
    }
}
