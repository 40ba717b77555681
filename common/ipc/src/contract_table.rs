//! The table of contracts: the number, name and versions of each tarpc service.
//!
//! The client type of a service stands for it: `Reconnecting<EngineClient>`, `Router::serve::<EngineClient, _, _>`.
//! The number selects the service in the preamble, so that one socket can serve several. Raise `max` with every
//! appended method or variant, raise `min` only when older peers must be refused.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpc::RequestName;
use tarpc::client::Channel;

use crate::contract::{
    engine::{EngineClient, EngineRequest, EngineResponse},
    engine_admin::{EngineAdminClient, EngineAdminRequest, EngineAdminResponse},
    gossip::{GossipClient, GossipRequest, GossipResponse},
    lifecycle::{LifecycleClient, LifecycleRequest, LifecycleResponse},
    p2p_admin::{P2pAdminClient, P2pAdminRequest, P2pAdminResponse},
    records::{RecordsClient, RecordsRequest, RecordsResponse},
    registry::{RegistryClient, RegistryRequest, RegistryResponse},
    trigger_admin::{TriggerAdminClient, TriggerAdminRequest, TriggerAdminResponse},
    trigger_feed::{TriggerFeedClient, TriggerFeedRequest, TriggerFeedResponse},
};
use crate::preamble::VersionRange;

/// A tarpc service, named by its generated client type.
pub trait Contract: Clone + Send + Sync + From<Channel<Self::Request, Self::Response>> + 'static {
    /// Number in the preamble; never given to another service.
    const ID: u16;
    /// Name in logs and errors.
    const NAME: &'static str;
    /// The versions that this build speaks.
    const VERSIONS: VersionRange;
    /// The generated request enum.
    type Request: RequestName + Serialize + DeserializeOwned + Send + 'static;
    /// The generated response enum.
    type Response: Serialize + DeserializeOwned + Send + 'static;
}

/// Makes a tarpc service a [`Contract`]: `contract!(7, "name", 1..=2, Client, Request, Response)`.
#[macro_export]
macro_rules! contract {
    ($id:literal, $name:literal, $min:literal..=$max:literal, $client:ty, $request:ty, $response:ty) => {
        impl $crate::Contract for $client {
            const ID: u16 = $id;
            const NAME: &'static str = $name;
            const VERSIONS: $crate::VersionRange = $crate::VersionRange { min: $min, max: $max };
            type Request = $request;
            type Response = $response;
        }
    };
}

contract!(
    1,
    "Lifecycle",
    1..=1,
    LifecycleClient,
    LifecycleRequest,
    LifecycleResponse
);
contract!(2, "Registry", 1..=2, RegistryClient, RegistryRequest, RegistryResponse);
contract!(
    3,
    "TriggerFeed",
    1..=1,
    TriggerFeedClient,
    TriggerFeedRequest,
    TriggerFeedResponse
);
contract!(
    4,
    "TriggerAdmin",
    1..=2,
    TriggerAdminClient,
    TriggerAdminRequest,
    TriggerAdminResponse
);
contract!(5, "Engine", 1..=1, EngineClient, EngineRequest, EngineResponse);
contract!(
    6,
    "EngineAdmin",
    1..=1,
    EngineAdminClient,
    EngineAdminRequest,
    EngineAdminResponse
);
contract!(7, "Gossip", 2..=2, GossipClient, GossipRequest, GossipResponse);
contract!(8, "P2pAdmin", 1..=1, P2pAdminClient, P2pAdminRequest, P2pAdminResponse);
contract!(9, "Records", 1..=1, RecordsClient, RecordsRequest, RecordsResponse);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_versions_start_at_one() {
        fn row<C: Contract>() -> (u16, &'static str, VersionRange) {
            (C::ID, C::NAME, C::VERSIONS)
        }
        let table = [
            row::<LifecycleClient>(),
            row::<RegistryClient>(),
            row::<TriggerFeedClient>(),
            row::<TriggerAdminClient>(),
            row::<EngineClient>(),
            row::<EngineAdminClient>(),
            row::<GossipClient>(),
            row::<P2pAdminClient>(),
            row::<RecordsClient>(),
        ];
        let ids: BTreeSet<_> = table.iter().map(|(id, ..)| id).collect();
        let names: BTreeSet<_> = table.iter().map(|(_, name, _)| name).collect();
        assert_eq!((ids.len(), names.len()), (table.len(), table.len()));
        assert!(
            table
                .iter()
                .all(|(.., versions)| versions.min >= 1 && versions.min <= versions.max)
        );
    }
}
