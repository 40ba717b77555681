//! Submits every response to the handlers that its config names: the one in `service_handler` on the chain in
//! `chain`, or, without `chain`, one for each key that looks like a chain key. `gas_price` is passed on.
//!
//! The config key `fault` makes it misbehave, for tests; see `fault`.

mod fault;
mod handlers;

use aggregator_kit::{AggregatorAction, AggregatorInput, AnyTxHash, Guest, host, outcome};

struct Aggregator;

impl Guest for Aggregator {
    fn process_input(_: AggregatorInput) -> Result<Vec<AggregatorAction>, String> {
        if host::get_event_id().iter().all(|byte| *byte == 0) {
            return Err("the event id is all zero".into());
        }
        let actions = handlers::from_config()?;
        match host::config_var("fault") {
            Some(fault) => fault::spoil(&fault, actions),
            None => Ok(actions),
        }
    }

    fn handle_timer_callback(_: AggregatorInput) -> Result<Vec<AggregatorAction>, String> {
        Ok(Vec::new())
    }

    fn handle_submit_callback(_: AggregatorInput, tx_result: Result<AnyTxHash, String>) -> Result<(), String> {
        outcome::record(&tx_result)?;
        match host::config_var("fault").as_deref() {
            Some("callback-error") => Err("the callback was told to fail".into()),
            _ => Ok(()),
        }
    }
}

aggregator_kit::export!(Aggregator);
