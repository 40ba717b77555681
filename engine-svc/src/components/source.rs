//! Getting the bytes of a component that the store does not have.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use sha2::{Digest, Sha256};
use tokio::io::AsyncWrite;
use wavs_fetch::{FetchError, FetchLimits, Fetcher, Package};
use wavs_types::{ComponentDigest, ComponentSource};

use super::error::ComponentError;
use super::store::ContentStore;

/// The ways to a component.
pub(crate) struct Sources {
    store: Arc<ContentStore>,
    fetcher: Fetcher,
    limits: FetchLimits,
    /// One download at a time per digest. An entry lives as long as somebody waits for it.
    downloads: Mutex<HashMap<ComponentDigest, Arc<tokio::sync::Mutex<()>>>>,
}

impl Sources {
    pub(crate) fn new(store: Arc<ContentStore>, fetcher: Fetcher, limits: FetchLimits) -> Self {
        Self {
            store,
            fetcher,
            limits,
            downloads: Mutex::default(),
        }
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
        if let ComponentSource::Digest(_) = source {
            return Err(ComponentError::Unknown(digest));
        }
        let turn = self.turn(digest);
        let result = {
            let _turn = turn.lock().await;
            // Whoever held the turn before may have fetched it.
            match self.stored(digest).await {
                Ok(false) => self.download(source, digest).await,
                stored => stored.map(|_| ()),
            }
        };
        self.leave(digest, turn);
        result
    }

    async fn download(&self, source: ComponentSource, expected: ComponentDigest) -> Result<(), ComponentError> {
        let failed = |cause: FetchError| ComponentError::Fetch {
            digest: expected,
            cause: cause.to_string(),
        };
        let store = self.store.clone();
        // A closure that returns a ready future rather than an async closure: the future of the latter is not provably `Send`.
        let open = move || std::future::ready(Sink::create(store.reserve()));
        let (uri, fetched) = match source {
            ComponentSource::Digest(digest) => return Err(ComponentError::Unknown(digest)),
            ComponentSource::Download { uri, .. } => {
                let fetched = self.fetcher.fetch_into(&uri, self.limits, open).await;
                (uri, fetched)
            }
            // The digest says more than a version does, so the version is not looked up.
            ComponentSource::Registry { domain, package, .. } => {
                let package = Package::new(domain.as_deref(), &package, &expected.to_string()).map_err(failed)?;
                let fetched = self.fetcher.fetch_package_into(&package, self.limits, open).await;
                (package.uri(), fetched)
            }
        };
        let sink = fetched.map_err(failed)?;
        let found = sink.digest();
        if found != expected {
            return Err(ComponentError::WrongDigest { uri, expected, found });
        }
        let store = self.store.clone();
        blocking(move || {
            store
                .adopt(&sink.path, &sink.file, &expected)
                .map_err(|cause| ComponentError::Storage(format!("{}: {cause}", sink.path.display())))
        })
        .await
    }

    /// Whether the store has the component intact, and of the right kind.
    async fn stored(&self, digest: ComponentDigest) -> Result<bool, ComponentError> {
        let store = self.store.clone();
        blocking(move || match store.read(&digest)? {
            Some(bytes) => check_header(&bytes, digest).map(|()| true),
            None => Ok(false),
        })
        .await
    }

    fn turn(&self, digest: ComponentDigest) -> Arc<tokio::sync::Mutex<()>> {
        self.downloads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(digest)
            .or_default()
            .clone()
    }

    fn leave(&self, digest: ComponentDigest, turn: Arc<tokio::sync::Mutex<()>>) {
        let mut downloads = self.downloads.lock().unwrap_or_else(PoisonError::into_inner);
        // This one and the map's own: nobody else waits.
        if Arc::strong_count(&turn) == 2 {
            downloads.remove(&digest);
        }
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
        .unwrap_or_else(|cause| Err(ComponentError::Storage(format!("a worker thread failed: {cause}"))))
}

/// A file that is hashed while it is written, and removed unless it was adopted.
struct Sink {
    path: PathBuf,
    file: File,
    hash: Sha256,
}

impl Sink {
    fn create(path: PathBuf) -> std::io::Result<Self> {
        let file = File::create_new(&path)?;
        Ok(Self {
            path,
            file,
            hash: Sha256::new(),
        })
    }

    fn digest(&self) -> ComponentDigest {
        ComponentDigest::new(self.hash.clone().finalize().into())
    }
}

impl AsyncWrite for Sink {
    fn poll_write(mut self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        // Chunks of a download are small and go to the page cache, so the write does not hold up the thread.
        let written = std::io::Write::write(&mut self.file, bytes)?;
        self.hash.update(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // After adoption the path is gone already.
        let _ = std::fs::remove_file(&self.path);
    }
}
