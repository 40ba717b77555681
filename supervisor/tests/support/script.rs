//! The four processes as the tests want them: what they know, and which of their methods fail.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio_util::sync::CancellationToken;
use wavs_ipc::contract::engine::StoredComponent;
use wavs_ipc::contract::engine_admin::{EngineAdmin, EngineAdminClient, GuestLogLine, KvValue};
use wavs_ipc::contract::lifecycle::{Health, Lifecycle, LifecycleClient, ProcessStatus, QueueDepth};
use wavs_ipc::contract::p2p_admin::{NetworkStatus, P2pAdmin, P2pAdminClient, PeerView};
use wavs_ipc::contract::records::{Records, RecordsClient};
use wavs_ipc::contract::registry::{
    AddService, AddSource, ChainAccount, Document, EventView, HistoryCursor, HistoryRow, InjectionProgress, JobQuery,
    JobView, MirrorView, PauseMode, RegistrationView, Registry, RegistryClient, ServiceSummary, ServiceView, Signer,
    SignerView,
};
use wavs_ipc::contract::trigger_admin::{ChainHealth, ChainStatus, Inject, TriggerAdmin, TriggerAdminClient};
use wavs_ipc::{Context, ErrorCode, Identity, Json, Router, WireError, handler, socket};
use wavs_service::ProcessName;
use wavs_types::{
    ChainConfig, ChainKey, ComponentDigest, EventId, ServiceDigest, ServiceDocument, ServiceId, ServiceManager,
    WorkflowId,
};

/// The manager of the one service that is always registered.
pub const MANAGER: &str = "0x5fbdb2315678afecb367f032d93f642f64180aa3";
/// Its id.
pub const SERVICE: &str = "76d41ff256803de151fce2ed99d145cf985af50e6def0809072e9f68932f5d11";
/// Digest of its component.
const COMPONENT: &str = "dbc1b4c900ffe48d575b5da5c638040125f65db0fe3e24494b76ea986457d986";
/// A job that is always there.
pub const JOB: u128 = 0x0190_0000_0000_0000_0000_0000_0000_0007;

/// Plays all processes; clones share their state.
#[derive(Clone)]
pub struct Script(Arc<Mutex<State>>);

pub struct State {
    services: BTreeMap<ServiceId, ServiceView>,
    documents: BTreeMap<ServiceDigest, Document>,
    components: Vec<StoredComponent>,
    chains: Vec<(ChainKey, Json<ChainConfig>)>,
    injected: Vec<Inject>,
    failures: HashMap<&'static str, WireError>,
    /// When the service was removed whose key is always there, in milliseconds since the Unix epoch.
    pub removed: Option<u64>,
    injection: InjectionProgress,
    uploads: PathBuf,
    asked: String,
}

impl Script {
    pub fn new(data: &Path) -> Self {
        let view = view(ServiceDocument::parse(document("on-call").as_bytes()).unwrap());
        let evm = json!({"type": "evm", "chain_id": "31337", "http_endpoint": format!("http://h/{}", super::SECRETS[4]), "ws_endpoints": []});
        let cosmos = json!({"type": "cosmos", "chain_id": "pion-1", "bech32_prefix": "neutron", "gas_price": 0.025, "gas_denom": "untrn"});
        let chain = |key: &str, config: serde_json::Value| (key.parse().unwrap(), Json::from_text(config.to_string()));
        Self(Arc::new(Mutex::new(State {
            services: BTreeMap::from([(view.summary.service_id, view)]),
            documents: BTreeMap::new(),
            components: Vec::new(),
            chains: vec![chain("evm:31337", evm), chain("cosmos:pion-1", cosmos)],
            injected: Vec::new(),
            failures: HashMap::new(),
            removed: None,
            injection: InjectionProgress {
                received: 1,
                done: 1,
                failed: 0,
                first_error: None,
            },
            uploads: data.join("run/uploads"),
            asked: String::new(),
        })))
    }

