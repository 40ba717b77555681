//! What is recorded: occurrences and the entries that they lead to.

use tracing::{info, warn};
use wavs_ipc::contract::trigger_admin::{Inject, MAX_INJECTED};
use wavs_ipc::contract::trigger_feed::SpoolBody;
use wavs_ipc::{ErrorCode, Json, WireError};
use wavs_service::metrics::Counter;
use wavs_types::{ChainKey, EventId, ServiceId, TriggerAction, TriggerConfig, TriggerData, WorkflowId};

use crate::metrics::Metrics;
use crate::sources::MinedLog;
use crate::watch::{EvmView, Route};

/// Something that happened once.
#[derive(Debug)]
pub(crate) enum Occurrence {
    /// It was seen.
    Seen {
        /// Its durable identity.
        source_key: String,
        /// Its block.
        height: u64,
        /// What it leads to, in order.
        entries: Vec<Entry>,
    },
    /// It left the chain.
    Removed {
        /// Its durable identity.
        source_key: String,
    },
}

/// One entry of the spool to be.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The route that fires; absent for a notice.
    pub route: Option<(ServiceId, WorkflowId)>,
    /// The entry.
    pub body: SpoolBody,
    /// Counts it when it is written; absent for a notice.
    pub fired: Option<Counter>,
}

impl Occurrence {
    /// What a log leads to: a service URI notice first, then one trigger per matching active route. `None` when nothing.
    pub(crate) fn of_log(
        chain: &ChainKey,
        log: &MinedLog,
        view: &EvmView,
        timestamp: Option<u64>,
        metrics: &Metrics,
    ) -> Option<Self> {
        let source_key = log.source_key(chain);
        if log.removed {
            return Some(Self::Removed { source_key });
        }
        let meaning = log.meaning(view);
        let mut entries = Vec::new();
        match meaning.service_uri {
            Some((service_id, Ok(uri))) => {
                info!(%service_id, uri, height = log.block_number, "the manager announced a service URI");
                entries.push(Entry {
                    route: None,
                    body: SpoolBody::ServiceUri {
                        service_id,
                        uri,
                        height: log.block_number,
                    },
                    fired: None,
                });
            }
            Some((service_id, Err(cause))) => {
                warn!(%service_id, cause, "the manager announced a service URI that does not decode; it is ignored");
                metrics.dropped("bad_service_uri");
            }
            None => {}
        }
        for route in meaning.routes {
            if route.since.is_some_and(|since| log.block_number <= since) {
                continue;
            }
            let data = log.trigger_data(chain, timestamp);
            entries.extend(Entry::fired(route, &source_key, data, metrics));
        }
        (!entries.is_empty()).then_some(Self::Seen {
            source_key,
            height: log.block_number,
            entries,
        })
    }
}

impl Entry {
    /// What a route's hit leads to; `None`, counted, while its service is paused.
    pub(crate) fn fired(route: &Route, source_key: &str, data: TriggerData, metrics: &Metrics) -> Option<Self> {
        if !route.active {
            metrics.dropped("paused");
            return None;
        }
        let action = TriggerAction {
            config: TriggerConfig {
                service_id: route.service_id,
                workflow_id: route.workflow_id.clone(),
                trigger: route.trigger.clone(),
            },
            data,
        };
        match trigger(source_key.to_owned(), &action, None) {
            Ok(body) => Some(Self {
                route: Some((route.service_id, route.workflow_id.clone())),
                body,
                fired: Some(metrics.fired(action.data.chain(), route.trigger.kind())),
            }),
            Err(error) => {
                warn!(service_id = %route.service_id, %error, "cannot write the trigger");
                metrics.dropped("encode");
                None
            }
        }
    }

    /// The triggers of an injection, all copies of one before the next.
    ///
    /// # Errors
    /// `Invalid` when their number is out of range or they do not parse.
    pub(crate) fn injected(request: &Inject) -> Result<Vec<SpoolBody>, WireError> {
        let total = request.data.len().saturating_mul(request.count as usize);
        if total == 0 || total > MAX_INJECTED as usize {
            let detail = format!("{total} triggers are to be injected; there must be 1 to {MAX_INJECTED}");
            return Err(WireError::never(ErrorCode::Invalid, detail));
        }
        let config: TriggerConfig = request.config.decode()?;
        let mut bodies = Vec::with_capacity(total);
        for data in &request.data {
            let action = TriggerAction {
                config: config.clone(),
                data: data.decode()?,
            };
            let first = trigger(String::new(), &action, Some(request.id))?;
            for _ in 0..request.count {
                let mut body = first.clone();
                if let SpoolBody::Trigger { source_key, .. } = &mut body {
                    *source_key = format!("injected/{:032x}/{}", request.id, bodies.len());
                }
                bodies.push(body);
            }
        }
        Ok(bodies)
    }
}

fn trigger(source_key: String, action: &TriggerAction, injection: Option<u128>) -> Result<SpoolBody, WireError> {
    let event_id = EventId::for_response(
        &action.config.service_id,
        &action.config.workflow_id,
        &action.data,
        None,
    );
    Ok(SpoolBody::Trigger {
        source_key,
        action: Json::encode(action)?,
        event_id,
        injection,
    })
}
