//! The variables that a forked process changes in its environment before it does anything else. They travel in
//! a file in memory: an environment may be larger than a message to a fork server.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;

use bytes::BufMut as _;

use super::chain::{Chain, Reader};
use crate::sys::{self, OwnedFd};

/// The differences between two environments.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct VariableChanges {
    pub(crate) removed: Vec<OsString>,
    pub(crate) set: Vec<(OsString, OsString)>,
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
        let removed = old.keys().filter(|name| !new.contains_key(*name));
        let set = new
            .iter()
            .filter(|(name, value)| old.get(*name) != Some(value));
        Some(Self {
            removed: removed.cloned().collect(),
            set: set
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        })
    }

    pub(crate) fn to_file(&self) -> io::Result<OwnedFd> {
        let mut out = Chain::new();
        let bytes = out.tail();
        bytes.put_u32_le(self.removed.len() as u32);
        for name in &self.removed {
            put_text(bytes, name);
        }
        bytes.put_u32_le(self.set.len() as u32);
        for (name, value) in &self.set {
            put_text(bytes, name);
            put_text(bytes, value);
        }
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
        let mut changes = Self::default();
        for _ in 0..bytes.u32()? {
            changes.removed.push(get_text(&mut bytes)?);
        }
        for _ in 0..bytes.u32()? {
            let variable = (get_text(&mut bytes)?, get_text(&mut bytes)?);
            changes.set.push(variable);
        }
        bytes.is_empty().then_some(changes)
    }
}

fn put_text(out: &mut Vec<u8>, text: &OsString) {
    out.put_u32_le(text.len() as u32);
    out.put_slice(text.as_encoded_bytes());
}

fn get_text(bytes: &mut Reader) -> Option<OsString> {
    let len = bytes.u32()? as usize;
    Some(sys::os_string(bytes.take(len)?.to_vec()))
}

#[cfg(all(test, properties))]
#[path = "../../tests/properties/wire/surroundings.rs"]
mod tests;
