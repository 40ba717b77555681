//! Services as the API shows them.

use wavs_ipc::contract::registry::{Document, ServiceSummary, ServiceView, Signer};

use super::directory::Entry;
use crate::ledger::services::Phase;

/// A service without its document.
#[must_use]
pub fn summary(entry: &Entry) -> ServiceSummary {
    let row = &entry.row;
    ServiceSummary {
        service_id: row.service_id,
        name: entry.service().name.clone(),
        manager: row.manager.clone(),
        state: state(entry).to_owned(),
        reason: entry
            .signer
            .as_ref()
            .err()
            .cloned()
            .or_else(|| row.reason.clone())
            .or_else(|| entry.components.reason())
            .or_else(|| entry.room.reason()),
        paused: row.paused,
        digest: row.digest,
        uri: row.uri.clone(),
        hd_index: entry.pin.0,
        signer: entry.pin.1.into_array(),
        workflows: u32::try_from(entry.service().workflows.len()).unwrap_or(u32::MAX),
        warnings: row.warnings.clone(),
        updated_at_ms: row.updated_ms,
    }
}

fn state(entry: &Entry) -> &'static str {
    match entry.row.phase {
        Phase::Pending => "pending",
        Phase::Deleting => "deleting",
        Phase::Active if entry.signer.is_err() => "failed",
        Phase::Active if entry.is_paused() => "paused",
        Phase::Active if is_degraded(entry) => "degraded",
        Phase::Active => "active",
    }
}

fn is_degraded(entry: &Entry) -> bool {
    entry.row.reason.is_some() || entry.components.reason().is_some() || entry.room.is_full()
}

/// A service with its document.
#[must_use]
pub fn full(entry: &Entry) -> ServiceView {
    ServiceView {
        summary: summary(entry),
        document: Document(entry.document.echo().into_bytes()),
        raw: Document(entry.row.raw.clone()),
    }
}

/// The public side of a service's key.
#[must_use]
pub fn signer(entry: &Entry) -> Signer {
    Signer {
        hd_index: entry.pin.0,
        address: entry.pin.1.into_array(),
    }
}
