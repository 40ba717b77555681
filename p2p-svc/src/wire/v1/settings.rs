//! The settings of the bridge, validated.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use wavs_service::config::{P2pConfig, P2pMode};
use wavs_types::ServiceId;

use crate::settings::{SettingsError, addresses};

/// Submissions in one answer; deployed nodes give no more, so none expects more.
const MAX_ANSWERED: usize = 100;

/// How the bridge takes part.
#[derive(Debug, Clone)]
pub struct BridgeSettings {
    /// The services; nothing: all.
    pub services: Option<BTreeSet<ServiceId>>,
    /// Whether attestations of other operators of our generation are sent on.
    pub relay: bool,
    /// Where to listen.
    pub listen: Multiaddr,
    /// Nodes of generation 1 that are connected to for as long as the bridge runs.
    pub nodes: Vec<Multiaddr>,
    /// Life of what is kept for catch-up.
    pub life: Duration,
    /// Time between two removals of what is too old.
    pub sweep_every: Duration,
    /// Submissions kept per service; the oldest goes first.
    pub max_kept: usize,
    /// Submissions in one answer.
    pub max_answered: usize,
    /// How long a submission without subscribed peer is tried again.
    pub retry_for: Duration,
    /// Time between two tries.
    pub retry_every: Duration,
    /// Submissions that are tried again; the oldest goes first.
    pub max_retried: usize,
    /// Time for one answer.
    pub answer_limit: Duration,
    /// Questions about one service at once.
    pub max_asked: usize,
}

impl BridgeSettings {
    /// The settings, or nothing when no service is bridged.
    ///
    /// # Errors
    /// When a text is no address or service id.
    pub fn read(config: &P2pConfig) -> Result<Option<Self>, SettingsError> {
        let (bridge, network) = match &config.mode {
            P2pMode::Disabled => return Ok(None),
            P2pMode::Local(network) | P2pMode::Remote { network, .. } => (&config.bridge, network),
        };
        if bridge.services.is_empty() {
            return Ok(None);
        }
        let ip = match &network.listen_address {
            Some(text) => text
                .parse()
                .map_err(|_| SettingsError::new("listen_address", text, "no IP address", "0.0.0.0"))?,
            // Nodes of generation 1 have no other address family.
            None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        Ok(Some(Self {
            services: services(&bridge.services)?,
            relay: bridge.relay,
            listen: Multiaddr::from(ip).with(Protocol::Tcp(bridge.listen_port)),
            nodes: addresses("bridge bootstrap_nodes", &bridge.bootstrap_nodes)?,
            life: network.submission_ttl,
            sweep_every: network.cleanup_interval,
            max_kept: network.max_stored_submissions_per_service,
            max_answered: network.max_catchup_submissions.min(MAX_ANSWERED),
            retry_for: network.max_retry_duration,
            retry_every: network.retry_interval,
            max_retried: network.max_pending_publishes,
            answer_limit: network.catchup_request_timeout,
            max_asked: network.max_concurrent_catchup_requests_per_service,
        }))
    }

    /// Whether a service is bridged.
    #[must_use]
    pub fn bridges(&self, service: &ServiceId) -> bool {
        self.services.as_ref().is_none_or(|listed| listed.contains(service))
    }
}

fn services(texts: &[String]) -> Result<Option<BTreeSet<ServiceId>>, SettingsError> {
    if texts.iter().any(|text| text == "*") {
        return Ok(None);
    }
    let wrong = |text: &str| SettingsError::new("bridge services", text, "no service id", "\"*\" or 64 hex digits");
    let listed = texts.iter().map(|text| text.parse().map_err(|_| wrong(text)));
    listed.collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_all_some_or_wrong() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(services(&texts(&["*"])).unwrap(), None);
        let id = "ab".repeat(32);
        let listed = services(&texts(&[&id])).unwrap().unwrap();
        assert_eq!(listed, BTreeSet::from([ServiceId::new([0xab; 32])]));
        let error = services(&texts(&["main"])).unwrap_err().to_string();
        assert!(error.contains("bridge services: \"main\" is no service id"), "{error}");
    }
}
