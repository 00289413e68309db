mod image;
mod thread;
pub(crate) use image::{build_identity, in_executable};
pub(crate) use thread::ThreadName;
pub(crate) fn signal_name(_: i32) -> Option<&'static str> {
    None
}
