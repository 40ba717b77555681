//! A node on a temporary directory, with scripted engine-svc and trigger-svc behind real sockets.

#![allow(dead_code, missing_docs, unreachable_pub)]

pub mod engine;
pub mod gossip;
pub mod operator;
pub mod trigger;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use wavs_aggregator::chain::PostingSigner;
use wavs_aggregator::keys::{Credential, Keyring, PostingKey};
use wavs_aggregator::node::{Node, Setup};
use wavs_aggregator::settings::Settings;
use wavs_aggregator::variables::Variables;
use wavs_ipc::contract::registry::{
    AddService, AddSource, InjectionProgress, JobQuery, JobView, Registry as _, ServiceSummary,
};
use wavs_ipc::{Context, WireError};
use wavs_service::config::{Flags, Loader, Sources};
use wavs_service::{Metrics, ProcessName, StatusBoard};
use wavs_types::{ChainConfig, EvmChainConfig, ServiceManager};

pub use engine::FakeEngine;
pub use gossip::FakeGossip;
pub use trigger::FakeTrigger;

pub const PHRASE: &str = "test test test test test test test test test test test junk";

/// A document with the workflows `submit` (aggregator) and `silent` (submits nothing).
pub fn document(address: &str, status: &str) -> Vec<u8> {
    let component = r#"{"source":{"digest":"abababababababababababababababababababababababababababababababab"},"permissions":{},"config":{},"env_keys":[]}"#;
    format!(
        r#"{{"name":"demo","status":"{status}","manager":{{"evm":{{"chain":"evm:31337","address":"{address}"}}}},
        "workflows":{{
          "silent":{{"trigger":"manual","component":{component},"submit":"none"}},
          "submit":{{"trigger":"manual","component":{component},
            "submit":{{"aggregator":{{"component":{component},"signature_kind":{{"algorithm":"secp256k1","prefix":"eip191"}}}}}}}}}}}}"#
    )
    .into_bytes()
}

pub const ADDRESS: &str = "0x1111111111111111111111111111111111111111";

/// Waits until something holds.
pub async fn eventually(mut holds: impl AsyncFnMut() -> bool) {
    let mut looks = tokio::time::interval(std::time::Duration::from_millis(10));
    let waiting = async {
        while !holds().await {
            looks.tick().await;
        }
    };
    let limit = std::time::Duration::from_secs(30);
    tokio::time::timeout(limit, waiting).await.expect("it comes to hold");
}

pub fn manager(address: &str) -> ServiceManager {
    ServiceManager::Evm {
        chain: "evm:31337".parse().unwrap(),
        address: address.parse().unwrap(),
    }
}

/// Everything that outlives a restart of the node.
pub struct World {
    pub dir: PathBuf,
    /// Removes the files in the end.
    kept: Option<tempfile::TempDir>,
    pub engine: FakeEngine,
    pub trigger: FakeTrigger,
    pub phrase: Option<&'static str>,
    /// The HTTP endpoint of the chain, and whether this node posts there.
    pub chain: Option<String>,
    pub posts: bool,
    /// Whether keys sign although they have weight on chain and no history.
    pub accept_empty_history: bool,
    pub max_open_events: u64,
    /// When a transaction that is in no block is outbid; none: the default of the configuration.
    pub receipt_deadline_secs: Option<u64>,
    /// The network of operators; none: switched off.
    pub gossip: Option<FakeGossip>,
    /// How long a result of its own is waited for.
    pub own_input_grace: std::time::Duration,
    /// The configuration file, beside what is set here.
    pub toml: String,
}

