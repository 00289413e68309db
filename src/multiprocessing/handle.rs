//! What every handle to a shared object has: a clone refers to the same object, `Debug` shows its state, and it travels
//! to another process.

/// Implements `Serialize` and `Deserialize` for a handle, and on request `Clone` and `Debug`.
///
/// - `sends` is what travels: descriptors, which are an error except on the way to a process.
/// - `receives` creates a handle from what arrives. Only this needs the bounds of the parameters.
/// - `clones` names all fields. A handle with parameters has it, because a derived `Clone` would require the parameters
///   to be `Clone`.
/// - `shows` must not wait.
macro_rules! shared_handle {
    (
        $name:ident $(<$($param:ident $(: $bound:path)?),+>)? as $handle:ident;
        sends $sent:expr;
        receives $deserializer:ident => $received:expr;
        $(clones { $($part:tt),+ })?
        $(shows { $($field:ident: $shown:expr),* $(,)? })?
    ) => {
        /// Serializes only when it is sent to a process; anywhere else this is an error.
        impl $(<$($param),+>)? ::serde::Serialize for $name $(<$($param),+>)? {
            fn serialize<Z: ::serde::Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
                let $handle = self;
                ::serde::Serialize::serialize(&$sent, serializer)
            }
        }

        impl<'de $(, $($param $(: $bound)?),+)?> ::serde::Deserialize<'de>
            for $name $(<$($param),+>)?
        {
            fn deserialize<Z: ::serde::Deserializer<'de>>(
                $deserializer: Z,
            ) -> Result<Self, Z::Error> {
                $received
            }
        }

        $crate::multiprocessing::handle::shared_handle! {
            @clone $name [$($($param),+)?] $handle [$($($part),+)?]
        }
        $crate::multiprocessing::handle::shared_handle! {
            @debug $name [$($($param),+)?] $handle $({ $($field: $shown),* })?
        }
    };

    (@clone $name:ident [$($param:ident),*] $handle:ident []) => {};
    (@clone $name:ident [$($param:ident),*] $handle:ident [$($part:tt),+]) => {
        /// A handle to the same object.
        impl<$($param),*> Clone for $name<$($param),*> {
            fn clone(&self) -> Self {
                let $handle = self;
                Self { $($part: Clone::clone(&$handle.$part)),+ }
            }
        }
    };

    (@debug $name:ident [$($param:ident),*] $handle:ident) => {};
    (@debug $name:ident [$($param:ident),*] $handle:ident { $($field:ident: $shown:expr),* }) => {
        /// Shows what can be read without waiting.
        impl<$($param),*> ::std::fmt::Debug for $name<$($param),*> {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                let $handle = self;
                let _ = $handle;
                f.debug_struct(stringify!($name))
                    $(.field(stringify!($field), &$shown))*
                    .finish_non_exhaustive()
            }
        }
    };
}

pub(super) use shared_handle;
