//! What a process may use, on every platform. Each platform enforces it in its own way.

/// A limit that a process can set for itself. Both the soft and the hard limit are set, so that it cannot be raised
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Bytes of address space.
    AddressSpace,
    /// Seconds of processor time. At the limit the process gets SIGXCPU, and a second later SIGKILL.
    CpuTime,
    /// Open descriptors.
    OpenFiles,
    /// Bytes of a core dump.
    CoreSize,
    /// What is added to a niceness of 0: from -20 to 19.
    Nice,
}

impl Limit {
    /// The name that users know.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AddressSpace => "address_space",
            Self::CpuTime => "cpu_time",
            Self::OpenFiles => "open_files",
            Self::CoreSize => "core_size",
            Self::Nice => "nice",
        }
    }
}
