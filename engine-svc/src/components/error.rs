//! What can be wrong with a component.

use wavs_ipc::error::{ErrorCode, WireError};
use wavs_types::ComponentDigest;

/// Why a component cannot be used now. Nothing ran; the caller may try again after the cause is repaired.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ComponentError {
    #[error(
        "No wasm found for digest {0}: upload the component to this node, or name a download or registry source for it"
    )]
    Unknown(ComponentDigest),
    #[error("cannot download component {digest}: {cause}")]
    Fetch { digest: ComponentDigest, cause: String },
    #[error(
        "digest mismatch: {uri} holds a file with digest {found}, but the service document asks for {expected}; publish that version or correct the document"
    )]
    WrongDigest {
        uri: String,
        expected: ComponentDigest,
        found: ComponentDigest,
    },
    #[error("{digest} is not a WASM component: {cause}; build it with a component toolchain")]
    NotAComponent { digest: ComponentDigest, cause: String },
    #[error(
        "the component does not fit the world {world}: {cause}; build it against this world, with no imports beyond it"
    )]
    WrongWorld { world: &'static str, cause: String },
    #[error(
        "component {digest} asks for more than this node gives one instance: {cause}; use fewer or smaller memories, tables and core modules, or have the operator raise the key that bounds them (engine.guest_memory_mb, engine.memories, engine.table_elements, engine.tables, engine.core_instances)"
    )]
    TooLarge { digest: ComponentDigest, cause: String },
    #[error("component {digest} does not compile: {cause}")]
    Compile { digest: ComponentDigest, cause: String },
    #[error("component {digest} could not be compiled on this machine: {cause}")]
    Compiler { digest: ComponentDigest, cause: String },
    #[error(
        "no room to run components can be reserved: {0}; lower engine.workers or engine.memories, or allow the process more address space (ulimit -v)"
    )]
    Engine(String),
    #[error("the work on a component broke off: {0}; try again, and report it if it happens twice")]
    Thread(String),
    #[error("the upload {name:?} cannot be used: {cause}")]
    Upload { name: String, cause: String },
    #[error("the component store of this node failed: {0}; check the disk and the data directory")]
    Storage(String),
}

impl ComponentError {
    /// Whether another attempt cannot end otherwise, so that the failure is worth remembering.
    pub(crate) fn is_permanent(&self) -> bool {
        matches!(
            self,
            Self::NotAComponent { .. } | Self::WrongWorld { .. } | Self::TooLarge { .. } | Self::Compile { .. }
        )
    }
}

impl From<ComponentError> for WireError {
    fn from(cause: ComponentError) -> Self {
        let code = match &cause {
            ComponentError::Fetch { .. } => ErrorCode::Fetch,
            ComponentError::Engine(_) | ComponentError::Thread(_) | ComponentError::Storage(_) => ErrorCode::Internal,
            ComponentError::Upload { .. } => ErrorCode::Invalid,
            _ => ErrorCode::Component,
        };
        match &cause {
            ComponentError::Upload { .. } => Self::never(code, cause.to_string()),
            _ => Self::backoff(code, cause.to_string()),
        }
    }
}
