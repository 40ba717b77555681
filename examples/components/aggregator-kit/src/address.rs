//! From the text of a handler address to the action that submits there.

use crate::wavs_types::chain::{CosmosAddress, EvmAddress};
use crate::wavs_types::core::U128;
use crate::{AggregatorAction, CosmosSubmitAction, EvmSubmitAction, SubmitAction};

/// Submit to a handler. The namespace of the chain key decides how the address is read: 40 hexadecimal digits
/// for `evm`, bech32 for `cosmos`.
///
/// # Errors
/// When the address does not have that form.
pub fn submit(chain: &str, handler: &str, gas_price: Option<u128>) -> Result<AggregatorAction, String> {
    let gas_price = gas_price.map(|price| {
        let low = u64::try_from(price & u128::from(u64::MAX)).unwrap_or(u64::MAX);
        let high = u64::try_from(price >> 64).unwrap_or(u64::MAX);
        U128 { value: (low, high) }
    });
    let chain = chain.to_owned();
    let action = if chain.starts_with("cosmos:") {
        let address = cosmos(handler).ok_or_else(|| format!("service_handler {handler} is not a bech32 address"))?;
        SubmitAction::Cosmos(CosmosSubmitAction {
            chain,
            address,
            gas_price,
        })
    } else {
        let raw_bytes = evm(handler).ok_or_else(|| format!("service_handler {handler} is not an EVM address"))?;
        SubmitAction::Evm(EvmSubmitAction {
            chain,
            address: EvmAddress { raw_bytes },
            gas_price,
        })
    };
    Ok(AggregatorAction::Submit(action))
}

fn evm(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
    if digits.len() != 40 {
        return None;
    }
    digits
        .chunks(2)
        .map(|pair| {
            let value = |digit: u8| char::from(digit).to_digit(16);
            u8::try_from(value(pair[0])? * 16 + value(pair[1])?).ok()
        })
        .collect()
}

/// Only the shape is looked at. The node checks the checksum before it submits.
fn cosmos(text: &str) -> Option<CosmosAddress> {
    let prefix = text.rfind('1').filter(|at| *at > 0)?;
    let whole = text.is_ascii() && text.len() > prefix + 7;
    let prefix_len = u32::try_from(prefix).ok()?;
    whole.then(|| CosmosAddress {
        bech32_addr: text.to_owned(),
        prefix_len,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_by_namespace() {
        let action = submit("evm:1", "0x00000000000000000000000000000000000000fF", Some(1 << 64)).unwrap();
        let AggregatorAction::Submit(SubmitAction::Evm(evm)) = action else {
            panic!("not an EVM action")
        };
        assert_eq!(evm.address.raw_bytes[19], 0xff);
        assert_eq!(evm.gas_price.unwrap().value, (0, 1));

        let action = submit("cosmos:x", "wasm1qqqqqqqq", None).unwrap();
        let AggregatorAction::Submit(SubmitAction::Cosmos(cosmos)) = action else {
            panic!("not a Cosmos action")
        };
        assert_eq!(cosmos.address.prefix_len, 4);
    }

    #[test]
    fn bad_addresses_are_refused() {
        for (chain, handler) in [
            ("evm:1", "0x12"),
            ("evm:1", "0xzz000000000000000000000000000000000000ff"),
            ("evm:1", "wasm1qqqqqqqq"),
            ("cosmos:x", "0x00000000000000000000000000000000000000ff"),
            ("cosmos:x", "1qqqqqqqq"),
        ] {
            assert!(submit(chain, handler, None).is_err(), "{chain} {handler}");
        }
    }
}