    pub fn serve(&self, process: ProcessName, path: &Path, shutdown: CancellationToken) {
        let router = Router::new(Identity::new(process.role())).serve::<LifecycleClient, _, _>(handler!(
            Lifecycle,
            Play {
                script: self.clone(),
                process
            }
        ));
        let router = match process {
            ProcessName::Aggregator => router
                .serve::<RegistryClient, _, _>(handler!(Registry, self.clone()))
                .serve::<RecordsClient, _, _>(handler!(Records, self.clone())),
            ProcessName::Trigger => router.serve::<TriggerAdminClient, _, _>(handler!(TriggerAdmin, self.clone())),
            ProcessName::Engine => router.serve::<EngineAdminClient, _, _>(handler!(EngineAdmin, self.clone())),
            ProcessName::P2p => router.serve::<P2pAdminClient, _, _>(handler!(P2pAdmin, self.clone())),
        };
        let listener = socket::bind(path).unwrap();
        tokio::spawn(async move { router.run(listener, shutdown.cancelled_owned()).await });
    }

    /// From now on `method` fails like this.
    pub fn fail(&self, method: &'static str, error: WireError) {
        self.0.lock().unwrap().failures.insert(method, error);
    }

    /// From now on `method` works.
    pub fn recover(&self, method: &'static str) {
        self.0.lock().unwrap().failures.remove(method);
    }

    /// From now on the service is one that was removed then.
    pub fn remove(&self, at_ms: u64) {
        self.0.lock().unwrap().removed = Some(at_ms);
    }

    pub fn set_injection(&self, progress: InjectionProgress) {
        self.0.lock().unwrap().injection = progress;
    }

    pub fn injected(&self) -> Vec<Inject> {
        self.0.lock().unwrap().injected.clone()
    }

    pub fn pause(&self) {
        for view in self.0.lock().unwrap().services.values_mut() {
            view.summary.state = "paused".into();
        }
    }

    /// Stores the component of the service that is always registered; answers its digest.
    pub fn store_used(&self) -> ComponentDigest {
        let digest: ComponentDigest = COMPONENT.parse().unwrap();
        let stored = StoredComponent { digest, bytes: 2 };
        self.0.lock().unwrap().components.push(stored);
        digest
    }

    /// Notes what was asked for.
    pub fn asked(&self, query: String) {
        self.0.lock().unwrap().asked = query;
    }

    /// What was asked for last.
    pub fn last_asked(&self) -> String {
        self.0.lock().unwrap().asked.clone()
    }

    pub fn with<T>(
        &self,
        method: &'static str,
        act: impl FnOnce(&mut State) -> Result<T, WireError>,
    ) -> Result<T, WireError> {
        let mut state = self.0.lock().unwrap();
        match state.failures.get(method) {
            Some(error) => Err(error.clone()),
            None => act(&mut state),
        }
    }
}

/// A document of the service whose manager is [`MANAGER`].
pub fn document(workflow: &str) -> String {
    json!({
        "name": "test", "status": "active", "manager": {"evm": {"chain": "evm:31337", "address": MANAGER}},
        "workflows": {workflow: {
            "trigger": "manual", "submit": "none",
            "component": {
                "source": {"digest": COMPONENT},
                "permissions": {}, "config": {}, "env_keys": [],
            },
        }},
    })
    .to_string()
}

fn view(document: ServiceDocument) -> ServiceView {
    let service = document.service();
    let summary = ServiceSummary {
        service_id: service.id(),
        name: service.name.clone(),
        manager: service.manager.clone(),
        state: "active".into(),
        reason: None,
        paused: None,
        digest: document.digest(),
        uri: None,
        hd_index: 1,
        signer: [0x70; 20],
        workflows: 1,
        warnings: Vec::new(),
        updated_at_ms: 1_769_940_000_123,
    };
    ServiceView {
        summary,
        document: Document(document.echo().into_bytes()),
        raw: Document(document.raw().to_vec()),
    }
}

pub fn missing<T>(what: &str) -> Result<T, WireError> {
    Err(WireError::never(ErrorCode::NotFound, format!("no {what}")))
}

