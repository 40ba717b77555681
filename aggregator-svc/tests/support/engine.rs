//! engine-svc as a script: closures answer the runs, calls are recorded.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;
use wavs_ipc::contract::engine::{
    Action, AggregatorJob, AggregatorOutcome, Engine, EngineClient, OperatorJob, OperatorOutcome, Prefetch, World,
};
use wavs_ipc::contract::job::{GuestError, Response, Usage};
use wavs_ipc::{Context, Identity, Role, Router, WireError, handler, socket};
use wavs_types::ServiceId;

type Operator = Box<dyn Fn(usize, &OperatorJob) -> Result<Result<Vec<Response>, GuestError>, WireError> + Send>;
type Prepare = Box<dyn Fn(&Prefetch) -> Result<(), WireError> + Send>;
type Aggregator = Box<dyn Fn(&AggregatorJob) -> Result<Result<Vec<Action>, GuestError>, WireError> + Send>;

#[derive(Clone)]
pub struct FakeEngine {
    inner: Arc<Inner>,
}

struct Inner {
    operator: Mutex<Operator>,
    aggregator: Mutex<Aggregator>,
    prefetch: Mutex<Prepare>,
    pub runs: Mutex<Vec<OperatorJob>>,
    pub aggregator_runs: Mutex<Vec<AggregatorJob>>,
    pub prefetched: Mutex<Vec<World>>,
    /// Runs of these services never end.
    held: Mutex<Vec<String>>,
    /// Runs may start only with a permit; closed gates hold them back.
    gate: Semaphore,
}

pub fn response(payload: &[u8]) -> Response {
    Response {
        payload: payload.to_vec(),
        ordering: None,
        event_id_salt: None,
    }
}

impl FakeEngine {
    pub fn serve(path: &Path) -> Self {
        let inner = Inner {
            operator: Mutex::new(Box::new(|_, _| Ok(Ok(vec![response(b"result")])))),
            aggregator: Mutex::new(Box::new(|_| Ok(Ok(vec![])))),
            prefetch: Mutex::new(Box::new(|_| Ok(()))),
            runs: Mutex::default(),
            aggregator_runs: Mutex::default(),
            prefetched: Mutex::default(),
            held: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        };
        let engine = Self { inner: Arc::new(inner) };
        let router =
            Router::new(Identity::new(Role::Engine)).serve::<EngineClient, _, _>(handler!(Engine, engine.clone()));
        tokio::spawn(router.run(socket::bind(path).unwrap(), std::future::pending()));
        engine
    }

    pub fn on_operator(
        &self,
        script: impl Fn(usize, &OperatorJob) -> Result<Result<Vec<Response>, GuestError>, WireError> + Send + 'static,
    ) {
        *self.inner.operator.lock().unwrap() = Box::new(script);
    }

    pub fn on_aggregator(
        &self,
        script: impl Fn(&AggregatorJob) -> Result<Result<Vec<Action>, GuestError>, WireError> + Send + 'static,
    ) {
        *self.inner.aggregator.lock().unwrap() = Box::new(script);
    }

    pub fn on_prefetch(&self, script: impl Fn(&Prefetch) -> Result<(), WireError> + Send + 'static) {
        *self.inner.prefetch.lock().unwrap() = Box::new(script);
    }

    /// Holds every run back until [`Self::open`].
    pub fn close(&self) {
        self.inner.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub fn open(&self) {
        self.inner.gate.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// Has no run of a service ever end.
    pub fn hold(&self, service: ServiceId) {
        self.inner.held.lock().unwrap().push(service.to_string());
    }

    /// Waits until so many runs have begun.
    pub async fn began(&self, runs: usize) {
        let mut looks = tokio::time::interval(std::time::Duration::from_millis(5));
        let all = async {
            while self.runs().len() < runs {
                looks.tick().await;
            }
        };
        let limit = std::time::Duration::from_secs(30);
        tokio::time::timeout(limit, all).await.expect("the runs begin");
    }

    /// Lets so many runs through a closed gate.
    pub fn admit(&self, runs: usize) {
        self.inner.gate.add_permits(runs);
    }

    pub fn runs(&self) -> Vec<OperatorJob> {
        self.inner.runs.lock().unwrap().clone()
    }

    pub fn aggregator_runs(&self) -> Vec<AggregatorJob> {
        self.inner.aggregator_runs.lock().unwrap().clone()
    }

    pub fn prefetched(&self) -> Vec<World> {
        self.inner.prefetched.lock().unwrap().clone()
    }
}

impl Engine for FakeEngine {
    async fn run_operator(self, _: Context, job: OperatorJob) -> Result<OperatorOutcome, WireError> {
        let number = {
            let mut runs = self.inner.runs.lock().unwrap();
            runs.push(job.clone());
            runs.len()
        };
        let held = self.inner.held.lock().unwrap().clone();
        let action = String::from_utf8_lossy(job.action.text());
        if held.iter().any(|held| action.contains(held)) {
            std::future::pending::<()>().await;
        }
        self.inner.gate.acquire().await.unwrap().forget();
        let result = (self.inner.operator.lock().unwrap())(number, &job)?;
        Ok(OperatorOutcome {
            result,
            usage: Usage::default(),
        })
    }

    async fn run_aggregator(self, _: Context, job: AggregatorJob) -> Result<AggregatorOutcome, WireError> {
        self.inner.aggregator_runs.lock().unwrap().push(job.clone());
        let result = (self.inner.aggregator.lock().unwrap())(&job)?;
        Ok(AggregatorOutcome {
            result,
            usage: Usage::default(),
        })
    }

    async fn prefetch(self, _: Context, request: Prefetch) -> Result<(), WireError> {
        self.inner.prefetched.lock().unwrap().push(request.world);
        (self.inner.prefetch.lock().unwrap())(&request)
    }
}
