//! A node for tests of the API: the real router and server over contract servers that play the four processes on real sockets.

// Each test binary includes this as a module and uses its own part.
#![allow(dead_code, unreachable_pub)]

pub mod records;
pub mod script;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use wavs_service::ProcessName;
use wavs_service::config::{Flags, Loader, RedactedConfig, Sources};
use wavs_supervisor::control::{Control, Request};
use wavs_supervisor::http::api::Api;
use wavs_supervisor::http::server::{self, Listeners};
use wavs_supervisor::http::settings::Settings;
use wavs_supervisor::supervise::snapshot::{ProcessState, Snapshot};

use script::Script;

/// Values that no answer and no log line may contain.
pub const SECRETS: [&str; 5] = [
    "test test test test test test test test test test test junk",
    "marker-bearer-token",
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "marker-component-variable",
    "markerapikeymarkerapikey0123",
];

/// A running API. Dropping it ends everything.
pub struct Node {
    pub script: Script,
    pub dir: tempfile::TempDir,
    pub api: Api,
    address: SocketAddr,
    client: reqwest::Client,
    processes: watch::Sender<Vec<Snapshot>>,
    shutdown: CancellationToken,
    /// What the API asks of whoever runs the processes.
    pub requests: mpsc::Receiver<Request>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Node {
    /// A node with development routes and without tokens.
    pub async fn start() -> Self {
        Self::with(Settings {
            dev_endpoints: true,
            ..Settings::default()
        })
        .await
    }

    /// A node with these settings.
    pub async fn with(settings: Settings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("run/uploads")).unwrap();
        let shutdown = CancellationToken::new();
        let script = Script::new(dir.path());
        for process in ProcessName::ALL {
            script.serve(process, &process.ctl_socket(dir.path()), shutdown.clone());
        }
        let processes = watch::Sender::new(
            ProcessName::ALL
                .map(|process| snapshot(process, ProcessState::Running))
                .to_vec(),
        );
        let listeners = Listeners {
            tcp: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            admin: UnixListener::bind(dir.path().join("run/admin.sock")).unwrap(),
        };
        let address = listeners.tcp.local_addr().unwrap();
        let header_timeout = settings.header_timeout;
        let (control, requests) = Control::channel();
        let api = Api::new(
            settings,
            config(dir.path()),
            dir.path(),
            processes.subscribe(),
            control,
            None,
        );
        tokio::spawn(server::serve(
            listeners,
            wavs_supervisor::http::router(api.clone()),
            header_timeout,
            shutdown.clone(),
        ));
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(60))
            .build()
            .unwrap();
        Self {
            script,
            dir,
            api,
            address,
            client,
            processes,
            shutdown,
            requests,
        }
    }

    /// Tells the API that a process is in another state.
    pub fn set_state(&self, process: ProcessName, state: ProcessState) {
        self.processes.send_modify(|all| {
            let one = all.iter_mut().find(|snapshot| snapshot.name == process.full()).unwrap();
            one.state = state;
        });
    }

    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request("GET", path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request("POST", path).json(body)).await
    }

    pub async fn delete(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request("DELETE", path).json(body)).await
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self {
            status,
            headers,
            text: response.text().await.unwrap(),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|cause| panic!("{cause}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }

    /// The code of a problem, after checking its shape.
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let body = self.json();
        let code = body["code"].as_str().unwrap().to_owned();
        assert_eq!(body["type"], format!("urn:wavs:problem:{code}"));
        assert_eq!(body["status"], self.status);
        assert_eq!(body["instance"], self.header("x-request-id"));
        assert!(body["title"].is_string() && body["detail"].is_string() && body["errors"].is_array());
        code
    }

    #[track_caller]
    pub fn expect(&self, status: u16, code: &str, detail: &str) {
        assert_eq!((self.status, self.problem().as_str()), (status, code), "{self:?}");
        let body = self.json();
        assert!(
            body["detail"].as_str().unwrap().contains(detail),
            "{detail:?} is not in {body}"
        );
    }
}

fn snapshot(process: ProcessName, state: ProcessState) -> Snapshot {
    Snapshot {
        name: process.full(),
        state,
        pid: Some(std::process::id()),
        started_at: Some(SystemTime::now()),
        restarts: 2,
        restart_causes: [("crash", 2)].into(),
        last_exit: None,
        heartbeat: None,
        status: None,
        log_lines_dropped: 0,
    }
}

/// A configuration that is full of secrets.
pub fn config(data: &Path) -> RedactedConfig {
    let sources = Sources {
        current_dir: data.to_owned(),
        ..Sources::default()
    };
    let file = format!(
        "[default.chains.evm.31337]\nws_endpoints = [\"wss://user:{key}@h/{key}?k={key}\"]\nhttp_endpoint = \"http://h/{key}\"\n\
         [wavs]\ndata = \"{data}\"\nsigning_mnemonic = \"{mnemonic}\"\nbearer_token = \"{token}\"\n\
         aggregator_evm_credential = \"{private}\"\n[wavs.component_env]\nWAVS_ENV_X = \"{variable}\"\n",
        mnemonic = SECRETS[0],
        token = SECRETS[1],
        private = SECRETS[2],
        variable = SECRETS[3],
        key = SECRETS[4],
        data = data.display(),
    );
    std::fs::write(data.join("wavs.toml"), file).unwrap();
    Loader::new(Flags::default(), sources)
        .load()
        .map_err(|error| error.to_string())
        .unwrap()
        .redacted
}
