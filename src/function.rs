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
use crate::wire::descriptors::Descriptor;
use crate::wire::{Chain, Reader};

/// A task's function as a worker calls it: for each item, arguments in, outcome out.
pub(crate) type EntryPoint = fn(&mut dyn Desk);

/// Where an entry gets the items of a call and leaves their outcomes.
pub(crate) trait Desk {
    /// How many items at the front of the input have been dealt with elsewhere.
    fn skip(&self) -> u32;

    /// The input as it stands, to pass over items.
    fn input(&mut self) -> &mut Reader;

    /// Claims the first item; false if it is no longer wanted. After a true, the entry takes the `item`
    /// and calls `answer`.
    fn claim(&mut self) -> bool;

    /// Where the item's arguments are read from, the descriptors that came beside them, and where its
    /// value is to be put.
    fn item(&mut self) -> (&mut Reader, &mut Vec<Descriptor>, &mut Chain);

    /// Leaves the outcome of the item, and claims the next one; as `claim`, and false if there is none.
    fn answer(&mut self, answer: Answer) -> bool;
}

/// What became of one item.
pub(crate) enum Answer {
    /// The value has been put where it goes.
    Value,
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
    anchor as EntryPoint as usize
}

/// What an entry does with its function, once it has it.
pub(crate) trait Serve<F> {
    fn serve(function: F, desk: &mut dyn Desk);
}

/// The entry of `F`: what a worker calls to have `S` serve with it.
fn enter<F: Copy + Send + Sync + 'static, S: Serve<F>>(desk: &mut dyn Desk) {
    const { assert_stateless::<F>() };
    // SAFETY: `F` has no bytes, so any address that is aligned and not null holds one. It may be
    // copied from the value that `FunctionOffset::of` was called with, in the parent: nothing else
    // gives the address of this function away.
    let function = unsafe { std::ptr::NonNull::<F>::dangling().read() };
    S::serve(function, desk);
}

impl FunctionOffset {
    /// The offset of the entry of a function, or nothing if it does not lie in the main executable:
    /// code of a shared library may lie elsewhere in a worker.
    pub(crate) fn of<F: Copy + Send + Sync + 'static, S: Serve<F>>(_: &F) -> Option<Self> {
        let address = enter::<F, S> as EntryPoint as usize;
        let both_inside = sys::in_executable(address) && sys::in_executable(anchor_address());
        both_inside.then(|| Self(address.wrapping_sub(anchor_address()) as i64))
    }

    /// The entry at this offset, or nothing if it lies outside the code of the executable.
    pub(crate) fn entry(self) -> Option<EntryPoint> {
        let address = anchor_address().wrapping_add(self.0 as usize);
        sys::in_executable(address).then(|| {
            // SAFETY: offsets are made by `of` only, and reach a worker from its parent only, which
            // has compared the identity of its build with the worker's before it sends any (see
            // `process::start`). So an `EntryPoint` lies at this distance from the anchor in this very
            // build, and all code of an executable keeps its distances when it is loaded.
            unsafe { std::mem::transmute::<usize, EntryPoint>(address) }
        })
    }
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
             captures as an argument (the methods of `ThreadPoolExecutor` itself take closures that capture)",
        )
    };
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Probe;

    impl<F: Fn()> Serve<F> for Probe {
        fn serve(function: F, _: &mut dyn Desk) {
            function();
        }
    }

    /// A desk that nobody uses.
    struct Bare;

    impl Desk for Bare {
        fn skip(&self) -> u32 {
            unreachable!()
        }

        fn input(&mut self) -> &mut Reader {
            unreachable!()
        }

        fn claim(&mut self) -> bool {
            unreachable!()
        }

        fn item(&mut self) -> (&mut Reader, &mut Vec<Descriptor>, &mut Chain) {
            unreachable!()
        }

        fn answer(&mut self, _: Answer) -> bool {
            unreachable!()
        }
    }

    #[test]
    fn an_offset_finds_its_function_again() {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        let function = || {
            CALLS.fetch_add(1, Ordering::Relaxed);
        };
        let offset = FunctionOffset::of::<_, Probe>(&function);
        let offset = offset.expect("a test's code lies in its executable");
        offset.entry().expect("the offset lies there")(&mut Bare);
        assert_eq!(CALLS.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn an_offset_out_of_the_executable_is_refused() {
        assert!(FunctionOffset(i64::MAX).entry().is_none());
    }
}
