//! Tables of chains, parsed once per version rather than once per run. Every job carries its table as text; nearly all carry the
//! same.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use wavs_ipc::{Json, WireError};
use wavs_types::{ChainConfig, ChainKey};

use crate::egress::{Destination, endpoint};

/// Parsed tables in memory; the one unused for the longest time is dropped and parsed again when needed.
const TABLES: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// What a guest may know of chains.
#[derive(Debug)]
pub(crate) struct ChainTable {
    /// The chains by their keys.
    pub(crate) by_key: BTreeMap<ChainKey, ChainConfig>,
    /// The http(s) endpoints that the host functions hand out.
    pub(crate) endpoints: Arc<[Destination]>,
}

/// A table as it travels: names and texts.
type Texts = Vec<(ChainKey, Vec<u8>)>;

/// The parsed tables.
pub(crate) struct ChainTables(Mutex<LruCache<Texts, Arc<ChainTable>>>);

impl Default for ChainTables {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(TABLES)))
    }
}

impl ChainTables {
    /// The table of a job.
    ///
    /// # Errors
    /// When a text is not the configuration of a chain.
    pub(crate) fn get(&self, chains: Vec<(ChainKey, Json<ChainConfig>)>) -> Result<Arc<ChainTable>, WireError> {
        let texts: Texts = chains
            .into_iter()
            .map(|(key, config)| (key, config.into_text()))
            .collect();
        if let Some(known) = self.lock().get(&texts) {
            return Ok(Arc::clone(known));
        }
        let by_key = texts
            .iter()
            .map(|(key, text)| Ok((key.clone(), Json::from_text(text.clone()).decode()?)))
            .collect::<Result<BTreeMap<ChainKey, ChainConfig>, WireError>>()?;
        let table = Arc::new(ChainTable {
            endpoints: endpoints(&by_key),
            by_key,
        });
        self.lock().put(texts, Arc::clone(&table));
        Ok(table)
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<Texts, Arc<ChainTable>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn endpoints(chains: &BTreeMap<ChainKey, ChainConfig>) -> Arc<[Destination]> {
    chains
        .values()
        .flat_map(|chain| match chain {
            ChainConfig::Evm(config) => [config.http_endpoint.as_deref(), None],
            ChainConfig::Cosmos(config) => [config.rpc_endpoint.as_deref(), config.grpc_endpoint.as_deref()],
        })
        .flatten()
        .filter_map(endpoint)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(endpoint: &str) -> Vec<(ChainKey, Json<ChainConfig>)> {
        let text = format!(r#"{{"type":"evm","chain_id":"1","http_endpoint":"{endpoint}"}}"#);
        vec![("evm:1".parse().unwrap(), Json::from_text(text))]
    }

    #[test]
    fn a_table_is_parsed_once_and_another_one_is_another() {
        let tables = ChainTables::default();
        let first = tables.get(table("http://one.example")).unwrap();
        assert!(Arc::ptr_eq(&first, &tables.get(table("http://one.example")).unwrap()));
        assert!(first.endpoints.contains(&endpoint("http://one.example").unwrap()));
        let second = tables.get(table("http://two.example")).unwrap();
        assert!(!second.endpoints.contains(&endpoint("http://one.example").unwrap()));
        assert!(
            tables
                .get(vec![("evm:1".parse().unwrap(), Json::from_text("{}x"))])
                .is_err()
        );
    }
}
