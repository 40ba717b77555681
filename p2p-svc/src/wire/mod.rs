//! What nodes say to each other: one module per wire, all of which run side by side behind [`Wire`].
//!
//! `sync` tells every wire the topics and who may speak, `publish` offers it a record of ours, `retire` ends events, and
//! what others say on it waits in the one inbox of the store. A wire decides alone how it finds peers and what it sends
//! them; none hears of another, and what came by one is not sent on by another unless the operator asks for it.
//! A further wire is a further module and variant: a handle to a task of its own, and a
//! [`Generation`](wavs_ipc::contract::gossip::Generation) for what it leaves in the inbox.

pub mod v1;
pub mod v2;

use tokio::sync::watch;
use wavs_ipc::contract::p2p_admin::PeerView;
use wavs_types::{B256, EventId, EvmAddress, ServiceId, SignedRecord};

use crate::members::Members;
use crate::network::{Network, Stopping};
use v1::{Bridge, MessageError};

/// A running wire. Clones share it.
#[derive(Clone)]
pub enum Wire {
    /// Nodes of generation 1, for the services that the configuration lists.
    V1(Bridge),
    /// The nodes of our own generation.
    V2(Network),
}

/// Why a record was not taken for publication.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It can never be sent on this wire.
    #[error(transparent)]
    Refused(#[from] MessageError),
    /// The wire has ended.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

impl Wire {
    /// Joins and leaves topics, and knows these operators from now on.
    ///
    /// # Errors
    /// When the wire has ended. The bridge's end is no error: it starts again by itself.
    pub async fn sync(&self, members: &Members) -> Result<(), Stopping> {
        match self {
            Self::V1(bridge) => {
                bridge.sync(members.clone());
                Ok(())
            }
            Self::V2(network) => network.sync(members.clone()).await,
        }
    }

    /// Sends a record of our own, which is in the store already with its body.
    ///
    /// # Errors
    /// When the record does not fit this wire, or the wire has ended.
    pub async fn publish(&self, record: &SignedRecord, body: &[u8]) -> Result<(), PublishError> {
        match self {
            // It follows the store by itself; what can never be sent is said here, to whoever signed it.
            Self::V1(bridge) => Ok(bridge.check(record, body)?),
            Self::V2(network) => Ok(network.publish(record.clone()).await?),
        }
    }

    /// Ignores attestations of these events from now on, and does not offer them any more.
    ///
    /// # Errors
    /// When the wire has ended.
    pub async fn retire(&self, service: ServiceId, events: &[EventId]) -> Result<(), Stopping> {
        match self {
            Self::V1(bridge) => {
                bridge.retire(service, events.to_vec());
                Ok(())
            }
            Self::V2(network) => network.retire(service, events.to_vec()).await,
        }
    }

    /// Blames those who sent something lately that contradicts itself.
    ///
    /// # Errors
    /// When the wire has ended.
    pub async fn blame(&self, id: B256) -> Result<(), Stopping> {
        match self {
            // What the bridge lets in was signed by an operator; whoever carried it could not know better.
            Self::V1(_) => Ok(()),
            Self::V2(network) => network.blame(id).await,
        }
    }

    /// Authors of something well-formed whose standing is not known.
    #[must_use]
    pub fn unknown(&self) -> watch::Receiver<Vec<(ServiceId, EvmAddress)>> {
        match self {
            Self::V1(bridge) => bridge.unknown(),
            Self::V2(network) => network.unknown(),
        }
    }

    /// The peers on this wire.
    ///
    /// # Errors
    /// When the wire has ended.
    pub async fn peers(&self) -> Result<Vec<PeerView>, Stopping> {
        match self {
            Self::V1(bridge) => Ok(bridge.peers()),
            Self::V2(network) => network.peers().await,
        }
    }
}
