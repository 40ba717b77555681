//! A component that is being received.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use sha2::{Digest, Sha256};
use tokio::io::AsyncWrite;
use wavs_types::ComponentDigest;

use crate::components::ContentStore;

/// A file that is hashed while it is written, and removed unless it was adopted.
pub(super) struct Sink {
    path: PathBuf,
    file: File,
    hash: Sha256,
}

impl Sink {
    /// Starts a file at a path that nothing has.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn create(path: PathBuf) -> io::Result<Self> {
        let file = File::create_new(&path)?;
        Ok(Self {
            path,
            file,
            hash: Sha256::new(),
        })
    }

    /// Of what was written so far.
    pub(super) fn digest(&self) -> ComponentDigest {
        ComponentDigest::new(self.hash.clone().finalize().into())
    }

    /// Gives the file its place in the store. Blocks.
    ///
    /// # Errors
    /// When the store cannot take it.
    pub(super) fn keep(&self, store: &ContentStore) -> io::Result<()> {
        store.adopt(&self.path, &self.file, &self.digest())
    }
}

impl AsyncWrite for Sink {
    fn poll_write(mut self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Chunks of a download are small and go to the page cache, so the write does not hold up the thread.
        let written = std::io::Write::write(&mut self.file, bytes)?;
        self.hash.update(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // After adoption the path is gone already.
        let _ = std::fs::remove_file(&self.path);
    }
}
