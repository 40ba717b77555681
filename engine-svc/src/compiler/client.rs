//! The compiler as the rest of engine-svc sees it: ask for code by digest, wait, and load it.

use tokio_util::sync::CancellationToken;
use wavs_types::ComponentDigest;

use super::cache::CodeCache;
use super::process::CompileHost;
use super::protocol::{Outcome, Request};
use crate::components::ComponentError;
use crate::helper::Helper;
use crate::runtime::Variant;

/// The connection to the compile host.
pub(crate) struct Compiler {
    cache: CodeCache,
    host: Helper<Request, Outcome>,
}

impl Compiler {
    /// Takes over the host.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(crate) fn start(host: CompileHost) -> std::io::Result<Self> {
        let CompileHost { pipes, cache } = host;
        let host = Helper::start("compile host", pipes)?;
        Ok(Self { cache, host })
    }

    /// The cache that the host writes.
    pub(crate) fn cache(&self) -> &CodeCache {
        &self.cache
    }

    /// Cancelled when the host is gone. Nothing compiles any more; what is in the cache still runs.
    pub(crate) fn gone(&self) -> CancellationToken {
        self.host.gone()
    }

    /// Has the code of a component that is in the store put into the cache; over what is there, if `replace`.
    ///
    /// # Errors
    /// [`ComponentError::Compile`] when the component is at fault, [`ComponentError::Compiler`] when this machine is.
    pub(crate) async fn compile(
        &self,
        digest: ComponentDigest,
        variant: Variant,
        replace: bool,
    ) -> Result<(), ComponentError> {
        let request = Request {
            digest,
            variant,
            replace,
        };
        match self.host.ask(request).await {
            Ok(Outcome::Stored) => Ok(()),
            Ok(Outcome::Rejected(cause)) => Err(ComponentError::Compile { digest, cause }),
            Ok(Outcome::Failed(cause)) | Err(cause) => Err(ComponentError::Compiler { digest, cause }),
        }
    }
}
