//! Documents inside calls, as JSON text.
//!
//! Service documents, triggers and trigger data have a frozen external JSON form. Carrying that text keeps the calls
//! independent of our in-memory types and of the codec, which has no self-describing values.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{ErrorCode, WireError};

/// A `T` as JSON text. Decoding happens at the boundary, where a failure is an [`ErrorCode::Invalid`].
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json<T> {
    #[serde(with = "serde_bytes")]
    text: Vec<u8>,
    #[serde(skip)]
    _type: PhantomData<fn() -> T>,
}

impl<T> Json<T> {
    /// Takes JSON text as it is, without looking at it.
    pub fn from_text(text: impl Into<Vec<u8>>) -> Self {
        Self {
            text: text.into(),
            _type: PhantomData,
        }
    }

    /// The JSON text.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The JSON text, owned.
    #[must_use]
    pub fn into_text(self) -> Vec<u8> {
        self.text
    }
}

impl<T: Serialize> Json<T> {
    /// Writes `value` as compact JSON.
    ///
    /// # Errors
    /// When `value` has no JSON form (a map with keys that are not strings).
    pub fn encode(value: &T) -> Result<Self, WireError> {
        serde_json::to_vec(value).map(Self::from_text).map_err(|cause| {
            WireError::never(
                ErrorCode::Internal,
                format!("cannot write {} as JSON: {cause}", name::<T>()),
            )
        })
    }
}

impl<T: DeserializeOwned> Json<T> {
    /// Reads the value.
    ///
    /// # Errors
    /// [`ErrorCode::Invalid`] with the position when the text is not a `T`.
    pub fn decode(&self) -> Result<T, WireError> {
        serde_json::from_slice(&self.text).map_err(|cause| {
            WireError::never(
                ErrorCode::Invalid,
                format!("cannot read {} from JSON: {cause}", name::<T>()),
            )
        })
    }
}

fn name<T>() -> &'static str {
    let path = std::any::type_name::<T>();
    path.rsplit("::").next().unwrap_or(path)
}

impl<T> Clone for Json<T> {
    fn clone(&self) -> Self {
        Self::from_text(self.text.clone())
    }
}

impl<T> PartialEq for Json<T> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl<T> Eq for Json<T> {}

impl<T> std::fmt::Debug for Json<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Json<{}>({})", name::<T>(), String::from_utf8_lossy(&self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_survives_the_trip() {
        let json = Json::encode(&vec![1_u64, u64::MAX]).unwrap();
        assert_eq!(json.text(), b"[1,18446744073709551615]");
        assert_eq!(json.decode().unwrap(), vec![1, u64::MAX]);
    }

    #[test]
    fn a_wrong_text_names_the_type_and_the_cause() {
        let error = Json::<Vec<u64>>::from_text("{").decode().unwrap_err();
        assert_eq!(error.code, ErrorCode::Invalid);
        assert!(error.detail.contains("Vec<u64>"), "{error}");
    }
}
