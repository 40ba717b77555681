//! What an operator component returns.

use serde::{Deserialize, Serialize};

use crate::{Bytes, envelope::Envelope, event_id::EventId, trigger_data::TriggerConfig, trigger_data::TriggerData};

/// One result of one run. A run may have several, which then need distinct salts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WasmResponse {
    /// The bytes that the handler contract receives.
    pub payload: Bytes,
    /// Position among the results of the workflow, where order matters.
    pub ordering: Option<u64>,
    /// Replaces the trigger data in the event id. Empty is not the same as absent.
    pub event_id_salt: Option<Bytes>,
}

impl WasmResponse {
    /// The event id of this response to that trigger.
    #[must_use]
    pub fn event_id(&self, config: &TriggerConfig, data: &TriggerData) -> EventId {
        EventId::for_response(
            &config.service_id,
            &config.workflow_id,
            data,
            self.event_id_salt.as_ref().map(|salt| &salt[..]),
        )
    }

    /// The envelope that stands for this response under an event id.
    #[must_use]
    pub fn envelope(&self, event_id: EventId) -> Envelope {
        Envelope::new(event_id, self.ordering, self.payload.clone())
    }
}
