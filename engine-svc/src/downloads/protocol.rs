//! What engine-svc asks the download host.

use serde::{Deserialize, Serialize};
use wavs_fetch::{FetchLimits, Fetcher};
use wavs_service::config::LogFormat;
use wavs_types::{ComponentDigest, ComponentSource};

use super::DEFAULT_REGISTRY;

/// The first line: how to download.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) fetcher: Fetcher,
    pub(super) limits: FetchLimits,
    /// The form of log lines.
    pub(super) log: LogFormat,
}

/// Have a component in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Request {
    /// Its SHA-256, which decides what is accepted.
    pub(super) digest: ComponentDigest,
    pub(super) place: Place,
}

/// Where to look for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Place {
    /// An http, https or ipfs URI.
    Uri(String),
    /// A package of a registry. The digest says more than a version does, so there is none.
    Package {
        /// Host, with a port if need be.
        registry: String,
        /// `namespace:name`.
        package: String,
    },
}

/// How a download ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// The component is in the store.
    Stored,
    /// What is there has another digest.
    WrongDigest(ComponentDigest),
    /// It could not be had; why, in words that name the place.
    Failed(String),
    /// It is there, and cannot be stored.
    NotStored(String),
}

impl Request {
    /// The request for a source; nothing for one that names no place.
    pub(super) fn of(source: ComponentSource) -> Option<Self> {
        let (digest, place) = match source {
            ComponentSource::Digest(_) => return None,
            ComponentSource::Download { uri, digest } => (digest, Place::Uri(uri)),
            ComponentSource::Registry {
                digest,
                domain,
                package,
                ..
            } => {
                let registry = domain.unwrap_or_else(|| DEFAULT_REGISTRY.to_owned());
                (digest, Place::Package { registry, package })
            }
        };
        Some(Self { digest, place })
    }
}

impl Place {
    /// The place in words.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Uri(uri) => uri.clone(),
            Self::Package { registry, package } => format!("{registry}/{package}"),
        }
    }
}
