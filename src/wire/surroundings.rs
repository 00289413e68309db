//! The variables that a forked process changes in its environment before it does anything else. They travel in a file
//! in memory, because an environment may be larger than a message to a fork server.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::chain::{Chain, Reader};
use super::codec;
use super::declare::message;
use crate::sys::{self, OwnedFd};

/// A text of the system, which need not be UTF-8. Encoded as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SystemText(pub(crate) OsString);

message! {
    /// The differences between two environments.
    #[derive(Debug, PartialEq, Eq)]
    pub(crate) struct VariableChanges {
        pub(crate) removed: Vec<SystemText>,
        /// Names and values.
        pub(crate) set: Vec<(SystemText, SystemText)>,
    }
}

impl VariableChanges {
    /// What turns one environment into the other. `None` if they are equal.
    pub(crate) fn between(
        old: &BTreeMap<OsString, OsString>,
        new: &BTreeMap<OsString, OsString>,
    ) -> Option<Self> {
        if old == new {
            return None;
        }
        let text = |text: &OsString| SystemText(text.clone());
        let removed = old.keys().filter(|name| !new.contains_key(*name));
        let set = new
            .iter()
            .filter(|(name, value)| old.get(*name) != Some(value));
        Some(Self {
            removed: removed.map(text).collect(),
            set: set.map(|(name, value)| (text(name), text(value))).collect(),
        })
    }

    pub(crate) fn to_file(&self) -> io::Result<OwnedFd> {
        let mut out = Chain::new();
        codec::put_encoded(self, &mut out).expect("a message can be encoded");
        let len = out.len();
        sys::file_of(len, out.pieces())
    }

    pub(crate) fn from_file(file: &OwnedFd) -> io::Result<Self> {
        let len = usize::try_from(sys::file_len(file)?).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        sys::read_file(file, len, &mut bytes)?;
        Self::parse(bytes.into()).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// `None` if the bytes are invalid.
    fn parse(mut bytes: Reader) -> Option<Self> {
        let changes = codec::get(&mut bytes).ok()?;
        bytes.is_empty().then_some(changes)
    }
}

impl AsRef<OsStr> for SystemText {
    fn as_ref(&self) -> &OsStr {
        &self.0
    }
}

impl Serialize for SystemText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0.as_encoded_bytes())
    }
}

impl<'de> Deserialize<'de> for SystemText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Bytes::deserialize(deserializer)?;
        Ok(Self(sys::os_string(bytes.to_vec())))
    }
}

#[cfg(all(test, properties))]
#[path = "../../tests/properties/wire/surroundings.rs"]
mod tests;
