//! From a result to the payload that the handler on the manager's chain expects.

use crate::WasmResponse;
use crate::abi::encode_data_with_id;
use crate::host;
use crate::wavs_types::service::ServiceManager;

/// A response with that payload and nothing else.
pub fn response(payload: Vec<u8>) -> WasmResponse {
    WasmResponse {
        payload,
        ordering: None,
        event_id_salt: None,
    }
}

/// Pack a result with the id of its trigger, for the chain of the service's manager.
pub fn wrap(trigger_id: u64, data: &[u8]) -> Vec<u8> {
    match host::get_service().service.manager {
        ServiceManager::Evm(_) => encode_data_with_id(trigger_id, data),
        ServiceManager::Cosmos(_) => encode_message(trigger_id, data),
    }
}

/// Length and decimal text of the id, then length and bytes of the data.
pub fn encode_message(trigger_id: u64, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in [trigger_id.to_string().as_bytes(), data] {
        push_length(&mut out, part.len());
        out.extend_from_slice(part);
    }
    out
}

/// A length in the variable form of bincode: one byte up to 250, else a marker and a little-endian number.
fn push_length(out: &mut Vec<u8>, length: usize) {
    if let Some(byte) = u8::try_from(length).ok().filter(|byte| *byte < 251) {
        out.push(byte);
    } else if let Ok(short) = u16::try_from(length) {
        out.push(251);
        out.extend_from_slice(&short.to_le_bytes());
    } else {
        // A component's memory has 32-bit addresses, so no length is wider than this.
        out.push(252);
        out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::encode_message;

    #[test]
    fn messages_carry_lengths() {
        assert_eq!(encode_message(0, br#"{"y":9}"#), b"\x010\x07{\"y\":9}");
        assert_eq!(encode_message(12, &[])[..], *b"\x0212\x00");
        let long = encode_message(0, &[5; 300]);
        assert_eq!(long[2..5], [251, 44, 1]);
        assert_eq!(long.len(), 305);
    }
}