pub struct Running {
    pub node: Node,
    pub status: StatusBoard,
    pub metrics: Metrics,
    stop: CancellationToken,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut world = Self::at(dir.path());
        world.kept = Some(dir);
        world
    }

    /// A world whose files outlive it.
    pub fn at(dir: &Path) -> Self {
        let engine = FakeEngine::serve(&dir.join("engine.sock"));
        let trigger = FakeTrigger::serve(&dir.join("trigger.sock"));
        trigger.publish(ADDRESS, document(ADDRESS, "active"));
        Self {
            kept: None,
            dir: dir.to_owned(),
            engine,
            trigger,
            phrase: Some(PHRASE),
            chain: None,
            posts: false,
            accept_empty_history: true,
            max_open_events: 10_000,
            receipt_deadline_secs: None,
            gossip: None,
            own_input_grace: Settings::default().own_input_grace,
            toml: String::new(),
        }
    }

    /// Switches the network of operators on.
    pub fn networked(&mut self) -> FakeGossip {
        let gossip = FakeGossip::serve(&self.dir.join("p2p.sock"));
        self.gossip = Some(gossip.clone());
        gossip
    }

    pub fn ledger(&self) -> PathBuf {
        self.dir.join("ledger.db")
    }

    pub async fn start(&self) -> Running {
        let (setup, stop) = (self.setup(), CancellationToken::new());
        Running {
            status: setup.status.clone(),
            metrics: setup.metrics.clone(),
            node: Node::start(setup, stop.clone()).await.unwrap(),
            stop,
        }
    }

    /// What the configuration file says.
    fn configured(&self) -> Settings {
        let file = self.dir.join("wavs.toml");
        std::fs::write(&file, &self.toml).unwrap();
        let flags = Flags::add_to(clap::Command::new("test"));
        let flags = Flags::from_matches(&flags.get_matches_from(["test"]));
        let sources = Sources {
            variables: BTreeMap::default(),
            current_dir: self.dir.clone(),
        };
        let loaded = Loader::new(flags, sources).load().unwrap();
        assert_eq!(loaded.file.as_ref(), Some(&file));
        Settings::from(&loaded.node.aggregator)
    }

    fn setup(&self) -> Setup {
        let chain = EvmChainConfig {
            chain_id: "31337".to_owned(),
            http_endpoint: self.chain.clone(),
            submit_confirmations: wavs_types::SubmitConfirmations::Depth(2),
            receipt_deadline_secs: self.receipt_deadline_secs,
            ..EvmChainConfig::default()
        };
        let settings = Settings {
            chains: BTreeMap::from([("evm:31337".parse().unwrap(), ChainConfig::Evm(chain))]),
            max_queue: 64,
            max_open_events: self.max_open_events,
            accept_empty_history: self.accept_empty_history,
            own_input_grace: self.own_input_grace,
            ..self.configured()
        };
        let keyring = self
            .phrase
            .map(|phrase| Arc::new(Keyring::new(Credential::parse(phrase).ok().unwrap()).ok().unwrap()));
        Setup {
            ledger: self.ledger(),
            engine: self.dir.join("engine.sock"),
            trigger: self.dir.join("trigger.sock"),
            p2p: self.gossip.as_ref().map(|_| self.dir.join("p2p.sock")),
            settings,
            variables: Variables::default(),
            keyring,
            posting: self.posts.then(|| {
                let credential = Credential::parse(PHRASE).ok().unwrap();
                Arc::new(PostingKey::new(&credential, 0).ok().unwrap()) as Arc<dyn PostingSigner>
            }),
            metrics: Metrics::new(),
            status: StatusBoard::new(ProcessName::Aggregator),
        }
    }
}

/// A node in a runtime of its own, which can be taken away in the middle of everything.
pub struct Killable {
    pub node: Running,
    runtime: tokio::runtime::Runtime,
}

impl World {
    pub async fn start_killable(&self) -> Killable {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (setup, stop) = (self.setup(), CancellationToken::new());
        let (status, metrics) = (setup.status.clone(), setup.metrics.clone());
        let started = runtime.spawn({
            let stop = stop.clone();
            async move { Node::start(setup, stop).await.unwrap() }
        });
        Killable {
            node: Running {
                node: started.await.unwrap(),
                status,
                metrics,
                stop,
            },
            runtime,
        }
    }
}

impl Killable {
    /// Ends all its tasks wherever they are.
    pub async fn kill(self) {
        let Self { node, runtime } = self;
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(std::time::Duration::from_secs(5)))
            .await
            .unwrap();
        drop(node);
    }
}

impl Running {
    pub async fn stop(self) {
        self.stop.cancel();
        self.node.stop().await;
    }

    pub async fn add(&self, address: &str) -> Result<ServiceSummary, WireError> {
        let request = AddService {
            source: AddSource::Manager(manager(address)),
            hd_index: None,
        };
        self.node.service.clone().add_service(Context::current(), request).await
    }

    /// Waits until all `count` jobs of an injection are signed or over.
    pub async fn injected(&self, id: u128, count: u32) -> InjectionProgress {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            let progress = self
                .node
                .service
                .clone()
                .injection(Context::current(), id, 5_000)
                .await
                .unwrap();
            if progress.received == count && progress.done == count {
                return progress;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "the injection is stuck at {progress:?}"
            );
        }
    }

    pub async fn jobs(&self) -> Vec<JobView> {
        let query = JobQuery {
            max: 100,
            ..JobQuery::default()
        };
        self.node.service.clone().jobs(Context::current(), query).await.unwrap()
    }

    /// Waits until the newest job satisfies `wanted`.
    pub async fn job(&self, mut wanted: impl FnMut(&JobView) -> bool) -> JobView {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let newest = self.jobs().await.into_iter().next();
            if let Some(job) = newest.clone().filter(|job| wanted(job)) {
                return job;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "the job did not get there: {newest:#?}"
            );
            tokio::task::yield_now().await;
        }
    }
}
