//! Arguments and results that can travel to another process.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::task::{Nary, Unary};
#[cfg(feature = "cluster")]
use crate::wire::shape;
use crate::wire::{Chain, CodecError, Reader, codec};

/// Data that can travel to another process and back.
///
/// Implemented for every type that serde can both write and read. Whatever survives a round trip through serde_json
/// survives this one, with two exceptions: types that only serde_json knows (`RawValue`), and bytes beside text inside
/// an untagged enum. Keys of maps may be of any type, and a `Some` around nothing (`Some(None)`, `Some(())`) stays a
/// `Some`.
///
/// # Limits
///
/// A value that exceeds a limit is an error where it is sent, and nothing of it is sent:
///
/// - lists, maps, structs and variants nest at most 128 levels deep;
/// - text, bytes, a list or a map inside another value has at most `u32::MAX` bytes, elements or
///   entries. An argument or result that is `Bytes`, a `String` or a vector of numbers by itself has
///   no such limit.
///
/// # Cost
///
/// | | as an argument, item or result by itself | inside a tuple, struct, `Option` or list |
/// |---|---|---|
/// | `Bytes`, `String` | a memory copy | a memory copy |
/// | `Vec<u8>` with `#[serde(with = "serde_bytes")]` | | a memory copy |
/// | `Vec<u8>`, vectors of other numbers | a memory copy | about 1 ns for each element |
/// | anything else | some ns for each part | some ns for each part |
///
/// So use `Bytes` or the crate [`serde_bytes`](https://docs.rs/serde_bytes) for many bytes inside
/// another type: serde passes the elements of a `Vec<u8>` one at a time.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel to another process",
    label = "needs serde's `Serialize` and `DeserializeOwned`, `Send` and `'static`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it, or run the task on threads: the methods of `ThreadPoolExecutor` need neither",
    note = "each part of it needs them, too; an error without serde can travel as its text, in a `Result<T, String>`",
    note = "a future is driven where its function is called: submit an `async fn` with `submit_async`, or pass `Async(function)` to the other methods"
)]
pub trait Data: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend] // The message names the whole type, with the notes above.
impl<T: Serialize + DeserializeOwned + Send + 'static> Data for T {}

/// Arguments that can travel to another process. Each is encoded by itself, so bulk data among them
/// is copied rather than encoded element by element.
///
/// [`Data`] implements it, and so do tuples of up to eight. The trait is sealed: no other type can.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel to another process",
    label = "needs serde's `Serialize` and `DeserializeOwned`, `Send` and `'static`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it, or run the task on threads: the methods of `ThreadPoolExecutor` need neither",
    note = "to map three lists, turn the items of `a.zip(b).zip(c)` into tuples of three: `.map(|((x, y), z)| (x, y, z))`"
)]
pub trait Arguments<Marker>: sealed::Encode<Marker> + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<A, Marker> Arguments<Marker> for A where A: sealed::Encode<Marker> + Send + 'static {}

pub(crate) use sealed::Encode;

mod sealed {
    use super::{Chain, CodecError, Reader};

    #[expect(unnameable_types, reason = "sealed: only this crate encodes arguments")]
    pub trait Encode<Marker>: Sized {
        fn encode(self, out: &mut Chain) -> Result<(), CodecError>;
        fn decode(input: &mut Reader) -> Result<Self, CodecError>;
        fn skip(input: &mut Reader) -> Result<(), CodecError>;
        /// How each argument is encoded, as text.
        #[cfg(feature = "cluster")]
        fn forms() -> Vec<&'static str>;
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

    #[cfg(feature = "cluster")]
    fn forms() -> Vec<&'static str> {
        vec![shape::form::<A>()]
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

    #[cfg(feature = "cluster")]
    fn forms() -> Vec<&'static str> {
        Vec::new()
    }
}

macro_rules! unit {
    ($_:ident) => {
        ()
    };
}

macro_rules! nary {
    ($($arg:ident: $Arg:ident),*) => {
        impl<$($Arg: Data,)*> Encode<Nary<($(unit!($Arg),)*)>> for ($($Arg,)*) {
            fn encode(self, out: &mut Chain) -> Result<(), CodecError> {
                let ($($arg,)*) = self;
                $(codec::put($arg, out)?;)*
                Ok(())
            }

            fn decode(input: &mut Reader) -> Result<Self, CodecError> {
                // All arguments are taken out before the first is decoded: if one cannot be decoded, the next item must
                // not read the others.
                $(let mut $arg = codec::next(input)?;)*
                Ok(($(codec::get::<$Arg>(&mut $arg)?,)*))
            }

            fn skip(input: &mut Reader) -> Result<(), CodecError> {
                [$(stringify!($arg)),*].into_iter().try_for_each(|_| codec::skip(input))
            }

            #[cfg(feature = "cluster")]
            fn forms() -> Vec<&'static str> {
                vec![$(shape::form::<$Arg>()),*]
            }
        }
    };
}

// No tuple of one, as for `Task`.
nary!(a: A, b: B);
nary!(a: A, b: B, c: C);
nary!(a: A, b: B, c: C, d: D);
nary!(a: A, b: B, c: C, d: D, e: E);
nary!(a: A, b: B, c: C, d: D, e: E, f: G);
nary!(a: A, b: B, c: C, d: D, e: E, f: G, g: H);
nary!(a: A, b: B, c: C, d: D, e: E, f: G, g: H, h: I);
