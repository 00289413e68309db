//! What a process may use, on every platform. How the system enforces it is the platform's.

/// One limit that a process can set for itself, soft and hard, so that it cannot lift it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Bytes of address space.
    AddressSpace,
    /// Seconds of processor time, at whose end comes SIGXCPU; a second later comes SIGKILL.
    CpuTime,
    /// Open descriptors.
    OpenFiles,
    /// Bytes of a core dump.
    CoreSize,
    /// What is added to the niceness of 0: from -20 to 19.
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
