//! The end of what components stored: the data of a service that was removed is kept for a while, so that the service finds it when it
//! is added again, and then erased.
//!
//! When a service was removed stands in its history, which aggregator-svc keeps for 90 days, so nothing is stored here. Data is erased
//! as `DELETE /v1/services/{id}?purge=true` does it, and what fails is tried again at the next look.

use std::collections::BTreeMap;
use std::time::Duration;

use wavs_ipc::contract::records::{HistoryEntry, MAX_ROWS};
use wavs_types::ServiceId;

use crate::http::api::{Api, CallError, READ};

/// Time between two looks. The time that data is kept is counted in days.
const PERIOD: Duration = Duration::from_secs(3_600);

/// Looks for data that was kept long enough.
pub struct Retention {
    api: Api,
    /// What was erased, with the time of the removal that it followed; one entry per service that ever had a key. After a restart
    /// each is erased once more, which finds nothing.
    erased: BTreeMap<ServiceId, u64>,
}

impl Retention {
    /// Asks and erases through `api`.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self {
            api,
            erased: BTreeMap::new(),
        }
    }

    /// Looks until it is dropped.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(PERIOD).await;
            if let Err(error) = self.look().await {
                tracing::warn!(error = %error.error(), "removed services cannot be looked up; their data is kept until the next look");
            }
        }
    }

    /// Erases the data of all services that were removed longer ago than it is kept, and not added again.
    ///
    /// # Errors
    /// When aggregator-svc does not say which services there were. What goes wrong with one of them is logged.
    pub async fn look(&mut self) -> Result<(), CallError> {
        let signers = self
            .api
            .registry(READ, async |client, context| client.signers(context).await)
            .await?;
        for gone in signers.into_iter().filter(|signer| signer.state == "retired") {
            if let Err(error) = self.settle(gone.service_id).await {
                let service_id = gone.service_id;
                tracing::warn!(%service_id, error = %error.error(), "the data of a removed service is kept until the next look");
            }
        }
        Ok(())
    }

    async fn settle(&mut self, id: ServiceId) -> Result<(), CallError> {
        let history = self
            .api
            .records(READ, async move |client, context| {
                client.history(context, id, None, MAX_ROWS).await
            })
            .await?;
        let Some(removed_ms) = removed(&history) else {
            return Ok(());
        };
        if is_over(removed_ms, self.api.settings().data_retention) && self.erased.get(&id) != Some(&removed_ms) {
            self.api
                .engine(READ, async move |client, context| {
                    client.erase_service(context, id).await
                })
                .await?;
            self.erased.insert(id, removed_ms);
            tracing::info!(service_id = %id, "erased what components of a service stored that was removed services.data_retention_days ago");
        }
        Ok(())
    }
}

/// When a service was removed, in milliseconds since the Unix epoch, from its history, newest first; nothing if it was added again.
fn removed(history: &[HistoryEntry]) -> Option<u64> {
    history
        .iter()
        .find(|entry| matches!(entry.what.as_str(), "added" | "deleted"))
        .filter(|entry| entry.what == "deleted")
        .map(|entry| entry.at_ms)
}

fn is_over(since_ms: u64, kept: Duration) -> bool {
    let end = Duration::from_millis(since_ms).saturating_add(kept);
    std::time::UNIX_EPOCH.elapsed().is_ok_and(|now| now >= end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_is_the_last_removal_that_nothing_followed() {
        for (whats, expected) in [
            (&["deleted", "updated", "added"][..], Some(3)),
            (&["dead-letter-dropped", "deleted", "added"], Some(2)),
            (&["added", "deleted"], None),
            (&["paused", "added", "deleted"], None),
            (&[], None),
        ] {
            let entry = |(age, what): (usize, &&str)| HistoryEntry {
                id: 0,
                at_ms: (whats.len() - age) as u64,
                what: (*what).to_owned(),
                actor: None,
                uri: None,
                old_digest: None,
                new_digest: None,
                cause: String::new(),
            };
            let history: Vec<_> = whats.iter().enumerate().map(entry).collect();
            assert_eq!(removed(&history), expected, "{whats:?}");
        }
    }
}
