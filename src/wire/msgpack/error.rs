//! What is wrong with a value, and in which part of it.

use std::fmt;

/// Why a value cannot be written or read.
#[derive(Debug)]
pub(crate) struct DataError(Box<Details>); // Boxed, so that a `Result` of it fits in one register.

#[derive(Debug)]
struct Details {
    reason: String,
    /// The place of the part, as in `.points[3].name`. Empty if it is the whole value.
    path: String,
}

impl DataError {
    #[cold]
    pub(super) fn new(reason: impl Into<String>) -> Self {
        let (reason, path) = (reason.into(), String::new());
        Self(Box::new(Details { reason, path }))
    }

    #[cold]
    pub(super) fn too_long(what: &str, len: usize, unit: &str) -> Self {
        let most = u32::MAX;
        Self::new(format!(
            "{what} of {len} {unit} is too long inside another value, where at most {most} fit: send it in \
             parts, or text and bytes as an argument or item of their own"
        ))
    }

    #[cold]
    pub(super) fn torn() -> Self {
        Self::new("the bytes end in the middle of a value")
    }

    #[cold]
    pub(super) fn unknown(byte: u8) -> Self {
        Self::new(format!("no value here begins with the byte {byte:#04x}"))
    }

    #[cold]
    pub(super) fn left_over(count: usize) -> Self {
        Self::new(format!("{count} bytes are left over after the value"))
    }

    /// Adds that the error is in the field, or the entry, of this name.
    #[cold]
    pub(super) fn in_field(mut self, name: &str) -> Self {
        self.0.path.insert_str(0, &format!(".{name}"));
        self
    }

    /// Adds that the error is in this element of a list.
    #[cold]
    pub(super) fn in_element(mut self, index: usize) -> Self {
        self.0.path.insert_str(0, &format!("[{index}]"));
        self
    }
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details { reason, path } = &*self.0;
        f.write_str(reason)?;
        match path.strip_prefix('.').unwrap_or(path) {
            "" => Ok(()),
            path => write!(f, " (at `{path}`)"),
        }
    }
}

impl std::error::Error for DataError {}

impl serde::ser::Error for DataError {
    #[cold]
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self::new(reason.to_string())
    }
}

impl serde::de::Error for DataError {
    #[cold]
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self::new(reason.to_string())
    }
}
