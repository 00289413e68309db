//! What every handle to a shared object has: it shows itself, and it travels to another process.

/// Implements `Debug`, `Serialize` and `Deserialize` for a handle.
///
/// `sends` is what travels: descriptors, which are an error anywhere but on the way to a process. `receives` makes a
/// handle of what arrives. `shows` must not wait.
macro_rules! shared_handle {
    (
        $name:ident as $handle:ident;
        sends $sent:expr;
        receives $deserializer:ident => $received:expr;
        shows { $($field:ident: $shown:expr),* $(,)? }
    ) => {
        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                let $handle = self;
                f.debug_struct(stringify!($name))
                    $(.field(stringify!($field), &$shown))*
                    .finish()
            }
        }

        /// Serializes only when it is sent to a process; anywhere else this is an error.
        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let $handle = self;
                ::serde::Serialize::serialize(&$sent, serializer)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(
                $deserializer: D,
            ) -> Result<Self, D::Error> {
                $received
            }
        }
    };
}

pub(super) use shared_handle;
