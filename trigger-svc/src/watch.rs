//! What is to be watched: the desired state that aggregator-svc states as a whole, and the views that sources take of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use wavs_ipc::WireError;
use wavs_ipc::contract::trigger_feed::WatchSet;
use wavs_types::{
    B256, ChainConfig, ChainKey, EvmAddress, EvmChainConfig, ServiceId, ServiceManager, Trigger, WorkflowId,
};

/// `keccak256("ServiceURIUpdated(string)")`, the event by which a manager announces a new service document.
pub(crate) const SERVICE_URI_UPDATED: B256 = B256::new([
    0xd2, 0xf0, 0x56, 0xdf, 0x94, 0xc3, 0x1b, 0xdb, 0x3b, 0x4e, 0x16, 0x08, 0x0f, 0x2a, 0xc6, 0xdb, 0xd4, 0x23, 0x3c,
    0x60, 0x01, 0x05, 0x8d, 0x94, 0xaf, 0xc3, 0xad, 0x12, 0x42, 0xdf, 0xf4, 0x88,
]);

/// The desired state.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Watch {
    /// Grows with every change.
    pub generation: u64,
    /// The chains that may be used.
    pub chains: BTreeMap<ChainKey, ChainConfig>,
    /// Every workflow's trigger, ascending by service and workflow: the order in which one occurrence fires them.
    pub routes: Vec<Route>,
    /// The managers of all registered services.
    pub managers: Vec<(ServiceId, ServiceManager)>,
}

/// One workflow's trigger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Route {
    /// The service.
    pub service_id: ServiceId,
    /// The workflow.
    pub workflow_id: WorkflowId,
    /// When it fires.
    pub trigger: Trigger,
    /// False while the service is paused.
    pub active: bool,
    /// Height of the chain when the route was registered: nothing up to it fires. Absent when the chain was out of reach
    /// then.
    pub since: Option<u64>,
}

impl Watch {
    /// Reads the wire form. Routes that `previous` has with the same trigger keep their registration height.
    ///
    /// # Errors
    /// `Invalid` when a document inside does not parse.
    pub(crate) fn from_wire(set: &WatchSet, previous: &Self) -> Result<Self, WireError> {
        let chains = set
            .chains
            .iter()
            .map(|(key, config)| Ok((key.clone(), config.decode()?)))
            .collect::<Result<_, WireError>>()?;
        let known: HashMap<_, _> = previous
            .routes
            .iter()
            .map(|route| ((route.service_id, &route.workflow_id), route))
            .collect();
        let mut routes = set
            .routes
            .iter()
            .map(|route| {
                let trigger: Trigger = route.trigger.decode()?;
                let since = known
                    .get(&(route.service_id, &route.workflow_id))
                    .filter(|known| known.trigger == trigger)
                    .and_then(|known| known.since);
                Ok(Route {
                    service_id: route.service_id,
                    workflow_id: route.workflow_id.clone(),
                    trigger,
                    active: route.active,
                    since,
                })
            })
            .collect::<Result<Vec<_>, WireError>>()?;
        routes.sort_by(|a, b| (a.service_id, &a.workflow_id).cmp(&(b.service_id, &b.workflow_id)));
        Ok(Self {
            generation: set.generation,
            chains,
            routes,
            managers: set.managers.clone(),
        })
    }

    /// The routes that `previous` does not have with the same trigger, by their place.
    #[must_use]
    pub(crate) fn new_routes(&self, previous: &Self) -> BTreeSet<usize> {
        let known: HashMap<_, _> = previous
            .routes
            .iter()
            .map(|route| ((route.service_id, &route.workflow_id), &route.trigger))
            .collect();
        let is_new = |route: &Route| known.get(&(route.service_id, &route.workflow_id)) != Some(&&route.trigger);
        let routes = self.routes.iter().enumerate();
        routes
            .filter(|(_, route)| is_new(route))
            .map(|(place, _)| place)
            .collect()
    }

