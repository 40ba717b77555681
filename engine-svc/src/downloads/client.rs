//! The download host as the rest of engine-svc sees it.

use tokio_util::sync::CancellationToken;
use wavs_types::ComponentSource;

use super::process::DownloadHost;
use super::protocol::{Outcome, Request};
use crate::components::ComponentError;
use crate::helper::Helper;

/// The connection to the download host.
pub(crate) struct Downloads {
    host: Helper<Request, Outcome>,
}

impl Downloads {
    /// Takes over the host.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(crate) fn start(host: DownloadHost) -> std::io::Result<Self> {
        let host = Helper::start("download host", host.pipes)?;
        Ok(Self { host })
    }

    /// Cancelled when the host is gone, and nothing can be downloaded any more.
    pub(crate) fn gone(&self) -> CancellationToken {
        self.host.gone()
    }

    /// Has a component put into the store, whatever is there already.
    ///
    /// # Errors
    /// [`ComponentError::Unknown`] for a source that names no place, and why it could not be downloaded or stored.
    pub(crate) async fn fetch(&self, source: ComponentSource) -> Result<(), ComponentError> {
        let digest = source.digest();
        let request = Request::of(source).ok_or(ComponentError::Unknown(digest))?;
        let uri = request.place.name();
        match self.host.ask(request).await {
            Ok(Outcome::Stored) => Ok(()),
            Ok(Outcome::WrongDigest(found)) => Err(ComponentError::WrongDigest {
                uri,
                expected: digest,
                found,
            }),
            Ok(Outcome::Failed(cause)) | Err(cause) => Err(ComponentError::Fetch { digest, cause }),
            Ok(Outcome::NotStored(cause)) => Err(ComponentError::Storage(cause)),
        }
    }
}
