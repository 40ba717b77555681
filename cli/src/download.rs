//! Downloads of what a user names: service documents and components. The addresses are the user's own choice on the user's own
//! machine, so private ones are allowed; sizes and times are bounded all the same.

use std::time::Duration;

use wavs_fetch::{AddressPolicy, FetchLimits, Fetcher, Gateways};
use wavs_types::{MAX_DOCUMENT_BYTES, redacted_url};

use crate::config::Config;
use crate::failure::{Exit, Failure};

/// Largest component in bytes; the default of nodes. A larger one fails.
const MAX_COMPONENT: u64 = 64 * 1024 * 1024;
/// Longest time without a byte.
const STALL: Duration = Duration::from_secs(30);
/// Longest time for a document, redirects and the retry included.
const DOCUMENT_TIME: Duration = Duration::from_secs(30);
/// Longest time for a component.
const COMPONENT_TIME: Duration = Duration::from_secs(120);

/// A component.
///
/// # Errors
/// When it cannot be downloaded within the limits.
pub async fn component(uri: &str, config: &Config) -> Result<Vec<u8>, Failure> {
    fetch(
        uri,
        config,
        FetchLimits {
            max_bytes: MAX_COMPONENT,
            stall: STALL,
            total: COMPONENT_TIME,
        },
    )
    .await
}

/// A service document.
///
/// # Errors
/// When it cannot be downloaded within the limits.
pub async fn document(uri: &str, config: &Config) -> Result<Vec<u8>, Failure> {
    fetch(
        uri,
        config,
        FetchLimits {
            max_bytes: MAX_DOCUMENT_BYTES as u64,
            stall: STALL,
            total: DOCUMENT_TIME,
        },
    )
    .await
}

async fn fetch(uri: &str, config: &Config, limits: FetchLimits) -> Result<Vec<u8>, Failure> {
    let everywhere = ["0.0.0.0/0", "::/0"]
        .iter()
        .filter_map(|network| network.parse().ok())
        .collect();
    let gateways = config
        .ipfs_gateway
        .split(',')
        .map(str::trim)
        .filter(|gateway| !gateway.is_empty());
    let gateways = Gateways::parse(gateways)
        .map_err(|error| Failure::new(Exit::Usage, "configuration", format!("ipfs_gateway: {error}")))?;
    tracing::info!("downloading {}", redacted_url(uri));
    let fetched = Fetcher::new(AddressPolicy::new(everywhere), gateways)
        .fetch(uri, limits)
        .await;
    fetched.map_err(|error| Failure::failed("fetch-failed", error.to_string()))
}
