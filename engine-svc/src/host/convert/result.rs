//! What guests return, checked as a whole: one bad item fails the run.

use wavs_ipc::contract::engine::{Action, TxHash};
use wavs_ipc::contract::job::Response;
use wavs_service::config::GuestLimits;

use super::address;
use crate::bindings::aggregator::wavs::aggregator::output as wit;
use crate::bindings::operator::wavs::operator::output::WasmResponse;
use crate::bindings::operator::wavs::types::{chain as wit_chain, core as wit_core};
use crate::limits::{Exceeded, SALT_BYTES};

/// Why a result is not accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ResultError {
    #[error("{0}")]
    Malformed(String),
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
}

/// The responses of an operator component.
pub(crate) fn responses(found: Vec<WasmResponse>, limits: &GuestLimits) -> Result<Vec<Response>, ResultError> {
    few("number of responses", found.len(), limits)?;
    let bytes = found
        .iter()
        .fold(0_usize, |sum, response| sum.saturating_add(response.payload.len()));
    within("size of all payloads", bytes, limits.response, "engine.response_max_mb")?;
    for salt in found.iter().filter_map(|response| response.event_id_salt.as_ref()) {
        if salt.len() > SALT_BYTES {
            return Err(Exceeded::Salt { asked: salt.len() }.into());
        }
    }
    if found.len() > 1 && found.iter().any(|response| response.event_id_salt.is_none()) {
        return Err(ResultError::Malformed(
            "When returning multiple responses, they must all have an event id salt: without it they would share one event id".into(),
        ));
    }
    Ok(found
        .into_iter()
        .map(|response| Response {
            payload: response.payload,
            ordering: response.ordering,
            event_id_salt: response.event_id_salt,
        })
        .collect())
}

/// The actions of an aggregator component.
pub(crate) fn actions(found: Vec<wit::AggregatorAction>, limits: &GuestLimits) -> Result<Vec<Action>, ResultError> {
    few("number of actions", found.len(), limits)?;
    found
        .into_iter()
        .map(|found| action(found).map_err(ResultError::Malformed))
        .collect()
}

/// The end of a submission, as `handle-submit-callback` takes it.
pub(crate) fn tx_result(result: Result<TxHash, String>) -> Result<wit_chain::AnyTxHash, String> {
    result.map(|hash| match hash {
        TxHash::Evm(hash) => wit_chain::AnyTxHash::Evm(hash.to_vec()),
        TxHash::Cosmos(hash) => wit_chain::AnyTxHash::Cosmos(hash),
    })
}

fn action(action: wit::AggregatorAction) -> Result<Action, String> {
    Ok(match action {
        wit::AggregatorAction::Timer(timer) => Action::Timer {
            delay_secs: timer.delay.secs,
        },
        wit::AggregatorAction::Submit(wit::SubmitAction::Evm(submit)) => Action::SubmitEvm {
            chain: address::chain_key(&submit.chain)?,
            address: address::from_evm(&submit.address)?,
            gas_price: submit.gas_price.map(u128_of),
        },
        wit::AggregatorAction::Submit(wit::SubmitAction::Cosmos(submit)) => Action::SubmitCosmos {
            chain: address::chain_key(&submit.chain)?,
            address: address::from_cosmos(&submit.address)?,
            gas_price: submit.gas_price.map(u128_of),
        },
    })
}

fn u128_of(number: wit_core::U128) -> u128 {
    let (low, high) = number.value;
    u128::from(low) | (u128::from(high) << 64)
}

fn few(what: &'static str, asked: usize, limits: &GuestLimits) -> Result<(), Exceeded> {
    within(what, asked, limits.results, "engine.results")
}

