//! trigger-svc as a script: a spool in memory, documents by manager address, and the last watch set.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use wavs_ipc::contract::trigger_feed::{
    ResolveService, ResolvedService, SpoolBatch, SpoolBody, SpoolCursor, SpoolItem, TriggerFeed, TriggerFeedClient,
    WatchSet,
};
use wavs_ipc::{Context, ErrorCode, Identity, Json, Role, Router, WireError, handler, socket};
use wavs_types::{EventId, ServiceId, ServiceManager, Trigger, TriggerAction, TriggerConfig, TriggerData};

const SPOOL: u128 = 7;

#[derive(Clone)]
pub struct FakeTrigger {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    items: Mutex<Vec<SpoolItem>>,
    acked: Mutex<u64>,
    documents: Mutex<BTreeMap<String, Vec<u8>>>,
    watch: Mutex<Option<WatchSet>>,
    refuse_sync: Mutex<Option<WireError>>,
    more: Notify,
}

/// A manual trigger of a workflow with some data.
pub fn action(service_id: ServiceId, workflow: &str, data: &[u8]) -> TriggerAction {
    TriggerAction {
        config: TriggerConfig {
            service_id,
            workflow_id: workflow.parse().unwrap(),
            trigger: Trigger::Manual,
        },
        data: TriggerData::Raw(data.to_vec()),
    }
}

impl FakeTrigger {
    pub fn serve(path: &Path) -> Self {
        let trigger = Self { inner: Arc::default() };
        let router = Router::new(Identity::new(Role::Trigger))
            .serve::<TriggerFeedClient, _, _>(handler!(TriggerFeed, trigger.clone()));
        tokio::spawn(router.run(socket::bind(path).unwrap(), std::future::pending()));
        trigger
    }

    pub fn publish(&self, address: &str, document: Vec<u8>) {
        self.inner
            .documents
            .lock()
            .unwrap()
            .insert(address.to_lowercase(), document);
    }

    pub fn refuse_sync(&self, error: Option<WireError>) {
        *self.inner.refuse_sync.lock().unwrap() = error;
    }

    pub fn watch(&self) -> WatchSet {
        self.inner.watch.lock().unwrap().clone().unwrap()
    }

    pub fn acked(&self) -> u64 {
        *self.inner.acked.lock().unwrap()
    }

    pub fn push(&self, body: SpoolBody) {
        let mut items = self.inner.items.lock().unwrap();
        let seq = items.len() as u64 + 1;
        items.push(SpoolItem {
            seq,
            seen_at_ns: 1_700_000_000_000_000_000,
            body,
        });
        self.inner.more.notify_waiters();
    }

    pub fn fire(&self, source_key: &str, action: &TriggerAction, injection: Option<u128>) {
        let TriggerConfig {
            service_id,
            workflow_id,
            ..
        } = &action.config;
        self.push(SpoolBody::Trigger {
            source_key: source_key.to_owned(),
            event_id: EventId::for_response(service_id, workflow_id, &action.data, None),
            action: Json::encode(action).unwrap(),
            injection,
        });
    }
}

impl TriggerFeed for FakeTrigger {
    async fn sync(self, _: Context, watch: WatchSet) -> Result<(), WireError> {
        if let Some(error) = self.inner.refuse_sync.lock().unwrap().clone() {
            return Err(error);
        }
        *self.inner.watch.lock().unwrap() = Some(watch);
        Ok(())
    }

    async fn pull(self, _: Context, after: SpoolCursor, max: u32, wait_ms: u32) -> Result<SpoolBatch, WireError> {
        let after = if after.spool == SPOOL { after.seq } else { 0 };
        let until = tokio::time::Instant::now() + Duration::from_millis(u64::from(wait_ms));
        loop {
            let more = self.inner.more.notified();
            let items: Vec<_> = {
                let items = self.inner.items.lock().unwrap();
                items
                    .iter()
                    .filter(|item| item.seq > after)
                    .take(max as usize)
                    .cloned()
                    .collect()
            };
            if !items.is_empty() || tokio::time::timeout_at(until, more).await.is_err() {
                return Ok(SpoolBatch { spool: SPOOL, items });
            }
        }
    }

    async fn ack(self, _: Context, upto: SpoolCursor) -> Result<(), WireError> {
        *self.inner.acked.lock().unwrap() = upto.seq;
        Ok(())
    }

    async fn resolve_service(self, _: Context, request: ResolveService) -> Result<ResolvedService, WireError> {
        let ServiceManager::Evm { address, .. } = &request.manager else {
            unreachable!("no Cosmos manager here")
        };
        let document = self
            .inner
            .documents
            .lock()
            .unwrap()
            .get(&address.to_string().to_lowercase())
            .cloned();
        let document = document.ok_or_else(|| WireError::backoff(ErrorCode::Fetch, "Failed to fetch service: 404"))?;
        Ok(ResolvedService {
            uri: request.uri.unwrap_or_else(|| "http://x/service.json".to_owned()),
            document,
        })
    }
}
