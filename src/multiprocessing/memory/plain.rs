//! What memory that processes share can hold.

use bytemuck::Pod;

/// Data that a [`Value`](super::Value) and an [`Array`](super::Array) can hold: every type that is [`Pod`], such as
/// numbers, arrays of numbers, and [structures](super::Value#structures) of them.
///
/// Other processes read its bytes as they are. So it has no pointers, which mean nothing in another process, and no
/// padding, whose bytes have no value.
///
/// ```
/// use concurrent_futures::multiprocessing::{PlainData, Value};
///
/// fn share<T: PlainData>(data: T) -> std::io::Result<Value<T>> {
///     Value::new(data)
/// }
/// assert_eq!(share([1_u32, 2])?.blocking_get(), [1, 2]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be in memory that processes share",
    label = "is not plain data: it does not implement `bytemuck::Pod`",
    note = "numbers and arrays of numbers are plain data; for a structure of them, derive `bytemuck::Pod` and `bytemuck::Zeroable`, which needs `Clone`, `Copy`, `#[repr(C)]` and no padding",
    note = "for a `bool`, use `AtomicBool` or a number; send text, lists and anything else that serde can write by a `Queue` or a `Pipe`"
)]
pub trait PlainData: Pod {}

#[diagnostic::do_not_recommend] // The message has the notes above.
impl<T: Pod> PlainData for T {}
