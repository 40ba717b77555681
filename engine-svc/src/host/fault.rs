//! Failures of the host while a guest runs.

/// Something on this machine failed during a host call. The run ends and may be repeated; the guest is not to blame.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct HostFault(pub(crate) String);

/// Other runs have what this one wants of the process. It ends and is repeated; nobody is to blame.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Crowded(pub(crate) String);
