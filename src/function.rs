//! A function as a number. A worker runs the same executable as its parent. So each function has the same
//! distance from a fixed one, the anchor, in both; only the load address differs. This is the one file
//! besides `sys` with unsafe code: it turns the distance back into a function, and creates a function item
//! from its type alone.

#![expect(
    unsafe_code,
    reason = "a function is called by its distance from the anchor"
)]

use std::marker::PhantomData;

use crate::sys;
pub(crate) use crate::wire::FunctionOffset;
use crate::wire::descriptors::Descriptor;
use crate::wire::outcomes::ItemFailure;
use crate::wire::{Chain, Reader};

/// What a worker calls to run a task's function: for each item, arguments in, outcome out.
pub(crate) type EntryPoint = fn(&mut dyn Desk);

/// Where an entry point gets the items of a call and leaves their outcomes.
pub(crate) trait Desk {
    /// How many items at the front of the input this call skips.
    fn skip(&self) -> u32;

    /// The rest of the input, to skip items.
    fn input(&mut self) -> &mut Reader;

    /// Claims the first item. Returns false if it is no longer wanted. After true, the entry point takes
    /// the `item` and calls `answer`.
    fn claim(&mut self) -> bool;

    /// The reader of the item's arguments, the descriptors that came with them, and the chain for its
    /// value.
    fn item(&mut self) -> (&mut Reader, &mut Vec<Descriptor>, &mut Chain);

    /// Records the outcome of the item and claims the next one. Returns false if there is no next item or it is no
    /// longer wanted.
    fn answer(&mut self, answer: Answer) -> bool;

    /// As `answer(Ok(()))`, in about half of the time: a `Result` of this size passes through memory.
    fn answer_value(&mut self) -> bool;
}

/// How one item ended. If it has a value, the value is in the chain that `item` returned.
pub(crate) type Answer = Result<(), ItemFailure>;

/// The fixed function. Its body must differ from every other function's: the linker may merge equal ones.
#[inline(never)]
fn anchor(desk: &mut dyn Desk) {
    std::hint::black_box(desk.skip());
    std::hint::black_box("the anchor of concurrent-futures");
}

fn anchor_address() -> usize {
    anchor as EntryPoint as usize
}

/// What an entry point does with its function.
pub(crate) trait Serve<F> {
    fn serve(function: F, desk: &mut dyn Desk);
}

/// The entry point of a function: it serves the function with `S`. The argument proves that a value of the type exists.
pub(crate) fn entry_point<F: Copy + Send + Sync + 'static, S: Serve<F>>(_: &F) -> EntryPoint {
    enter::<F, S>
}

/// Serves a function that it creates from its type.
fn enter<F: Copy + Send + Sync + 'static, S: Serve<F>>(desk: &mut dyn Desk) {
    const { assert_stateless::<F>() };
    // SAFETY: `F` has no bytes, so every address that is aligned and not null holds a value of it. A value
    // exists, and is `Copy`: only `entry_point` returns the address of this function, and it takes a value, here or
    // in the parent.
    let function = unsafe { std::ptr::NonNull::<F>::dangling().read() };
    S::serve(function, desk);
}

/// Why workers, which run this executable again, would not find functions. `None` if they would.
pub(crate) fn why_unreachable() -> Option<String> {
    if sys::in_executable(anchor_address()) {
        return None;
    }
    let library = sys::library_of(anchor_address());
    let library = library.map_or_else(String::new, |path| format!(" {}", path.display()));
    Some(format!(
        "a worker process is this executable, started again, but concurrent-futures is part of the shared library\
         {library}, where a worker would not find its functions; link the crate into the executable, or use a \
         ThreadPoolExecutor"
    ))
}

impl FunctionOffset {
    /// The offset of an entry point. `None` if it is not in the main executable: a shared library may have another
    /// address in a worker.
    pub(crate) fn of(entry: EntryPoint) -> Option<Self> {
        let address = entry as usize;
        let both_inside = sys::in_executable(address) && sys::in_executable(anchor_address());
        both_inside.then(|| Self(address.wrapping_sub(anchor_address()) as i64))
    }

    /// The entry point at this offset. `None` if it is outside the executable's code.
    ///
    /// # Safety
    /// [`of`](Self::of) has returned it, in this process or in another one of the same build.
    pub(crate) unsafe fn entry(self) -> Option<EntryPoint> {
        let address = anchor_address().wrapping_add(self.0 as usize);
        sys::in_executable(address).then(|| {
            // SAFETY: an `EntryPoint` is at this distance from the anchor, by the caller's promise: loading an
            // executable keeps the distances within its code.
            unsafe { std::mem::transmute::<usize, EntryPoint>(address) }
        })
    }
}

/// Rejects a function with state at compile time.
pub(crate) const fn assert_stateless<F>() {
    Stateless::<F>::CHECK
}

/// The check as a constant, so that the compiler reports it once for each `F`.
struct Stateless<F>(PhantomData<F>);

impl<F> Stateless<F> {
    const CHECK: () = {
        let stateless = if size_of::<F>() == 0 { Some(()) } else { None };
        // `F` is `Copy`. So this is a function pointer, or a closure that has captured one or a reference.
        let is_pointer =
            size_of::<F>() == size_of::<usize>() && size_of::<Option<F>>() == size_of::<F>();
        // Not `assert!`: the compiler would point into the macro instead of at this line.
        if is_pointer {
            stateless.expect(
                "a function pointer cannot be a task for an executor, and a closure cannot capture one or a reference: \
                 name the function itself (`pool.submit(double, 2)`), or choose one in the task, by an argument (the \
                 methods of `ThreadPoolExecutor` itself take pointers, and closures that capture)",
            );
        }
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

    /// A desk that the test does not use.
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

        fn answer_value(&mut self) -> bool {
            false
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
        let offset = FunctionOffset::of(entry_point::<_, Probe>(&function));
        let offset = offset.expect("a test's code lies in its executable");
        // SAFETY: `of` returned it.
        let entry = unsafe { offset.entry() };
        entry.expect("the offset is inside the executable")(&mut Bare);
        assert_eq!(CALLS.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn an_offset_out_of_the_executable_is_refused() {
        // SAFETY: the offset is outside the executable, so no function pointer is made from it.
        assert!(unsafe { FunctionOffset(i64::MAX).entry() }.is_none());
    }
}
