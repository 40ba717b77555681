//! Waits before it submits. When the timer is due and the trigger was an EVM event, the component asks the
//! trigger's chain whether the transaction is still where it was, and drops the response if it is not. Other
//! triggers have nothing to check.
//!
//! Config: `timer_delay_secs`, `chain`, `service_handler`.

mod recheck;

use aggregator_kit::wavs_types::core::Duration;
use aggregator_kit::wavs_types::events::TriggerData;
use aggregator_kit::{AggregatorAction, AggregatorInput, AnyTxHash, Guest, TimerAction, address, host, outcome};

struct TimerAggregator;

impl Guest for TimerAggregator {
    fn process_input(_: AggregatorInput) -> Result<Vec<AggregatorAction>, String> {
        let text = required("timer_delay_secs")?;
        let secs = text
            .parse()
            .map_err(|_| format!("timer_delay_secs {text} is not a number"))?;
        Ok(vec![AggregatorAction::Timer(TimerAction {
            delay: Duration { secs },
        })])
    }

    fn handle_timer_callback(input: AggregatorInput) -> Result<Vec<AggregatorAction>, String> {
        let (chain, handler) = (required("chain")?, required("service_handler")?);
        if let TriggerData::EvmContractEvent(event) = &input.trigger_action.data
            && !recheck::still_in_block(event)?
        {
            return Ok(Vec::new());
        }
        Ok(vec![address::submit(&chain, &handler, None)?])
    }

    fn handle_submit_callback(_: AggregatorInput, tx_result: Result<AnyTxHash, String>) -> Result<(), String> {
        outcome::record(&tx_result)
    }
}

fn required(key: &str) -> Result<String, String> {
    host::config_var(key).ok_or_else(|| format!("{key} config variable is required"))
}

aggregator_kit::export!(TimerAggregator);
