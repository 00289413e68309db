//! What can be submitted: a function of up to eight arguments, and arguments that can travel.
//!
//! Each implementation carries a marker of its own, so that a function of one argument that is a
//! tuple and a function of several arguments do not overlap; rustc infers the marker.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wire::{Chain, CodecError, Reader, codec};

/// A function that can be called with `Args`: its one argument as it is, or a tuple of none or of
/// two to eight.
///
/// Every function and closure implements it. The trait is sealed: no other type can. The marker only
/// keeps the implementations apart.
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
}

/// Data that can travel to another process and back.
///
/// Implemented for every type that serde can both write and read. Whatever survives a trip through
/// serde_json survives this one, with these exceptions: types that only serde_json knows how to
/// treat (`RawValue`), and, inside an untagged enum, a unit struct or bytes beside text. What JSON
/// loses is lost here too: `Some(None)` and `Some(())` come back as `None`, and a value may nest
/// at most 128 deep. Keys of maps may be of any type.
///
/// `Bytes`, `String`, `Vec<u8>` and vectors of other numbers travel as the bytes they are, at the
/// cost of a memory copy, where they are an argument, one of several, or the result. Inside other
/// types they are encoded element by element.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel to another process",
    label = "needs serde's `Serialize` and `DeserializeOwned`, `Send` and `'static`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it, or run the task on threads: `ThreadPoolExecutor::submit` asks for neither"
)]
pub trait Data: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> Data for T {}

/// Arguments that can travel to another process. Each is encoded by itself, so that bulk data
/// among them is copied rather than encoded element by element.
///
/// [`Data`] implements it, and so do tuples of up to eight. The trait is sealed: no other type can.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel to another process",
    label = "needs serde's `Serialize` and `DeserializeOwned`, `Send` and `'static`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it, or run the task on threads: `ThreadPoolExecutor::submit` asks for neither"
)]
pub trait Arguments<Marker>: sealed::Encode<Marker> + Send + 'static {}

impl<A, Marker> Arguments<Marker> for A where A: sealed::Encode<Marker> + Send + 'static {}

pub(crate) use sealed::Encode;
use sealed::{Function, InitializerOutput};

/// What an initializer may return: nothing, or a `Result` whose error says why it failed.
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

/// What no other crate can name, and so cannot implement.
mod sealed {
    use super::{Chain, CodecError, Reader};

    #[expect(
        unnameable_types,
        reason = "sealed: only this crate says what a task is"
    )]
    pub trait Function<Args, Marker> {}

    #[expect(
        unnameable_types,
        reason = "sealed: only this crate says what an initializer returns"
    )]
    pub trait InitializerOutput {}

    #[expect(unnameable_types, reason = "sealed: only this crate encodes arguments")]
    pub trait Encode<Marker>: Sized {
        fn encode(self, out: &mut Chain) -> Result<(), CodecError>;
        fn decode(input: &mut Reader) -> Result<Self, CodecError>;
        fn skip(input: &mut Reader) -> Result<(), CodecError>;
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

impl<A: Data> Encode<Unary> for A {
    fn encode(self, out: &mut Chain) -> Result<(), CodecError> {
        codec::put(self, out)
    }

    fn decode(input: &mut Reader) -> Result<Self, CodecError> {
        codec::get(input)
    }

    fn skip(input: &mut Reader) -> Result<(), CodecError> {
        codec::skip(input)
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

impl Encode<Nary<()>> for () {
    fn encode(self, _: &mut Chain) -> Result<(), CodecError> {
        Ok(())
    }

    fn decode(_: &mut Reader) -> Result<Self, CodecError> {
        Ok(())
    }

    fn skip(_: &mut Reader) -> Result<(), CodecError> {
        Ok(())
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

        impl<$($Arg: Data,)*> Encode<Nary<($(unit!($Arg),)*)>> for ($($Arg,)*) {
            fn encode(self, out: &mut Chain) -> Result<(), CodecError> {
                let ($($arg,)*) = self;
                $(codec::put($arg, out)?;)*
                Ok(())
            }

            fn decode(input: &mut Reader) -> Result<Self, CodecError> {
                // All are taken out before the first is decoded: one that fails must not leave the others to the next item.
                $(let mut $arg = codec::next(input)?;)*
                Ok(($(codec::get::<$Arg>(&mut $arg)?,)*))
            }

            fn skip(input: &mut Reader) -> Result<(), CodecError> {
                [$(stringify!($arg)),*].into_iter().try_for_each(|_| codec::skip(input))
            }
        }
    };
}

// No tuple of one: for a function of one argument only `Unary` is left, so rustc knows from the
// function what is to be passed, infers it, and says "expected `u64`, found `&str`".
nary!(a: A, b: B);
nary!(a: A, b: B, c: C);
nary!(a: A, b: B, c: C, d: D);
nary!(a: A, b: B, c: C, d: D, e: E);
nary!(a: A, b: B, c: C, d: D, e: E, f: G);
nary!(a: A, b: B, c: C, d: D, e: E, f: G, g: H);
nary!(a: A, b: B, c: C, d: D, e: E, f: G, g: H, h: I);