impl Registry for Script {
    async fn add_service(self, _: Context, request: AddService) -> Result<ServiceSummary, WireError> {
        self.with("add_service", |state| {
            let document = match request.source {
                AddSource::Document(digest) => match state.documents.get(&digest) {
                    Some(document) => ServiceDocument::parse(&document.0).unwrap(),
                    None => return missing("document"),
                },
                AddSource::Manager(manager) if state.services.contains_key(&manager.service_id()) => {
                    let text = format!("Service {} already registered", manager.service_id());
                    return Err(WireError::never(ErrorCode::Conflict, text));
                }
                AddSource::Manager(_) => ServiceDocument::parse(document("on-call").as_bytes()).unwrap(),
            };
            let view = view(document);
            let summary = view.summary.clone();
            if state.services.insert(summary.service_id, view).is_some() {
                return Err(WireError::never(
                    ErrorCode::Conflict,
                    format!("Service {} already registered", summary.service_id),
                ));
            }
            Ok(summary)
        })
    }

    async fn remove_service(self, _: Context, manager: ServiceManager, _: bool) -> Result<(), WireError> {
        self.with("remove_service", |state| {
            state.services.remove(&manager.service_id());
            Ok(())
        })
    }

    async fn refresh_service(self, _: Context, _: ServiceId) -> Result<ServiceSummary, WireError> {
        missing("service")
    }

    async fn pause_service(
        self,
        _: Context,
        id: ServiceId,
        mode: Option<PauseMode>,
        _: String,
    ) -> Result<ServiceSummary, WireError> {
        self.with("pause_service", |state| {
            let Some(view) = state.services.get_mut(&id) else {
                return missing("service");
            };
            view.summary.paused = mode;
            view.summary.state = if mode.is_some() { "paused" } else { "active" }.into();
            Ok(view.summary.clone())
        })
    }

    async fn services(self, _: Context) -> Result<Vec<ServiceSummary>, WireError> {
        self.with("services", |state| {
            Ok(state.services.values().map(|view| view.summary.clone()).collect())
        })
    }

    async fn service(self, _: Context, id: ServiceId) -> Result<ServiceView, WireError> {
        self.with("service", |state| {
            state.services.get(&id).cloned().map_or_else(|| missing("service"), Ok)
        })
    }

    async fn signer(self, _: Context, id: ServiceId) -> Result<Signer, WireError> {
        self.with("signer", |state| {
            if !state.services.contains_key(&id) {
                return missing("signer");
            }
            let address = hex_address("70997970c51812dc3a010c7d01b50e0d17dc79c8");
            Ok(Signer { hd_index: 1, address })
        })
    }

    async fn put_document(self, _: Context, document: Document) -> Result<ServiceDigest, WireError> {
        self.with("put_document", |state| {
            let parsed = ServiceDocument::parse(&document.0)
                .map_err(|cause| WireError::never(ErrorCode::Invalid, cause.to_string()))?;
            state
                .documents
                .insert(parsed.digest(), Document(parsed.echo().into_bytes()));
            Ok(parsed.digest())
        })
    }

    async fn document(self, _: Context, digest: ServiceDigest) -> Result<Document, WireError> {
        self.with("document", |state| {
            state
                .documents
                .get(&digest)
                .cloned()
                .map_or_else(|| missing("document"), Ok)
        })
    }

    async fn add_chain(self, _: Context, chain: ChainKey, config: Json<ChainConfig>) -> Result<(), WireError> {
        self.with("add_chain", |state| {
            if state.chains.iter().any(|(key, _)| *key == chain) {
                return Err(WireError::never(ErrorCode::Conflict, "it is there"));
            }
            state.chains.push((chain, config));
            Ok(())
        })
    }

    async fn chains(self, _: Context) -> Result<Vec<(ChainKey, Json<ChainConfig>)>, WireError> {
        self.with("chains", |state| Ok(state.chains.clone()))
    }

    async fn injection(self, _: Context, _: u128, _: u32) -> Result<InjectionProgress, WireError> {
        self.with("injection", |state| Ok(state.injection.clone()))
    }

