//! The part of trigger-svc.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wavs_types::{ChainConfig, ChainKey};

use super::engine::own_ports;
use super::error::ConfigError;
use super::fetch::FetchConfig;
use super::values::Values;

/// What trigger-svc is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TriggerConfig {
    /// Threads of the runtime.
    pub worker_threads: usize,
    /// The chains to watch. Further ones come with the watch set.
    pub chains: BTreeMap<ChainKey, ChainConfig>,
    /// How service documents are downloaded.
    pub fetch: FetchConfig,
    /// Ports at which the node itself can be reached. Documents do not come from there, unless an entry of the allow list names
    /// address and port, or the development endpoints are on.
    pub own_ports: Vec<u16>,
    /// Development endpoints are on: documents may come from loopback.
    pub dev_endpoints: bool,
    /// No source connects to anything; only manual triggers work.
    pub networking_disabled: bool,
    /// Unacknowledged entries in the spool above which sources stop reading and cursors stop advancing.
    pub spool_max_entries: u64,
    /// Bytes in the spool above which the same happens.
    pub spool_max_bytes: u64,
    /// How missed blocks of a block interval are made up for.
    pub block_interval_catch_up: CatchUp,
    /// A block interval fires once more when its end block was passed while the node was down.
    pub block_interval_fire_after_end: bool,
    /// How missed times of a schedule are made up for.
    pub cron_misfire_policy: MisfirePolicy,
    /// How late a schedule may fire.
    pub cron_misfire_window: Duration,
    /// Jetstream endpoints in order of preference.
    pub jetstream_endpoints: Vec<String>,
    /// Largest message asked of a Jetstream server, in bytes; 0 is no cap.
    pub jetstream_max_message_size: u64,
    /// How far a new connection reads back.
    pub jetstream_rewind: Duration,
    /// `host:port` of a node of the hyperswarm.
    pub hyperswarm_bootstrap: Option<String>,
    /// Where a new hypercore feed is read from.
    pub hypercore_start: HypercoreStart,
}

/// How missed blocks of a block interval are made up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// Every one fires.
    All,
    /// The last one fires.
    Last,
    /// None fires.
    Skip,
}

/// How missed times of a schedule are made up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MisfirePolicy {
    /// Every one fires.
    FireAll,
    /// The last one fires.
    FireLast,
    /// None fires.
    Skip,
}

/// Where a new hypercore feed is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HypercoreStart {
    /// From its first entry.
    Beginning,
    /// From what is appended after now.
    Now,
}

impl TriggerConfig {
    pub(super) fn read(values: &Values<'_>, chains: &BTreeMap<ChainKey, ChainConfig>) -> Result<Self, ConfigError> {
        let mut jetstream_endpoints = values.list("jetstream_endpoints")?;
        if jetstream_endpoints.is_empty() {
            jetstream_endpoints.push(values.text("jetstream_endpoint")?);
        }
        Ok(Self {
            worker_threads: values.size("process.trigger.worker_threads")?,
            chains: chains.clone(),
            fetch: FetchConfig::read(values)?,
            own_ports: own_ports(values)?,
            dev_endpoints: values.flag("dev_endpoints_enabled")?,
            networking_disabled: values.flag("disable_trigger_networking")?,
            spool_max_entries: values.number("trigger.spool_max_entries")?,
            spool_max_bytes: values.mebibytes("trigger.spool_max_mb")?,
            block_interval_catch_up: values.choice("block_interval_catch_up")?,
            block_interval_fire_after_end: values.flag("block_interval_fire_after_end")?,
            cron_misfire_policy: values.choice("cron_misfire_policy")?,
            cron_misfire_window: values.seconds("cron_misfire_window_secs")?,
            jetstream_endpoints,
            jetstream_max_message_size: values.number("jetstream_max_message_size")?,
            jetstream_rewind: values.seconds("jetstream_rewind_secs")?,
            hyperswarm_bootstrap: values.optional_text("hyperswarm_bootstrap")?,
            hypercore_start: values.choice("hypercore_start")?,
        })
    }
}