    /// The managers that `previous` does not have.
    pub(crate) fn new_managers<'a>(&'a self, previous: &'a Self) -> impl Iterator<Item = &'a ServiceManager> {
        let is_new = |manager: &&(ServiceId, ServiceManager)| !previous.managers.contains(manager);
        self.managers.iter().filter(is_new).map(|(_, manager)| manager)
    }

    /// The chains that some route or manager needs.
    #[must_use]
    pub(crate) fn used_chains(&self) -> BTreeSet<&ChainKey> {
        let routes = self.routes.iter().filter_map(|route| route.trigger.chain());
        routes
            .chain(self.managers.iter().map(|(_, manager)| manager.chain()))
            .collect()
    }

    /// The routes with a schedule, in firing order.
    #[must_use]
    pub(crate) fn schedules(&self) -> Vec<Route> {
        let scheduled = |route: &&Route| matches!(route.trigger, Trigger::Cron { .. });
        self.routes.iter().filter(scheduled).cloned().collect()
    }

    /// What one EVM chain is watched for; absent when the chain is not configured or not an EVM chain.
    #[must_use]
    pub(crate) fn evm_view(&self, chain: &ChainKey) -> Option<EvmView> {
        let Some(ChainConfig::Evm(config)) = self.chains.get(chain) else {
            return None;
        };
        let mut view = EvmView {
            generation: self.generation,
            config: config.clone(),
            routes: HashMap::new(),
            intervals: Vec::new(),
            managers: HashMap::new(),
        };
        for route in self.routes.iter().filter(|route| route.trigger.chain() == Some(chain)) {
            match &route.trigger {
                Trigger::EvmContractEvent {
                    address, event_hash, ..
                } => {
                    let key = (*address, *event_hash);
                    view.routes.entry(key).or_default().push(route.clone());
                }
                Trigger::BlockInterval { .. } => view.intervals.push(route.clone()),
                _ => {}
            }
        }
        for (service_id, manager) in &self.managers {
            if let ServiceManager::Evm { chain: of, address } = manager
                && of == chain
            {
                view.managers.insert(*address, *service_id);
            }
        }
        Some(view)
    }
}

/// What one EVM chain is watched for.
#[derive(Debug, Clone)]
pub(crate) struct EvmView {
    /// Generation of the desired state that it was taken from.
    pub generation: u64,
    /// How to reach the chain.
    pub config: EvmChainConfig,
    /// The routes by contract and topic 0, each list in firing order.
    pub routes: HashMap<(EvmAddress, B256), Vec<Route>>,
    /// The routes that count its blocks, in firing order.
    pub intervals: Vec<Route>,
    /// The services by manager contract.
    pub managers: HashMap<EvmAddress, ServiceId>,
}

/// A log filter: any of the addresses with any of the first topics. The exact match is made locally.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LogFilter {
    /// Contracts, ascending.
    pub addresses: Vec<EvmAddress>,
    /// First topics, ascending.
    pub topics: Vec<B256>,
}

impl LogFilter {
    /// Two filters that together ask for the same; `None` when there is nothing to split.
    #[must_use]
    pub(crate) fn split(&self) -> Option<[Self; 2]> {
        let (addresses, topics) = (self.addresses.as_slice(), self.topics.as_slice());
        let with = |addresses: &[EvmAddress], topics: &[B256]| Self {
            addresses: addresses.to_vec(),
            topics: topics.to_vec(),
        };
        if addresses.len() > 1 {
            let (first, second) = addresses.split_at(addresses.len() / 2);
            Some([with(first, topics), with(second, topics)])
        } else if topics.len() > 1 {
            let (first, second) = topics.split_at(topics.len() / 2);
            Some([with(addresses, first), with(addresses, second)])
        } else {
            None
        }
    }
}

impl EvmView {
    /// Whether both ask for the same, whichever generation they are of.
    #[must_use]
    pub(crate) fn same(&self, other: &Self) -> bool {
        let Self {
            generation: _,
            config,
            routes,
            intervals,
            managers,
        } = self;
        (config, routes, intervals, managers) == (&other.config, &other.routes, &other.intervals, &other.managers)
    }

