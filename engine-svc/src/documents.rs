//! Service documents, parsed once per version rather than once per run.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use wavs_ipc::{Json, WireError};
use wavs_types::{Service, ServiceDigest};

/// Parsed documents in memory; the one unused for the longest time is dropped and parsed again when needed.
const DOCUMENTS: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// The parsed documents.
pub(crate) struct Documents(Mutex<LruCache<ServiceDigest, Arc<Service>>>);

impl Default for Documents {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(DOCUMENTS)))
    }
}

impl Documents {
    /// The document of that digest, which the caller has checked.
    ///
    /// # Errors
    /// When the text is not a service document.
    pub(crate) fn get(&self, digest: ServiceDigest, text: &Json<Service>) -> Result<Arc<Service>, WireError> {
        if let Some(known) = self.lock().get(&digest) {
            return Ok(known.clone());
        }
        let service = Arc::new(text.decode()?);
        self.lock().put(digest, service.clone());
        Ok(service)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<ServiceDigest, Arc<Service>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
