//! The hashed encoding of trigger data: bincode 2 in its standard configuration, written out by hand. Operators agree on an
//! event id only if these bytes agree, so the order of variants and fields is spelled out here instead of following from
//! a derive that an innocent refactoring could change.

#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::{
    trigger::AtProtoAction,
    trigger_data::{CosmosEvent, LogData, TriggerData},
};

/// Encodes one occurrence.
pub(crate) fn encode(data: &TriggerData) -> Vec<u8> {
    let mut out = Writer::default();
    match data {
        TriggerData::CosmosContractEvent {
            contract_address,
            chain,
            event,
            block_height,
            event_index,
        } => {
            out.uint(0);
            out.text(contract_address.as_str());
            out.text(chain.as_str());
            out.cosmos_event(event);
            out.uint(*block_height);
            out.uint(*event_index);
        }
        TriggerData::EvmContractEvent {
            chain,
            contract_address,
            log_data,
            tx_hash,
            block_number,
            log_index,
            block_hash,
            block_timestamp,
            tx_index,
        } => {
            out.uint(1);
            out.text(chain.as_str());
            out.bytes(contract_address.as_slice());
            out.log_data(log_data);
            out.bytes(tx_hash.as_slice());
            out.uint(*block_number);
            out.uint(*log_index);
            out.bytes(block_hash.as_slice());
            out.option(block_timestamp.as_ref(), |out, seconds| out.uint(*seconds));
            out.uint(*tx_index);
        }
        TriggerData::BlockInterval { chain, block_height } => {
            out.uint(2);
            out.text(chain.as_str());
            out.uint(*block_height);
        }
        TriggerData::Cron { trigger_time } => {
            out.uint(3);
            out.uint(*trigger_time);
        }
        // The relay's sequence and clock differ between relays, so they are left out, and so is the variant index.
        TriggerData::AtProtoEvent {
            sequence: _,
            timestamp: _,
            repo,
            collection,
            rkey,
            action,
            cid,
            record,
            rev,
            op_index,
        } => {
            out.text(repo);
            out.text(collection);
            out.text(rkey);
            out.uint(action_index(*action));
            out.option(cid.as_ref(), |out, cid| out.text(cid));
            out.option(record.as_ref(), Writer::json);
            out.option(rev.as_ref(), |out, rev| out.text(rev));
            out.option(op_index.as_ref(), |out, index| out.uint(u64::from(*index)));
        }
        TriggerData::HypercoreAppend { feed_key, index, data } => {
            out.uint(5);
            out.text(feed_key);
            out.uint(*index);
            out.bytes(data);
        }
        TriggerData::Raw(bytes) => {
            out.uint(6);
            out.bytes(bytes);
        }
    }
    out.0
}

fn action_index(action: AtProtoAction) -> u64 {
    match action {
        AtProtoAction::Create => 0,
        AtProtoAction::Update => 1,
        AtProtoAction::Delete => 2,
    }
}

/// Appends values in bincode's variable-length form.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    /// One byte below 251; otherwise a marker and the shortest little-endian integer of 2, 4 or 8 bytes.
    fn uint(&mut self, value: u64) {
        if let Some(small) = u8::try_from(value).ok().filter(|small| *small < 251) {
            self.0.push(small);
        } else if let Ok(value) = u16::try_from(value) {
            self.0.push(0xfb);
            self.0.extend(value.to_le_bytes());
        } else if let Ok(value) = u32::try_from(value) {
            self.0.push(0xfc);
            self.0.extend(value.to_le_bytes());
        } else {
            self.0.push(0xfd);
            self.0.extend(value.to_le_bytes());
        }
    }

    /// Zigzag, then as an unsigned integer.
    fn int(&mut self, value: i64) {
        self.uint(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    fn length(&mut self, length: usize) {
        self.uint(length as u64);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn option<T>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        self.0.push(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn log_data(&mut self, log: &LogData) {
        self.length(log.topics.len());
        for topic in &log.topics {
            self.bytes(topic.as_slice());
        }
        self.bytes(&log.data);
    }

    fn cosmos_event(&mut self, event: &CosmosEvent) {
        self.text(&event.event_type);
        self.length(event.attributes.len());
        for attribute in &event.attributes {
            self.text(&attribute.key);
            self.text(&attribute.value);
        }
    }

    /// Values carry no type tag, so different records can have equal bytes. That is how the network hashes them.
    fn json(&mut self, value: &Value) {
        match value {
            Value::Null => {}
            Value::Bool(value) => self.0.push(u8::from(*value)),
            Value::Number(number) => self.number(number),
            Value::String(text) => self.text(text),
            Value::Array(items) => {
                self.length(items.len());
                for item in items {
                    self.json(item);
                }
            }
            Value::Object(members) => {
                // Sorted here, because another crate of the build may make the JSON library keep insertion order.
                let mut members: Vec<_> = members.iter().collect();
                members.sort_unstable_by_key(|(key, _)| key.as_bytes());
                self.length(members.len());
                for (key, value) in members {
                    self.text(key);
                    self.json(value);
                }
            }
        }
    }

    fn number(&mut self, number: &serde_json::Number) {
        if let Some(value) = number.as_u64() {
            self.uint(value);
        } else if let Some(value) = number.as_i64() {
            self.int(value);
        } else {
            self.0.extend(number.as_f64().unwrap_or(f64::NAN).to_le_bytes());
        }
    }
}
