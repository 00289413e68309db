//! Replaces the isolation on systems and processors other than those that [`UNSUPPORTED`] names, and without the
//! feature `isolation`. No process can then be isolated.

use std::convert::Infallible;
use std::io;
use std::path::Path;

const UNSUPPORTED: &str = "an isolation, which needs Linux on x86-64, ARM64 or RISC-V 64";

fn unsupported<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, UNSUPPORTED))
}

/// What this system lacks for a complete isolation.
#[cfg_attr(
    not(feature = "isolation"),
    allow(dead_code, reason = "only an isolation uses it")
)]
pub(crate) fn missing_for_isolation(_: bool) -> Vec<&'static str> {
    vec![UNSUPPORTED]
}

#[cfg_attr(
    not(feature = "isolation"),
    allow(dead_code, reason = "only an isolation uses it")
)]
pub(crate) fn check_change_of_user() -> io::Result<()> {
    unsupported()
}

pub(crate) fn check_no_other_thread() -> io::Result<()> {
    unsupported()
}

pub(crate) fn forbid_new_privileges() -> io::Result<()> {
    unsupported()
}

pub(crate) fn leave_network(_: bool) -> io::Result<()> {
    unsupported()
}

pub(crate) fn change_user(_: u32, _: u32) -> io::Result<()> {
    unsupported()
}

pub(crate) fn drop_capabilities() -> io::Result<()> {
    unsupported()
}

pub(crate) fn deny_calls(_: bool, _: Option<u32>) -> io::Result<()> {
    unsupported()
}

/// What a process may access.
pub(crate) struct AccessRules(Infallible);

impl AccessRules {
    pub(crate) fn new(_: bool, _: bool) -> io::Result<Self> {
        unsupported()
    }

    pub(crate) fn limits_signals(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn allow_read(&mut self, _: &Path) -> io::Result<()> {
        match self.0 {}
    }

    pub(crate) fn allow_write(&mut self, _: &Path) -> io::Result<()> {
        match self.0 {}
    }

    pub(crate) fn allow_execute(&mut self, _: &Path) -> io::Result<()> {
        match self.0 {}
    }

    pub(crate) fn allow_connect(&mut self, _: u16) -> io::Result<()> {
        match self.0 {}
    }

    pub(crate) fn allow_bind(&mut self, _: u16) -> io::Result<()> {
        match self.0 {}
    }

    pub(crate) fn apply(self) -> io::Result<()> {
        match self.0 {}
    }
}
