//! Addresses and chain keys.

use wavs_types::{ChainKey, CosmosAddress, EvmAddress};

use crate::bindings::operator::wavs::types::chain as wit;

pub(super) fn evm(address: &EvmAddress) -> wit::EvmAddress {
    wit::EvmAddress {
        raw_bytes: address.to_vec(),
    }
}

pub(super) fn cosmos(address: &CosmosAddress) -> wit::CosmosAddress {
    wit::CosmosAddress {
        bech32_addr: address.as_str().to_owned(),
        prefix_len: address.prefix_len(),
    }
}

/// A chain key of a guest.
pub(super) fn chain_key(text: &str) -> Result<ChainKey, String> {
    text.parse()
        .map_err(|cause| format!("the chain key {text:?} of an action is not valid: {cause}"))
}

/// An EVM address of a guest.
pub(super) fn from_evm(address: &wit::EvmAddress) -> Result<[u8; 20], String> {
    let bytes = address.raw_bytes.as_slice();
    bytes.try_into().map_err(|_| {
        format!(
            "the EVM address of an action has {} bytes, it must have 20",
            bytes.len()
        )
    })
}

/// A Cosmos address of a guest.
pub(super) fn from_cosmos(address: &wit::CosmosAddress) -> Result<String, String> {
    let text = &address.bech32_addr;
    let prefix = usize::try_from(address.prefix_len)
        .ok()
        .and_then(|length| text.get(..length))
        .ok_or_else(|| {
            format!(
                "the prefix-len {} of the Cosmos address {text:?} is not inside of it, on a character boundary",
                address.prefix_len
            )
        })?;
    let parsed: CosmosAddress = text
        .parse()
        .map_err(|cause| format!("the Cosmos address {text:?} of an action is not valid: {cause}"))?;
    if !parsed.prefix().eq_ignore_ascii_case(prefix) {
        return Err(format!(
            "the prefix-len of the Cosmos address {text:?} is {}, but its prefix is {:?}",
            address.prefix_len,
            parsed.prefix()
        ));
    }
    Ok(parsed.as_str().to_owned())
}
