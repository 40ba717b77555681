//! A service document as it was fetched: the typed service, the bytes it came from, and everything in them that this
//! version does not know. Two operators that parse the same bytes get the same service hash, whatever the order of members.

use crate::{
    digest::ServiceDigest,
    json_tree::{self, Node},
    service::Service,
};

/// Largest document that is parsed, in bytes. A larger one is refused before any of it is looked at.
pub const MAX_DOCUMENT_BYTES: usize = 1 << 20;

/// A parsed service document.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceDocument {
    service: Service,
    raw: Vec<u8>,
    tree: Node,
}

/// Why bytes are not a service document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The document is larger than [`MAX_DOCUMENT_BYTES`].
    #[error(
        "the service document has {size} bytes, the limit is {}; make it smaller",
        MAX_DOCUMENT_BYTES
    )]
    Size {
        /// Its size.
        size: usize,
    },
    /// It is not JSON, or an object has two members of one name.
    #[error("the service document is not usable JSON: {cause}")]
    Json {
        /// What the parser says, with line and column.
        cause: String,
    },
    /// It is JSON of another shape.
    #[error("the service document is wrong at `{pointer}`: {cause}")]
    Shape {
        /// JSON pointer (RFC 6901) to the wrong place; empty for the document itself.
        pointer: String,
        /// What is wrong there.
        cause: String,
    },
}

impl DocumentError {
    /// JSON pointer to the wrong place, where one is known.
    #[must_use]
    pub fn pointer(&self) -> Option<&str> {
        match self {
            Self::Shape { pointer, .. } => Some(pointer),
            Self::Size { .. } | Self::Json { .. } => None,
        }
    }
}

impl ServiceDocument {
    /// Parses fetched bytes. Only the shape and the scalar formats are checked; see [`ServiceDocument::findings`] for the rest.
    ///
    /// # Errors
    /// Too large, not JSON, repeated members, or not of the shape of a service.
    pub fn parse(raw: &[u8]) -> Result<Self, DocumentError> {
        if raw.len() > MAX_DOCUMENT_BYTES {
            return Err(DocumentError::Size { size: raw.len() });
        }
        let tree: Node = serde_json::from_slice(raw).map_err(|error| DocumentError::Json {
            cause: error.to_string(),
        })?;
        let mut json = serde_json::Deserializer::from_slice(raw);
        let service = serde_path_to_error::deserialize(&mut json).map_err(|error| DocumentError::Shape {
            pointer: json_tree::pointer(error.path()),
            cause: error.into_inner().to_string(),
        })?;
        Ok(Self {
            service,
            raw: raw.to_vec(),
            tree,
        })
    }

    /// The document of a service that was built here and has no other source.
    #[must_use]
    pub fn from_service(service: Service) -> Self {
        let tree = json_tree::of(&service);
        let raw = tree.to_string().into_bytes();
        Self { service, raw, tree }
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// The service, when nothing else of the document is needed.
    #[must_use]
    pub fn into_service(self) -> Service {
        self.service
    }

    /// The bytes as they were fetched.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The service hash: SHA-256 of the canonical form.
    #[must_use]
    pub fn digest(&self) -> ServiceDigest {
        ServiceDigest::of_canonical(&self.canonical())
    }

    /// Compact JSON of the known members, in fixed order, with defaults and nulls written out.
    #[must_use]
    pub fn canonical(&self) -> String {
        json_tree::of(&self.service).to_string()
    }

    /// The canonical form with the unknown members of every object appended to it in their original order, for clients
    /// that wrote them.
    #[must_use]
    pub fn echo(&self) -> String {
        let mut tree = json_tree::of(&self.service);
        tree.append_unknown(&self.tree);
        tree.to_string()
    }
}
