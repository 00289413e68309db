//! What can be submitted: a function of up to eight arguments.
//!
//! Each implementation has a marker of its own. So a function of one argument that is a tuple and a
//! function of several arguments do not overlap; rustc infers the marker.

use std::fmt;

use self::sealed::InitializerOutput;
pub(crate) use self::sealed::{Function, Unfinished};

/// A function that can be called with `Args`: its one argument as it is, or a tuple for none or for two to eight.
///
/// Every function and closure implements it, as does [`Async`](crate::Async) around an async one. The trait is sealed:
/// no other type can. The marker only keeps the implementations apart.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function that takes `{Args}`",
    label = "not callable with these arguments",
    note = "one argument is passed as it is, several as a tuple, none as `()`"
)]
pub trait Task<Args, Marker>: sealed::Function<Args, Marker> {
    /// What the function returns.
    type Output;

    /// Calls the function.
    fn call(self, args: Args) -> Self::Output;

    /// Calls the function in a worker, which may drop its future.
    #[doc(hidden)]
    #[inline]
    fn run(self, args: Args) -> Result<Self::Output, Unfinished>
    where
        Self: Sized,
    {
        Ok(self.call(args))
    }
}

/// A [`Task`] that can be called any number of times, from several threads at a time: a function or
/// a closure that is [`Fn`].
///
/// Every function and closure that is `Fn` implements it. The trait is sealed: no other type can.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function that `map` can call with each `{Args}`",
    label = "not callable by reference with these arguments",
    note = "`map` calls its function once an item: it must be `Fn`, so it may capture but neither consume nor change what it captures",
    note = "one argument is passed as it is, several as a tuple, none as `()`",
    note = "to map three lists, turn the items of `a.zip(b).zip(c)` into tuples of three: `.map(|((x, y), z)| (x, y, z))`"
)]
pub trait MapTask<Args, Marker>: Task<Args, Marker> {
    /// Calls the function.
    fn call_shared(&self, args: Args) -> Self::Output;

    /// Calls the function in a worker, which may drop its future.
    #[doc(hidden)]
    #[inline]
    fn run_shared(&self, args: Args) -> Result<Self::Output, Unfinished> {
        Ok(self.call_shared(args))
    }
}

/// What an initializer may return: `()`, or a `Result` whose error says why it failed.
///
/// The trait is sealed: `()` and `Result<(), E>` are the only types that implement it.
#[diagnostic::on_unimplemented(
    message = "an initializer cannot return `{Self}`",
    label = "returns `{Self}`",
    note = "an initializer returns `()`, or `Result<(), E>` where `E` implements `Display`"
)]
pub trait Initialized: sealed::InitializerOutput {
    /// The text of the error, if there is one.
    fn into_error(self) -> Option<String>;
}

impl InitializerOutput for () {}

impl Initialized for () {
    fn into_error(self) -> Option<String> {
        None
    }
}

impl<E: std::fmt::Display> InitializerOutput for Result<(), E> {}

impl<E: std::fmt::Display> Initialized for Result<(), E> {
    fn into_error(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}

/// Traits that other crates cannot name, and so cannot implement.
mod sealed {
    #[expect(
        unnameable_types,
        reason = "sealed: only this crate says what a task is"
    )]
    pub trait Function<Args, Marker> {
        /// Whether its result is a future, which the worker drives.
        const IS_ASYNC: bool = false;

        /// Its path, for errors and spans.
        fn path() -> &'static str {
            std::any::type_name::<Self>()
        }
    }

    /// Why a function has no result, although it was called or was to be called.
    #[expect(unnameable_types, reason = "what a sealed method returns")]
    #[derive(Debug)]
    pub enum Unfinished {
        /// Its future was dropped, because its result is no longer wanted.
        Dropped,
        /// The worker has no runtime for its future.
        NoRuntime(std::io::Error),
    }

    #[expect(
        unnameable_types,
        reason = "sealed: only this crate says what an initializer returns"
    )]
    pub trait InitializerOutput {}
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped => f.write_str("its future was dropped"),
            Self::NoRuntime(error) => {
                write!(
                    f,
                    "its worker cannot build the runtime that drives its future: {error}"
                )
            }
        }
    }
}

/// Marks a function of one argument, passed as it is.
#[derive(Debug)]
pub struct Unary(());

/// Marks a function of as many arguments as `Arity`, a tuple of units, is long.
#[derive(Debug)]
pub struct Nary<Arity>(std::marker::PhantomData<Arity>);

impl<F, A, R> Function<A, Unary> for F where F: FnOnce(A) -> R {}

impl<F, A, R> Task<A, Unary> for F
where
    F: FnOnce(A) -> R,
{
    type Output = R;

    fn call(self, args: A) -> R {
        self(args)
    }
}

impl<F, A, R> MapTask<A, Unary> for F
where
    F: Fn(A) -> R,
{
    fn call_shared(&self, args: A) -> R {
        self(args)
    }
}

impl<F, R> Function<(), Nary<()>> for F where F: FnOnce() -> R {}

impl<F, R> Task<(), Nary<()>> for F
where
    F: FnOnce() -> R,
{
    type Output = R;

    fn call(self, (): ()) -> R {
        self()
    }
}

impl<F, R> MapTask<(), Nary<()>> for F
where
    F: Fn() -> R,
{
    fn call_shared(&self, (): ()) -> R {
        self()
    }
}

macro_rules! unit {
    ($_:ident) => {
        ()
    };
}

macro_rules! nary {
    ($($arg:ident: $Arg:ident),*) => {
        impl<F, R, $($Arg,)*> Function<($($Arg,)*), Nary<($(unit!($Arg),)*)>> for F
        where
            F: FnOnce($($Arg),*) -> R,
        {
        }

        impl<F, R, $($Arg,)*> Task<($($Arg,)*), Nary<($(unit!($Arg),)*)>> for F
        where
            F: FnOnce($($Arg),*) -> R,
        {
            type Output = R;

            fn call(self, ($($arg,)*): ($($Arg,)*)) -> R {
                self($($arg),*)
            }
        }

        impl<F, R, $($Arg,)*> MapTask<($($Arg,)*), Nary<($(unit!($Arg),)*)>> for F
        where
            F: Fn($($Arg),*) -> R,
        {
            fn call_shared(&self, ($($arg,)*): ($($Arg,)*)) -> R {
                self($($arg),*)
            }
        }
    };
}

// No tuple of one: a function of one argument implements only `Unary`. So rustc infers the argument from the function,
// and says "expected `u64`, found `&str`".
nary!(a: A, b: B);
nary!(a: A, b: B, c: C);
nary!(a: A, b: B, c: C, d: D);
nary!(a: A, b: B, c: C, d: D, e: E);
nary!(a: A, b: B, c: C, d: D, e: E, f: G);
nary!(a: A, b: B, c: C, d: D, e: E, f: G, g: H);
nary!(a: A, b: B, c: C, d: D, e: E, f: G, g: H, h: I);
