//! What another operator said, read from the inbox, whichever generation it came by.
//!
//! A record is signed as a whole. In a submission of generation 1 only the envelope is: without a salt the trigger's data
//! and the response follow from the event id and the envelope, so they are as good as signed. With a salt, or with another
//! trigger than the workflow's, they do not; then the signature counts, and what came with it is not run unless the operator
//! of this node allows it.

use wavs_ipc::contract::gossip::{Generation, InboxItem};
use wavs_types::{Attestation, EvmAddress, RecordBody, ServiceId, SignedRecord, Statement, Submission, Trigger};

use crate::pipeline::core::Core;

/// A statement, checked as far as it needs neither operators nor ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// How it came.
    pub(super) generation: Generation,
    /// The service.
    pub(super) service: ServiceId,
    /// Who signed it.
    pub(super) author: EvmAddress,
    /// What it says.
    pub(super) statement: Statement,
    /// Whether the body behind it may be run if this node has no result of its own.
    pub(super) is_bound: bool,
}

/// Why something does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is of no use; the reason is a metric label.
    Ignore(&'static str),
    /// It contradicts itself.
    Reject,
}

/// Reads an item of the inbox.
///
/// # Errors
/// Why it does not count.
pub(super) fn read(core: &Core, item: &InboxItem) -> Result<Said, Refusal> {
    match item.generation {
        Generation::V1 => submission(core, &item.record),
        Generation::V2 => record(&item.record),
    }
}

fn record(bytes: &[u8]) -> Result<Said, Refusal> {
    let record = SignedRecord::decode(bytes).map_err(|_| Refusal::Reject)?;
    Ok(Said {
        generation: Generation::V2,
        service: record.record().service_id,
        author: record.author(),
        statement: record.record().statement.clone(),
        is_bound: true,
    })
}

fn submission(core: &Core, text: &[u8]) -> Result<Said, Refusal> {
    let submission: Submission = serde_json::from_slice(text).map_err(|_| Refusal::Reject)?;
    let kind = submission.envelope_signature.kind;
    let author = submission.verify(kind).map_err(|_| Refusal::Reject)?;
    let config = &submission.trigger_action.config;
    let service = config.service_id;
    let entry = core.directory.get(&service).ok_or(Refusal::Ignore("no_service"))?;
    let trigger = entry
        .service()
        .workflows
        .get(&config.workflow_id)
        .map(|workflow| &workflow.trigger);
    let is_bound = is_bound(&submission, trigger) || core.settings.allows_unbound_inputs(&service);
    let action = serde_json::to_vec(&submission.trigger_action).map_err(|_| Refusal::Reject)?;
    let body = RecordBody::encode(&action, &submission.operator_response);
    let said = Attestation {
        workflow_id: config.workflow_id.clone(),
        event_id: submission.event_id,
        digest: submission.envelope.digest(),
        kind,
        signature: submission.envelope_signature.data,
        body_digest: RecordBody::digest(&body),
    };
    Ok(Said {
        generation: Generation::V1,
        service,
        author,
        statement: Statement::Attestation(said),
        is_bound,
    })
}

/// Whether all that a run would see follows from what was signed, given the trigger of the workflow here.
fn is_bound(submission: &Submission, trigger: Option<&Trigger>) -> bool {
    trigger == Some(&submission.trigger_action.config.trigger) && submission.operator_response.event_id_salt.is_none()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_is_bound_without_a_salt_and_by_the_workflow_s_own_trigger() {
        let signature: Vec<u8> = (1..=64).chain([27]).collect();
        let submission = |salt: Option<&str>, trigger: serde_json::Value| -> Submission {
            let id = format!("0x{}", "01".repeat(20));
            let value = json!({
                "trigger_action": {
                    "config": {"service_id": "07".repeat(32), "workflow_id": "default", "trigger": trigger},
                    "data": {"Raw": [1]},
                },
                "operator_response": {"payload": "0x01", "ordering": null, "event_id_salt": salt},
                "event_id": id,
                "envelope": {"eventId": id, "ordering": format!("0x{}", "00".repeat(12)), "payload": "0x01"},
                "envelope_signature": {"data": signature, "kind": {"algorithm": "secp256k1", "prefix": "eip191"}},
            });
            serde_json::from_value(value).unwrap()
        };
        let manual = json!("manual");
        let cron = json!({"cron": {"schedule": "0 * * * * *", "start_time": null, "end_time": null}});
        assert!(is_bound(&submission(None, manual.clone()), Some(&Trigger::Manual)));
        assert!(!is_bound(
            &submission(Some("0x"), manual.clone()),
            Some(&Trigger::Manual)
        ));
        assert!(!is_bound(&submission(None, cron), Some(&Trigger::Manual)));
        assert!(!is_bound(&submission(None, manual), None));
    }
}
