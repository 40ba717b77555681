//! What is counted here.

use wavs_types::ChainKey;

#[derive(Debug, Clone, Default)]
pub struct Metrics;

impl Metrics {
    pub fn dropped(&self, _reason: &'static str) {}
    pub fn fired(&self, _chain: Option<&ChainKey>, _kind: &'static str) {}
    pub fn head(&self, _chain: &ChainKey, _height: u64) {}
    pub fn cursor(&self, _chain: &ChainKey, _height: u64) {}
    pub fn gap(&self, _chain: &ChainKey, _blocks: u64) {}
    pub fn backfilled(&self, _chain: &ChainKey, _blocks: u64) {}
    pub fn reconnect(&self, _chain: &ChainKey) {}
}