    async fn signers(self, _: Context) -> Result<Vec<SignerView>, WireError> {
        let registration = RegistrationView {
            status: "registered".into(),
            operator: Some([2; 20]),
            weight: "100".into(),
        };
        let removed = self.with("signers", |state| Ok(state.removed))?;
        let signer = SignerView {
            service_id: SERVICE.parse().unwrap(),
            name: Some("demo".into()),
            hd_index: 2,
            address: [1; 20],
            state: if removed.is_some() { "retired" } else { "active" }.into(),
            history: "missing".into(),
            refusal: Some("no history".into()),
            registration: Some(registration),
            error: None,
            checked_at_ms: Some(1_000),
            mirrors: vec![MirrorView {
                chain: "evm:5".parse().unwrap(),
                manager: [5; 20],
                registration: None,
                error: Some("no answer".into()),
            }],
            former: vec![(1, [3; 20])],
        };
        Ok(vec![signer])
    }

    async fn rotate_signer(self, _: Context, service_id: ServiceId) -> Result<Signer, WireError> {
        self.with("rotate_signer", |_| match service_id.to_string() == SERVICE {
            true => Ok(Signer {
                hd_index: 3,
                address: [4; 20],
            }),
            false => missing("service"),
        })
    }

    async fn accept_empty_history(
        self,
        _: Context,
        service_id: Option<ServiceId>,
    ) -> Result<Vec<ServiceId>, WireError> {
        self.with("accept_empty_history", |_| {
            Ok(vec![service_id.unwrap_or(SERVICE.parse().unwrap())])
        })
    }

    async fn export_history(
        self,
        _: Context,
        after: Option<HistoryCursor>,
        max: u32,
    ) -> Result<Vec<HistoryRow>, WireError> {
        let rows = (1..=3_u8).map(|number| HistoryRow {
            signer: [1; 20],
            event_id: EventId::new([number; 20]),
            digest: [number; 32],
            signature: vec![number; 65],
            signed_at_us: u64::from(number),
        });
        let after = after.map(|after| after.event_id);
        let rows = rows
            .filter(|row| after.is_none_or(|after| row.event_id > after))
            .take(max as usize);
        self.with("export_history", |_| Ok(rows.collect()))
    }

    async fn import_history(self, _: Context, rows: Vec<HistoryRow>) -> Result<u32, WireError> {
        assert!(rows.iter().all(|row| row.signature.len() == 65));
        self.with("import_history", |_| Ok(u32::try_from(rows.len()).unwrap()))
    }

    async fn jobs(self, _: Context, query: JobQuery) -> Result<Vec<JobView>, WireError> {
        let wanted = |id: u128| query.job.is_none_or(|job| job == id) && query.before.is_none_or(|before| id < before);
        let jobs = [JOB + 2, JOB + 1, JOB]
            .into_iter()
            .filter(|id| wanted(*id))
            .take(query.max as usize);
        self.with("jobs", |_| Ok(jobs.map(job).collect()))
    }

    async fn chain_accounts(self, _: Context) -> Result<Vec<ChainAccount>, WireError> {
        let account = ChainAccount {
            chain: "evm:31337".parse().expect("a chain key"),
            account: Some([7; 20]),
            balance: Some("1500000000000000000".to_owned()),
            typical_cost: Some("200000000000000".to_owned()),
            funds: "ok".to_owned(),
            pending: 1,
            nonce_gap: 0,
            endpoints: Vec::new(),
        };
        self.with("chain_accounts", |_| Ok(vec![account]))
    }
}

pub fn job(id: u128) -> JobView {
    let service_id: ServiceId = SERVICE.parse().unwrap();
    let workflow_id: WorkflowId = "on-call".parse().unwrap();
    JobView {
        job: id,
        service_id,
        service_digest: SERVICE.parse().unwrap(),
        trigger_kind: "manual".into(),
        source_key: "inject/1/0".into(),
        attempts: 1,
        state: "signed".into(),
        error: None,
        created_at_ms: 1,
        updated_at_ms: 2,
        events: vec![EventView {
            event_id: EventId::derive(&service_id, &workflow_id, b"x"),
            state: "signed".into(),
            digest: [1; 32],
            error: None,
            targets: Vec::new(),
        }],
        timeline: vec![("received".into(), 1_000_000), ("signed".into(), 2_000_000)],
        workflow_id,
    }
}

fn hex_address(text: &str) -> [u8; 20] {
    text.parse::<wavs_types::EvmAddress>().unwrap().into_array()
}

impl TriggerAdmin for Script {
    async fn inject(self, _: Context, request: Inject) -> Result<(), WireError> {
        self.with("inject", |state| {
            state.injected.push(request);
            Ok(())
        })
    }

