//! Documents that are stored by digest, to be served or registered later.

use wavs_ipc::contract::registry::Document;
use wavs_ipc::{ErrorCode, WireError};
use wavs_store::Durability;
use wavs_types::{ServiceDigest, ServiceDocument};

use super::{Registry, ledger_failed};
use crate::clock;
use crate::ledger::documents;

impl Registry {
    /// Stores a document after a check of its shape; answers its digest.
    ///
    /// # Errors
    /// `Invalid` with pointer and cause when it is no service document.
    pub async fn put_document(&self, document: Document) -> Result<ServiceDigest, WireError> {
        let parsed = ServiceDocument::parse(&document.0)
            .map_err(|cause| WireError::never(ErrorCode::Invalid, cause.to_string()))?;
        let digest = parsed.digest();
        self.core()
            .ledger
            .write(Durability::Process, move |tx| {
                documents::put(tx, &digest, &document.0, clock::now_ms())
            })
            .await
            .map_err(ledger_failed)?;
        Ok(digest)
    }

    /// A document in canonical form with unknown members kept: a stored one, or the one of a registered service.
    ///
    /// # Errors
    /// `NotFound` when there is none of that digest.
    pub async fn document(&self, digest: ServiceDigest) -> Result<Document, WireError> {
        let raw = self.stored_document(digest).await?;
        let parsed =
            ServiceDocument::parse(&raw).map_err(|cause| WireError::never(ErrorCode::Internal, cause.to_string()))?;
        Ok(Document(parsed.echo().into_bytes()))
    }

    /// The bytes of a document as they came.
    pub(super) async fn stored_document(&self, digest: ServiceDigest) -> Result<Vec<u8>, WireError> {
        if let Some(raw) = self
            .core()
            .ledger
            .read(move |conn| documents::load(conn, &digest))
            .await
            .map_err(ledger_failed)?
        {
            return Ok(raw);
        }
        let services = self.directory().services();
        services
            .values()
            .find(|entry| entry.digest() == digest)
            .map(|entry| entry.row.raw.clone())
            .ok_or_else(|| {
                let text =
                    format!("Service Hash {digest} has not been set on the http server: store the document first");
                WireError::never(ErrorCode::NotFound, text)
            })
    }
}
