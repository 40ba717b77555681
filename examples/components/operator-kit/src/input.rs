//! From a trigger to an id and the bytes that came with it.

use crate::TriggerAction;
use crate::abi::decode_new_trigger;
use crate::wavs_types::events::{TriggerData, TriggerDataCosmosContractEvent};

/// Topic of `NewTrigger(bytes)`.
pub const NEW_TRIGGER: [u8; 32] = [
    0x86, 0xea, 0xcd, 0x23, 0x61, 0x0d, 0x81, 0x70, 0x65, 0x16, 0xde, 0x1e, 0xd0, 0x47, 0x6c, 0x87, 0x77, 0x2f, 0xdf,
    0x93, 0x9c, 0x7c, 0x77, 0x1f, 0xbb, 0xd7, 0xf0, 0x23, 0x0d, 0x61, 0x9e, 0x68,
];

/// The id and bytes of a trigger. Raw input has id 0.
///
/// # Errors
/// When the trigger carries no bytes at all, or not in the form of the example contracts.
///
/// # Panics
/// On a feed event without a record, which traps the component.
pub fn decode(action: &TriggerAction) -> Result<(u64, Vec<u8>), String> {
    match &action.data {
        TriggerData::Raw(bytes) => Ok((0, bytes.clone())),
        TriggerData::EvmContractEvent(event) => {
            if event.log.data.topics.first().map(Vec::as_slice) != Some(&NEW_TRIGGER[..]) {
                return Err("the log is not a NewTrigger(bytes) event".into());
            }
            let info = decode_new_trigger(&event.log.data.data).map_err(|error| error.to_string())?;
            Ok((info.trigger_id, info.data))
        }
        TriggerData::CosmosContractEvent(event) => decode_message(event),
        TriggerData::AtprotoEvent(event) => {
            let record = event.record_data.as_ref().expect("feed event without a record");
            Ok((u64::try_from(event.sequence).unwrap_or(0), record.clone().into_bytes()))
        }
        TriggerData::HypercoreAppend(append) => Ok((append.index, append.data.clone())),
        TriggerData::BlockInterval(_) | TriggerData::Cron(_) => Err("Unsupported trigger data type".into()),
    }
}

fn decode_message(event: &TriggerDataCosmosContractEvent) -> Result<(u64, Vec<u8>), String> {
    if !matches!(event.event.ty.as_str(), "push-message" | "wasm-push-message") {
        return Err(format!("the event is a {}, not a push-message", event.event.ty));
    }
    let attribute = |name: &str| {
        let found = event.event.attributes.iter().find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.as_str())
            .ok_or_else(|| format!("the event has no attribute {name}"))
    };
    let id = attribute("trigger-id")?;
    let id = id.parse().map_err(|_| format!("trigger-id {id} is not a number"))?;
    let data = unhex(attribute("data")?).ok_or("the attribute data is not hexadecimal")?;
    Ok((id, data))
}

/// Hexadecimal digits of either case, without a prefix.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if digits.len() % 2 != 0 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TriggerConfig;
    use crate::wavs_types::chain::{CosmosAddress, CosmosEvent};
    use crate::wavs_types::core::Timestamp;
    use crate::wavs_types::events::TriggerDataCron;
    use crate::wavs_types::service::Trigger;

    fn action(data: TriggerData) -> TriggerAction {
        let config = TriggerConfig {
            service_id: String::new(),
            workflow_id: String::new(),
            trigger: Trigger::Manual,
        };
        TriggerAction { config, data }
    }

    fn message(ty: &str, id: &str, data: &str) -> TriggerData {
        TriggerData::CosmosContractEvent(TriggerDataCosmosContractEvent {
            contract_address: CosmosAddress {
                bech32_addr: "wasm1x".into(),
                prefix_len: 4,
            },
            chain: "cosmos:x".into(),
            event: CosmosEvent {
                ty: ty.into(),
                attributes: vec![("data".into(), data.into()), ("trigger-id".into(), id.into())],
            },
            event_index: 0,
            block_height: 1,
        })
    }

    #[test]
    fn inputs_decode_as_the_contracts_write_them() {
        assert_eq!(decode(&action(TriggerData::Raw(vec![1]))), Ok((0, vec![1])));
        assert_eq!(
            decode(&action(message("wasm-push-message", "12", "00fF"))),
            Ok((12, vec![0, 0xff]))
        );
        assert_eq!(decode(&action(message("push-message", "0", ""))), Ok((0, vec![])));
    }

    #[test]
    fn everything_else_is_an_error() {
        for data in [
            message("transfer", "1", "00"),
            message("push-message", "-1", "00"),
            message("push-message", "1", "0"),
            message("push-message", "1", "zz"),
            message("push-message", "1", "é"),
            TriggerData::Cron(TriggerDataCron {
                trigger_time: Timestamp { nanos: 1 },
            }),
        ] {
            assert!(decode(&action(data)).is_err());
        }
    }
}
