//! Having all components of a service ready in engine-svc, in the right worlds.

use std::time::Duration;

use futures::FutureExt as _;
use futures::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use wavs_ipc::contract::engine::{Prefetch, World};
use wavs_ipc::{Json, Retry, WireError};
use wavs_types::{Component, Service, ServiceId};

use super::Registry;

/// Download and compilation of one component; a slower one fails the step.
const PREFETCH_DEADLINE: Duration = Duration::from_secs(300);
/// Components of one service that are fetched at once.
const PARALLEL: usize = 4;
/// Attempts when engine-svc dies or is busy meanwhile; fetching twice is harmless.
const ATTEMPTS: u32 = 4;
/// Rest before the next attempt.
const REST: Duration = Duration::from_millis(300);

impl Registry {
    /// Prepares every operator and aggregator component of `service`.
    ///
    /// # Errors
    /// The first failure, with the place of the component in front.
    pub(super) async fn prepare(&self, service: &Service) -> Result<(), WireError> {
        let each = self.each_prepared(service).map(|(place, result)| {
            result.map_err(|error| WireError {
                detail: format!("{place} {}", error.detail),
                ..error
            })
        });
        each.try_collect().await
    }

    /// Prepares every operator and aggregator component of `service`, a few at a time, and answers for the place of each in the
    /// document.
    pub(super) fn each_prepared<'a>(
        &'a self,
        service: &'a Service,
    ) -> impl Stream<Item = (String, Result<(), WireError>)> + Unpin + 'a {
        let owner = service.id();
        let mut fetches = Vec::new();
        for (id, workflow) in &service.workflows {
            let place = format!("/workflows/{id}/component");
            let fetch = self.prefetch(&workflow.component, World::Operator, owner);
            fetches.push(fetch.map(|result| (place, result)).boxed());
            if let Some(submit) = workflow.aggregator() {
                let place = format!("/workflows/{id}/submit/aggregator/component");
                let fetch = self.prefetch(&submit.component, World::Aggregator, owner);
                fetches.push(fetch.map(|result| (place, result)).boxed());
            }
        }
        stream::iter(fetches).buffer_unordered(PARALLEL)
    }

    async fn prefetch(&self, component: &Component, world: World, owner: ServiceId) -> Result<(), WireError> {
        let settings = &self.core().settings;
        let request = Prefetch {
            source: Json::encode(&component.source)?,
            world,
            metered: settings.metered(&owner, component),
            deterministic: settings.mode(&owner).deterministic,
        };
        let mut attempt = 1;
        loop {
            let request = request.clone();
            let result = self
                .core()
                .engine
                .call(PREFETCH_DEADLINE, |client, cx| async move {
                    client.prefetch(cx, request).await
                })
                .await;
            match result {
                Ok(()) => return Ok(()),
                Err(error) if attempt < ATTEMPTS && is_transient(&error) => {
                    attempt += 1;
                    tokio::time::sleep(REST * attempt).await;
                }
                Err(error) => {
                    let detail = format!("({}): {}", component.source.digest(), error.detail);
                    return Err(WireError { detail, ..error });
                }
            }
        }
    }
}

/// Whether engine-svc could not be asked, or was busy.
pub(super) fn is_transient(error: &WireError) -> bool {
    use wavs_ipc::ErrorCode as E;
    error.retry == Retry::Ambiguous && matches!(error.code, E::Transport | E::Draining)
        || error.retry == Retry::Backoff && matches!(error.code, E::Busy | E::Transport | E::Draining | E::Unavailable)
}
