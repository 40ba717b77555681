//! Rules of trigger definitions.

use std::num::NonZeroU64;

use super::{Findings, atproto, schedule};
use crate::{chain_key::ChainKey, text::parse_hex, trigger::Trigger};

pub(super) fn check(trigger: &Trigger, at: &str, findings: &mut Findings) {
    match trigger {
        Trigger::EvmContractEvent { chain, .. } => {
            check_family(chain, "evm", &format!("{at}/evm_contract_event/chain"), findings);
        }
        Trigger::CosmosContractEvent { chain, event_type, .. } => {
            let at = format!("{at}/cosmos_contract_event");
            check_family(chain, "cosmos", &format!("{at}/chain"), findings);
            check_event_type(event_type, &format!("{at}/event_type"), findings);
        }
        Trigger::BlockInterval {
            start_block, end_block, ..
        } => {
            check_blocks(*start_block, *end_block, &format!("{at}/block_interval"), findings);
        }
        Trigger::Cron {
            schedule,
            start_time,
            end_time,
        } => {
            schedule::check(schedule, *start_time, *end_time, &format!("{at}/cron"), findings);
        }
        Trigger::AtProtoEvent {
            collection, repo_did, ..
        } => {
            atproto::check(
                collection,
                repo_did.as_deref(),
                &format!("{at}/at_proto_event"),
                findings,
            );
        }
        Trigger::HypercoreAppend { feed_key } => {
            check_feed_key(feed_key, &format!("{at}/hypercore_append/feed_key"), findings);
        }
        Trigger::Manual => {}
    }
}

/// Only the two families that name themselves can be told from the key; a `dev` alias may be of either.
pub(super) fn check_family(chain: &ChainKey, family: &str, at: &str, findings: &mut Findings) {
    let other = matches!(chain.namespace(), "evm" | "cosmos") && chain.namespace() != family;
    if other {
        let detail = format!(
            "`{chain}` is not a chain of family {family}; use a chain key that starts with `{family}:` or `dev:`"
        );
        findings.error(at, "chain-family", detail);
    }
}

fn check_event_type(event_type: &str, at: &str, findings: &mut Findings) {
    if event_type.is_empty() {
        findings.error(
            at,
            "event-type-empty",
            "the event type is empty; give the type without its wasm- prefix",
        );
    } else if event_type.starts_with("wasm-") {
        let detail = format!("`{event_type}` starts with wasm-, which is taken off before comparing; leave it out");
        findings.warning(at, "event-type-prefix", detail);
    }
}

fn check_blocks(start: Option<NonZeroU64>, end: Option<NonZeroU64>, at: &str, findings: &mut Findings) {
    match (start, end) {
        (Some(start), Some(end)) if start > end => {
            let detail = format!("start_block {start} is above end_block {end}; the window is empty");
            findings.error(format!("{at}/start_block"), "block-window", detail);
        }
        (None, _) => {
            let detail = "without start_block every operator starts at the block it sees first, so operators do not agree on the phase";
            findings.warning(format!("{at}/start_block"), "start-block-none", detail);
        }
        (Some(_), _) => {}
    }
}

fn check_feed_key(feed_key: &str, at: &str, findings: &mut Findings) {
    if let Err(error) = parse_hex::<32>(feed_key) {
        findings.error(
            at,
            "feed-key",
            format!("the feed key is not a 32-byte public key: {error}"),
        );
    }
}