fn within(what: &'static str, asked: usize, limit: usize, key: &'static str) -> Result<(), Exceeded> {
    if asked > limit {
        Err(Exceeded::Result {
            what,
            asked,
            limit,
            key,
        })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Room for ten bytes and three results.
    fn limits() -> GuestLimits {
        GuestLimits {
            response: 10,
            results: 3,
            ..GuestLimits::default()
        }
    }

    fn response(payload: usize, salt: Option<usize>) -> WasmResponse {
        WasmResponse {
            payload: vec![0; payload],
            ordering: None,
            event_id_salt: salt.map(|length| vec![0; length]),
        }
    }

    #[test]
    fn several_responses_need_salts_and_an_empty_salt_is_one() {
        assert_eq!(responses(vec![], &limits()).unwrap(), []);
        assert_eq!(responses(vec![response(1, None)], &limits()).unwrap().len(), 1);
        assert_eq!(
            responses(vec![response(1, Some(0)), response(1, Some(0))], &limits())
                .unwrap()
                .len(),
            2
        );
        let error = responses(vec![response(1, Some(0)), response(1, None)], &limits()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("When returning multiple responses, they must all have an event id salt")
        );
    }

    #[test]
    fn results_are_bounded() {
        for (found, named) in [
            (vec![response(11, None)], "11 is above 10, which engine.response_max_mb"),
            (
                vec![response(0, Some(SALT_BYTES + 1))],
                "salt of 1025 bytes is longer than 1024, the most on any node",
            ),
            (vec![response(0, Some(1)); 4], "4 is above 3, which engine.results"),
        ] {
            let refused = responses(found, &limits()).unwrap_err();
            assert!(matches!(refused, ResultError::Exceeded(_)), "{refused}");
            let text = refused.to_string();
            assert!(
                text.starts_with("Result limit exceeded") && text.contains(named),
                "{text}"
            );
        }
        let timer = wit::AggregatorAction::Timer(wit::TimerAction {
            delay: wit_core::Duration { secs: 1 },
        });
        assert_eq!(actions(vec![timer.clone(); 3], &limits()).unwrap().len(), 3);
        let text = actions(vec![timer; 4], &limits()).unwrap_err().to_string();
        assert!(text.contains("number of actions 4 is above 3"), "{text}");
    }

    fn cosmos(text: &str, prefix_len: u32) -> Result<Vec<Action>, ResultError> {
        actions(
            vec![wit::AggregatorAction::Submit(wit::SubmitAction::Cosmos(
                wit::CosmosSubmitAction {
                    chain: "cosmos:c".into(),
                    address: wit_chain::CosmosAddress {
                        bech32_addr: text.into(),
                        prefix_len,
                    },
                    gas_price: None,
                },
            ))],
            &limits(),
        )
    }

    fn evm(chain: &str, bytes: usize) -> Result<Vec<Action>, ResultError> {
        actions(
            vec![wit::AggregatorAction::Submit(wit::SubmitAction::Evm(
                wit::EvmSubmitAction {
                    chain: chain.into(),
                    address: wit_chain::EvmAddress {
                        raw_bytes: vec![7; bytes],
                    },
                    gas_price: Some(wit_core::U128 { value: (1, 2) }),
                },
            ))],
            &limits(),
        )
    }

    #[test]
    fn actions_are_checked_as_a_list() {
        let good = evm("evm:31337", 20).unwrap();
        assert!(matches!(&good[0], Action::SubmitEvm { gas_price: Some(price), .. } if *price == 1 + (2_u128 << 64)));
        assert!(evm("evm:31337", 19).unwrap_err().to_string().contains("19 bytes"));
        assert!(evm("nonsense", 20).unwrap_err().to_string().contains("nonsense"));
        let layer = "layer1yg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3z7zyyk2";
        assert!(cosmos(layer, 5).is_ok());
        for (text, length) in [
            (layer, 4),
            (layer, 6),
            (layer, 1000),
            ("é", 1),
            ("layer1abc", 5),
            ("", 0),
        ] {
            assert!(
                matches!(cosmos(text, length), Err(ResultError::Malformed(_))),
                "{text} {length}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_address_of_a_guest_panics(text: String, length: u32, bytes in 0_usize..64) {
            let _ = cosmos(&text, length);
            let _ = cosmos(&text, length % 8);
            prop_assert_eq!(evm("evm:1", bytes).is_ok(), bytes == 20);
        }
    }
}
