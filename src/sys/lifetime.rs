//! Erases the lifetime of a function that borrows, for a thread that outlives the borrow.

/// A function that a thread calls once.
pub(crate) type Call<'a, R> = Box<dyn FnOnce() -> R + Send + 'a>;

/// The same function, without the lifetime of what it borrows.
///
/// # Safety
/// The result must be called or dropped, and the call or drop must have returned, before `'a` ends.
pub(crate) unsafe fn without_lifetime<'a, R>(call: Call<'a, R>) -> Call<'static, R> {
    // SAFETY: the types differ only in a lifetime, so the layout is the same. The caller ensures that what is borrowed
    // exists for as long as the result.
    unsafe { std::mem::transmute::<Call<'a, R>, Call<'static, R>>(call) }
}
