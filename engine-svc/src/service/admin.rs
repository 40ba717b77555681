//! The `EngineAdmin` contract: uploads and look-ups for the supervisor.

use wavs_ipc::contract::engine::StoredComponent;
use wavs_ipc::contract::engine_admin::{EngineAdmin, GuestLogLine, KvValue};
use wavs_ipc::{Context, ErrorCode, WireError};
use wavs_types::{ComponentDigest, ServiceId};

use crate::components::{blocking, check_header, take_over};
use crate::kv::KvError;
use crate::node::Node;

/// Most log lines of one answer.
const MAX_LOG_LINES: u32 = 500;

impl EngineAdmin for Node {
    async fn store_component(self, _: Context, upload: String) -> Result<StoredComponent, WireError> {
        let node = self.clone();
        let bytes = blocking(move || {
            let settings = &node.inner.settings;
            take_over(&settings.uploads_dir, &upload, settings.fetch.max_bytes)
        })
        .await?;
        let inner = self.inner.clone();
        let (stored, new) = blocking(move || {
            let digest = ComponentDigest::of(&bytes);
            check_header(&bytes, digest)?;
            let new = !inner.store.contains(&digest);
            inner.store.insert(&bytes)?;
            let bytes = bytes.len() as u64;
            Ok((StoredComponent { digest, bytes }, new))
        })
        .await?;
        if let Err(cause) = self.inner.library.check(stored.digest).await {
            if new && cause.is_permanent() {
                blocking(move || self.inner.store.remove(&stored.digest)).await?;
            }
            return Err(cause.into());
        }
        tracing::info!(digest = %stored.digest, bytes = stored.bytes, "stored an uploaded component");
        Ok(stored)
    }

    async fn components(self, _: Context) -> Result<Vec<StoredComponent>, WireError> {
        Ok(blocking(move || self.inner.store.list()).await?)
    }

    async fn remove_component(self, _: Context, digest: ComponentDigest) -> Result<(), WireError> {
        let inner = self.inner.clone();
        blocking(move || inner.store.remove(&digest)).await?;
        self.inner.library.forget(&digest);
        tracing::info!(%digest, "removed a component");
        Ok(())
    }

    async fn erase_service(self, _: Context, service_id: ServiceId) -> Result<(), WireError> {
        let erased = self.inner.kv.service(&service_id).erase().await;
        erased.map_err(|cause| WireError::internal(cause.to_string()))?;
        let files = self.inner.settings.files_dir().join(service_id.to_string());
        match tokio::fs::remove_dir_all(&files).await {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                let text = format!("cannot remove the files of service {service_id}: {cause}");
                return Err(WireError::internal(text));
            }
            _ => {}
        }
        tracing::info!(%service_id, "erased the data of a service");
        Ok(())
    }

    async fn read_kv(
        self,
        _: Context,
        service_id: ServiceId,
        bucket: String,
        key: String,
    ) -> Result<Option<KvValue>, WireError> {
        match self.inner.kv.service(&service_id).get(&bucket, key).await {
            Ok(value) => Ok(value.map(KvValue)),
            Err(KvError::Storage(cause)) => Err(WireError::internal(cause)),
            Err(cause) => Err(WireError::never(ErrorCode::Invalid, cause.to_string())),
        }
    }

    async fn guest_logs(
        self,
        _: Context,
        service_id: ServiceId,
        after: u64,
        max: u32,
    ) -> Result<Vec<GuestLogLine>, WireError> {
        Ok(self
            .inner
            .logs
            .read(&service_id, after, max.min(MAX_LOG_LINES) as usize))
    }
}
