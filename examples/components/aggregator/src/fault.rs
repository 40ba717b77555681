//! Mistakes on demand.

use aggregator_kit::wavs_types::chain::EvmAddress;
use aggregator_kit::wavs_types::core::Duration;
use aggregator_kit::{AggregatorAction, EvmSubmitAction, SubmitAction, TimerAction};

/// Turn good actions into what the config asks for:
///
/// | fault | effect |
/// |---|---|
/// | `error` | returns an error |
/// | `trap` | panics |
/// | `loop` | never returns |
/// | `none` | returns no action |
/// | `unknown-chain` | submits to a chain that no node has |
/// | `bad-chain` | submits to a text that is no chain key |
/// | `bad-address` | submits to an address of five bytes |
/// | `mixed` | a good action, then one with a bad address |
/// | `endless-timer` | asks for a timer of the greatest length |
/// | `callback-error` | good actions; the submit callback fails |
pub fn spoil(fault: &str, mut actions: Vec<AggregatorAction>) -> Result<Vec<AggregatorAction>, String> {
    match fault {
        "error" => Err("the aggregator was told to fail".into()),
        "trap" => panic!("the aggregator was told to trap"),
        "loop" => loop {
            std::hint::black_box(());
        },
        "none" => Ok(Vec::new()),
        "unknown-chain" => Ok(vec![submit("evm:999999999", 20)]),
        "bad-chain" => Ok(vec![submit("not a chain", 20)]),
        "bad-address" => Ok(vec![submit("evm:31337", 5)]),
        "mixed" => {
            actions.push(submit("evm:31337", 5));
            Ok(actions)
        }
        "endless-timer" => Ok(vec![AggregatorAction::Timer(TimerAction {
            delay: Duration { secs: u64::MAX },
        })]),
        "callback-error" => Ok(actions),
        _ => Err(format!("fault {fault} is unknown")),
    }
}

fn submit(chain: &str, address_length: usize) -> AggregatorAction {
    AggregatorAction::Submit(SubmitAction::Evm(EvmSubmitAction {
        chain: chain.into(),
        address: EvmAddress {
            raw_bytes: vec![0x11; address_length],
        },
        gas_price: None,
    }))
}
