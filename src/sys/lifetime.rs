//! A function that borrows, for a thread that outlives the borrow.

/// A function that a thread calls once.
pub(crate) type Call<'a> = Box<dyn FnOnce() + Send + 'a>;

/// The same function, without the lifetime of what it borrows.
///
/// # Safety
/// The result must be called or dropped, and that must have returned, before `'a` ends.
pub(crate) unsafe fn without_lifetime<'a>(call: Call<'a>) -> Call<'static> {
    // SAFETY: the types differ in a lifetime alone, so the layout is the same. The caller ensures that what is borrowed
    // exists for as long as the result.
    unsafe { std::mem::transmute::<Call<'a>, Call<'static>>(call) }
}