    async fn streams(self, _: Context) -> Result<Json<serde_json::Value>, WireError> {
        self.with("streams", |_| Ok(Json::from_text(r#"{"chains":{},"hypercore":{}}"#)))
    }

    async fn chain_health(self, _: Context) -> Result<Vec<ChainHealth>, WireError> {
        let health = |chain: &str, error: Option<&str>| ChainHealth {
            chain: chain.parse().unwrap(),
            error: error.map(str::to_owned),
            head: Some(1),
        };
        self.with("chain_health", |_| {
            Ok(vec![
                health("evm:31337", None),
                health("cosmos:pion-1", Some("timeout")),
            ])
        })
    }

    async fn chains(self, _: Context) -> Result<Vec<ChainStatus>, WireError> {
        self.with("chains", |_| Ok(Vec::new()))
    }
}

impl EngineAdmin for Script {
    async fn store_component(self, _: Context, upload: String) -> Result<StoredComponent, WireError> {
        self.with("store_component", |state| {
            let path = state.uploads.join(upload);
            let bytes = std::fs::read(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            let stored = StoredComponent {
                digest: ComponentDigest::of(&bytes),
                bytes: bytes.len() as u64,
            };
            state.components.push(stored.clone());
            Ok(stored)
        })
    }

    async fn components(self, _: Context) -> Result<Vec<StoredComponent>, WireError> {
        self.with("components", |state| Ok(state.components.clone()))
    }

    async fn remove_component(self, _: Context, digest: ComponentDigest) -> Result<(), WireError> {
        self.with("remove_component", |state| {
            state.components.retain(|component| component.digest != digest);
            Ok(())
        })
    }

    async fn erase_service(self, _: Context, id: ServiceId) -> Result<(), WireError> {
        self.asked(format!("erase {id}"));
        self.with("erase_service", |_| Ok(()))
    }

    async fn read_kv(
        self,
        _: Context,
        _: ServiceId,
        bucket: String,
        key: String,
    ) -> Result<Option<KvValue>, WireError> {
        self.with("read_kv", |_| {
            Ok((bucket == "b" && key == "k").then(|| KvValue(vec![0, 255, 1])))
        })
    }

    async fn guest_logs(self, _: Context, _: ServiceId, after: u64, _: u32) -> Result<Vec<GuestLogLine>, WireError> {
        let line = GuestLogLine {
            seq: after + 1,
            at_ms: 1,
            workflow_id: "on-call".parse().unwrap(),
            stream: "info".into(),
            line: "hi".into(),
        };
        self.with("guest_logs", |_| Ok(vec![line]))
    }
}

impl P2pAdmin for Script {
    async fn network_status(self, _: Context) -> Result<NetworkStatus, WireError> {
        self.with("network_status", |_| Ok(NetworkStatus::default()))
    }

    async fn peers(self, _: Context) -> Result<Vec<PeerView>, WireError> {
        self.with("peers", |_| Ok(Vec::new()))
    }
}

/// The part that every process has.
#[derive(Clone)]
struct Play {
    script: Script,
    process: ProcessName,
}

impl Lifecycle for Play {
    async fn status(self, _: Context) -> Result<ProcessStatus, WireError> {
        self.script.with("status", |_| {
            Ok(ProcessStatus {
                name: self.process.full().into(),
                version: "0.1.0".into(),
                pid: 1,
                started_at_ms: 1,
                health: Health::Running,
                queues: vec![QueueDepth {
                    name: "jobs".into(),
                    depth: 3,
                    capacity: 4096,
                }],
                sandbox: vec!["no_new_privs".into()],
                facts: Vec::new(),
                checks: Vec::new(),
            })
        })
    }

    async fn metrics(self, _: Context) -> Result<String, WireError> {
        self.script.with("metrics", |_| {
            Ok("# TYPE wavs_jobs gauge\nwavs_jobs{state=\"signed\"} 2\n".into())
        })
    }

    async fn drain(self, _: Context) -> Result<(), WireError> {
        Ok(())
    }

    async fn set_log_level(self, _: Context, _: Vec<String>) -> Result<(), WireError> {
        Ok(())
    }
}
