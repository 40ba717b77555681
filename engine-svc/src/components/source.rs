//! Getting the bytes of a component that the store does not have.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use wavs_types::{ComponentDigest, ComponentSource};

use super::error::ComponentError;
use super::store::{ContentStore, Stored};
use crate::downloads::Downloads;
use crate::metrics::Metrics;

/// The ways to a component.
pub(crate) struct Sources {
    store: Arc<ContentStore>,
    downloads: Downloads,
    metrics: Arc<Metrics>,
}

impl Sources {
    pub(crate) fn new(store: Arc<ContentStore>, downloads: Downloads, metrics: Arc<Metrics>) -> Self {
        Self {
            store,
            downloads,
            metrics,
        }
    }

    /// Cancelled when nothing can be downloaded any more.
    pub(crate) fn gone(&self) -> CancellationToken {
        self.downloads.gone()
    }

    /// Whether the store has a file for the component.
    pub(crate) async fn contains(&self, digest: ComponentDigest) -> Result<bool, ComponentError> {
        let store = self.store.clone();
        blocking(move || Ok(store.contains(&digest))).await
    }

    /// Sees to it that the store has the component, intact, from where `source` says if need be.
    pub(crate) async fn fetch(&self, source: ComponentSource) -> Result<(), ComponentError> {
        let digest = source.digest();
        if self.stored(digest).await? {
            return Ok(());
        }
        self.downloads.fetch(source).await?;
        if self.stored(digest).await? {
            return Ok(());
        }
        Err(ComponentError::Storage(format!(
            "component {digest} is damaged or gone right after it was stored"
        )))
    }

    /// Whether the store has the component intact, and of the right kind.
    async fn stored(&self, digest: ComponentDigest) -> Result<bool, ComponentError> {
        let (store, metrics) = (self.store.clone(), self.metrics.clone());
        blocking(move || match store.read(&digest)? {
            Stored::Intact(bytes) => check_header(&bytes, digest).map(|()| true),
            Stored::Damaged => {
                metrics.quarantined();
                Ok(false)
            }
            Stored::Absent => Ok(false),
        })
        .await
    }
}

/// Tells core modules and other files from components, before a compiler looks at them.
///
/// # Errors
/// [`ComponentError::NotAComponent`].
pub(crate) fn check_header(bytes: &[u8], digest: ComponentDigest) -> Result<(), ComponentError> {
    let not = |cause: &str| {
        Err(ComponentError::NotAComponent {
            digest,
            cause: cause.to_owned(),
        })
    };
    match bytes {
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => Ok(()),
        [0, b'a', b's', b'm', _, _, 0, 0, ..] => not("it is a core module"),
        [0, b'a', b's', b'm', ..] => not("its WASM layer is unknown"),
        _ => not("it does not begin like a WASM file"),
    }
}

/// Runs blocking work off the async threads.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T, ComponentError>
where
    F: FnOnce() -> Result<T, ComponentError> + Send + 'static,
    T: Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|cause| Err(ComponentError::Thread(cause.to_string())))
}
