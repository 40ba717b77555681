//! Requests and replies. Values are JSON arrays of bytes; the name of the request is the key of the object.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    Write {
        bucket: String,
        key: String,
        value: Vec<u8>,
    },
    Read {
        bucket: String,
        key: String,
    },
    AtomicIncrement {
        bucket: String,
        key: String,
        delta: i64,
    },
    AtomicSwap {
        bucket: String,
        key: String,
        value: Vec<u8>,
    },
    AtomicRead {
        bucket: String,
        key: String,
    },
    /// Another writer comes between the handle and its swap; with `refresh` the handle sees that first.
    AtomicRace {
        bucket: String,
        key: String,
        other: Vec<u8>,
        value: Vec<u8>,
        refresh: bool,
    },
    BatchRead {
        bucket: String,
        keys: Vec<String>,
    },
    BatchWrite {
        bucket: String,
        values: BTreeMap<String, Vec<u8>>,
    },
    BatchDelete {
        bucket: String,
        keys: Vec<String>,
    },
    ListKeys {
        bucket: String,
        cursor: Option<String>,
    },
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Write,
    Read {
        value: Vec<u8>,
    },
    AtomicIncrement {
        value: i64,
    },
    AtomicSwap,
    AtomicRead {
        value: Vec<u8>,
    },
    /// Whether the first swap failed, and what was there before the one that did not.
    AtomicRace {
        failed: bool,
        seen: Option<Vec<u8>>,
    },
    /// Keys without a value are left out.
    BatchRead {
        values: BTreeMap<String, Vec<u8>>,
    },
    BatchWrite,
    BatchDelete,
    ListKeys {
        keys: Vec<String>,
        cursor: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_tagged_by_name() {
        let json = r#"{"write":{"bucket":"b","key":"k","value":[1,255]}}"#;
        assert!(matches!(serde_json::from_str(json), Ok(Request::Write { value, .. }) if value == [1, 255]));
        let json = r#"{"list_keys":{"bucket":"b","cursor":null}}"#;
        assert!(matches!(
            serde_json::from_str(json),
            Ok(Request::ListKeys { cursor: None, .. })
        ));
        assert!(serde_json::from_str::<Request>(r#"{"burn":{"bucket":"b"}}"#).is_err());
    }

    #[test]
    fn replies_are_tagged_by_name() {
        let json = |reply| serde_json::to_string(&reply).unwrap();
        assert_eq!(json(Reply::AtomicSwap), r#""atomic_swap""#);
        assert_eq!(json(Reply::Read { value: vec![7] }), r#"{"read":{"value":[7]}}"#);
        let keys = vec!["a".into()];
        assert_eq!(
            json(Reply::ListKeys { keys, cursor: None }),
            r#"{"list_keys":{"keys":["a"],"cursor":null}}"#
        );
    }
}