    /// The filters that together cover all routes and managers: contracts that share their set of topics are put
    /// together, so that the cross product asks for little beyond what is wanted, in chunks that providers accept.
    #[must_use]
    pub(crate) fn filters(&self) -> BTreeSet<LogFilter> {
        let mut topics_of: BTreeMap<EvmAddress, BTreeSet<B256>> = BTreeMap::new();
        for (address, topic) in self.routes.keys() {
            topics_of.entry(*address).or_default().insert(*topic);
        }
        for address in self.managers.keys() {
            topics_of.entry(*address).or_default().insert(SERVICE_URI_UPDATED);
        }
        let mut groups: BTreeMap<BTreeSet<B256>, Vec<EvmAddress>> = BTreeMap::new();
        for (address, topics) in topics_of {
            groups.entry(topics).or_default().push(address);
        }
        let chunk = self.config.max_filter_addresses.max(1);
        groups
            .into_iter()
            .flat_map(|(topics, addresses)| {
                let topics: Vec<_> = topics.into_iter().collect();
                addresses
                    .chunks(chunk)
                    .map(|addresses| LogFilter {
                        addresses: addresses.to_vec(),
                        topics: topics.clone(),
                    })
                    .collect::<Vec<_>>()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(pairs: &[(u8, u8)], managers: &[u8], max_filter_addresses: usize) -> EvmView {
        let mut config: EvmChainConfig = serde_json::from_str(r#"{"chain_id":"1","ws_endpoints":["ws://x"]}"#).unwrap();
        config.max_filter_addresses = max_filter_addresses;
        let routes = pairs
            .iter()
            .map(|(address, topic)| ((EvmAddress::repeat_byte(*address), B256::repeat_byte(*topic)), vec![]));
        let service = ServiceId::new([1; 32]);
        let managers = managers.iter().map(|byte| (EvmAddress::repeat_byte(*byte), service));
        EvmView {
            generation: 1,
            config,
            routes: routes.collect(),
            intervals: Vec::new(),
            managers: managers.collect(),
        }
    }

    #[test]
    fn contracts_with_equal_topics_share_a_filter() {
        let filters = view(&[(1, 10), (2, 10), (3, 11), (4, 10), (4, 11)], &[5], 500).filters();
        let shapes: BTreeSet<_> = filters
            .iter()
            .map(|filter| (filter.addresses.len(), filter.topics.len()))
            .collect();
        assert_eq!(shapes, BTreeSet::from([(2, 1), (1, 1), (1, 2)]));
        assert_eq!(filters.len(), 4);
    }

    #[test]
    fn a_filter_never_exceeds_the_configured_number_of_addresses() {
        let pairs: Vec<_> = (1..=100).map(|address| (address, 9)).collect();
        let filters = view(&pairs, &[], 30).filters();
        assert_eq!(filters.iter().map(|filter| filter.addresses.len()).sum::<usize>(), 100);
        assert!(filters.iter().all(|filter| filter.addresses.len() <= 30));
    }

    #[test]
    fn a_filter_splits_into_single_contracts_and_topics_and_no_further() {
        let pairs: Vec<_> = (1..=3).flat_map(|address| [(address, 9), (address, 10)]).collect();
        let whole = view(&pairs, &[], 500).filters().into_iter().next().unwrap();
        let mut waiting = vec![whole];
        let mut single = BTreeSet::new();
        while let Some(filter) = waiting.pop() {
            match filter.split() {
                Some(halves) => waiting.extend(halves),
                None => assert!(single.insert((filter.addresses[0], filter.topics[0]))),
            }
        }
        assert_eq!(single.len(), 6);
    }

    #[test]
    fn the_topic_is_the_hash_of_the_signature() {
        assert_eq!(
            SERVICE_URI_UPDATED,
            alloy::primitives::keccak256("ServiceURIUpdated(string)")
        );
    }
}
