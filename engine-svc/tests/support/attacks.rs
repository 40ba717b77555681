//! Guests that are out to harm their host or their neighbours, as a table: what each does and how it has to end.
//!
//! The tests assert the ends; the benchmark measures a neighbour meanwhile.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use wavs_ipc::contract::engine::{AggregatorCall, AggregatorJob, OperatorJob};
use wavs_ipc::contract::job::GuestErrorClass::{self, Fault, Limit};
use wavs_types::ComponentDigest;

use super::process::{Engine, Launch};
use super::{Job, guest_bytes};

/// Quota of each service on its files and on its key-value data, so that a flood is soon over.
const QUOTA_MIB: u32 = 8;
/// The time limit of attacks that would last for ever.
const SECONDS: u64 = 5;

/// One misdeed.
pub struct Attack {
    pub name: &'static str,
    pub job: Job,
    /// Which component of the job runs, and in which world.
    pub world: World,
    pub end: End,
    /// Only the time limit ends it.
    pub lasts: bool,
}

/// Where the guest runs.
#[derive(Clone)]
pub enum World {
    Operator,
    Aggregator,
}

/// How an attack ends.
#[derive(Clone, Copy)]
pub enum End {
    /// The guest is told, copes with it, and returns this among other text.
    Told(&'static str),
    /// The run fails so, with this among other text.
    Failed(GuestErrorClass, &'static str),
}

/// engine-svc with quotas that are soon reached, and loopback open to guests.
pub async fn engine() -> Engine {
    Engine::launch(Launch {
        variables: vec![
            ("WAVS_ENGINE__HTTP_ALLOW_PRIVATE", "127.0.0.1".into()),
            ("WAVS_ENGINE__FILES_MB_PER_SERVICE", QUOTA_MIB.to_string()),
            ("WAVS_ENGINE__KV_MB_PER_SERVICE", QUOTA_MIB.to_string()),
        ],
        ..Launch::default()
    })
    .await
}

/// Servers that hostile guests talk to, up as long as this lives.
pub struct Servers {
    silent: String,
    away: String,
    _held: Arc<Mutex<Vec<TcpStream>>>,
}

impl Servers {
    pub async fn start() -> Self {
        let held = Arc::new(Mutex::new(Vec::new()));
        let (listener, silent) = listen().await;
        let keep = held.clone();
        tokio::spawn(async move {
            // Connections are taken and never answered.
            while let Ok((stream, _)) = listener.accept().await {
                keep.lock().await.push(stream);
            }
        });
        let (listener, away) = listen().await;
        let redirect = axum::Router::new()
            .fallback(|| async { axum::response::Redirect::temporary("http://169.254.169.254/latest/meta-data/") });
        tokio::spawn(async move { axum::serve(listener, redirect).await });
        Self {
            silent,
            away,
            _held: held,
        }
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    (listener, url)
}

/// The components that attacks are made of.
struct Guests {
    echo: ComponentDigest,
    hostile: ComponentDigest,
    http: ComponentDigest,
    aggregator: ComponentDigest,
    table: ComponentDigest,
    recursion: ComponentDigest,
}

/// Every attack, for an engine that gets the components on the way.
pub async fn attacks(engine: &Engine, servers: &Servers) -> Vec<Attack> {
    let guests = Guests {
        echo: engine.upload(&guest_bytes("echo")).await,
        hostile: engine.upload(&guest_bytes("hostile")).await,
        http: engine.upload(&guest_bytes("http-get")).await,
        aggregator: engine.upload(&guest_bytes("aggregator")).await,
        table: engine
            .upload(&with_module(&guest_bytes("echo"), GROWING_TABLE, 1))
            .await,
        recursion: engine.upload(&with_module(&guest_bytes("echo"), RECURSION, 1)).await,
    };
    let mut all = computing(&guests);
    all.extend(storing(&guests));
    all.extend(calling_out(&guests, servers));
    all.extend(results(&guests));
    all
}

fn attack(name: &'static str, job: Job, end: End) -> Attack {
    Attack {
        name,
        job: job.limit("time_limit_seconds", 60),
        world: World::Operator,
        end,
        lasts: false,
    }
}

fn endless(name: &'static str, job: Job) -> Attack {
    Attack {
        job: job.limit("time_limit_seconds", SECONDS),
        lasts: true,
        ..attack(
            name,
            Job::new(ComponentDigest::new([0; 32]), ""),
            End::Failed(Limit, "Time limit exceeded"),
        )
    }
}

fn computing(guests: &Guests) -> Vec<Attack> {
    let echo = |input: &str| Job::new(guests.echo, input);
    let hostile = |input: &str| Job::new(guests.hostile, input);
    vec![
        endless("infinite loop", echo("do:loop")),
        endless("sleep for ever", hostile("sleep")),
        endless("poll that never returns", hostile("poll")),
        attack(
            "recursion",
            Job::new(guests.recursion, "x"),
            End::Failed(Limit, "engine.stack_kb of this node"),
        ),
        attack(
            "recursion beyond a stack of its own",
            echo("do:stack"),
            End::Failed(Fault, "trapped"),
        ),
        attack(
            "memory bomb",
            echo("do:memory"),
            End::Failed(Limit, "Memory limit exceeded"),
        ),
        attack(
            "table bomb",
            Job::new(guests.table, "x"),
            End::Failed(Limit, "engine.table_elements of this node allows 100000"),
        ),
        attack(
            "handles",
            hostile("handles:20000"),
            End::Failed(Limit, "engine.handles of this node allows"),
        ),
        attack(
            "panic in a destructor",
            hostile("destructor"),
            End::Failed(Fault, "trapped"),
        ),
        attack(
            "randomness",
            hostile("random:2000000"),
            End::Failed(Limit, "Random limit exceeded"),
        ),
        attack(
            "a long HTTP header",
            hostile("header:200000"),
            End::Failed(Limit, "engine.http_headers_kb of this node allows"),
        ),
    ]
}

fn storing(guests: &Guests) -> Vec<Attack> {
    let hostile = |input: &str| Job::new(guests.hostile, input);
    let files = json!({"file_system": true});
    vec![
        attack(
            "log flood",
            Job::new(guests.echo, "do:logs:100000"),
            End::Told("logged"),
        ),
        attack(
            "key-value flood",
            hostile("kv:12"),
            End::Told("engine.kv_mb_per_service"),
        ),
        attack("names of buckets", hostile("buckets:100"), End::Told("100 buckets")),
        attack(
            "file flood",
            hostile("files:20").permissions(files.clone()),
            End::Failed(Limit, "File limit exceeded"),
        ),
        attack(
            "a file without a name",
            hostile("hidden:32").permissions(files.clone()),
            End::Failed(Limit, "File limit exceeded"),
        ),
        attack(
            "open files",
            hostile("open:10000").permissions(files.clone()),
            End::Told("insufficient-memory"),
        ),
        attack(
            "lists of a directory",
            hostile("lists:100").permissions(files.clone()),
            End::Told("8 lists, then"),
        ),
        attack(
            "directories that no path reaches",
            hostile("nest:20").permissions(files),
            End::Failed(Limit, "File limit exceeded"),
        ),
    ]
}

fn calling_out(guests: &Guests, servers: &Servers) -> Vec<Attack> {
    let get = |url: &str| Job::new(guests.http, url).permissions(json!({"allowed_http_hosts": "all"}));
    let prohibited = || End::Failed(Fault, "DestinationIpProhibited");
    let sockets = |input: &str| {
        let permissions: Value = json!({"raw_sockets": true, "dns_resolution": true});
        Job::new(guests.hostile, input).permissions(permissions)
    };
    vec![
        endless("slow HTTP", get(&servers.silent)),
        attack(
            "10,000 sockets",
            sockets("sockets:10000"),
            End::Told("new-socket-limit"),
        ),
        attack("look-ups", sockets("names:5000"), End::Told("5000 names")),
        attack(
            "HTTP headers",
            sockets("headers:20000"),
            End::Failed(Limit, "1024 HTTP header lists"),
        ),
        attack(
            "HTTP requests",
            sockets("bodies:20000"),
            End::Failed(Limit, "256 HTTP requests"),
        ),
        attack("a long HTTP method", sockets("method:1000000"), End::Told("Err")),
        attack("a private address", get("http://10.0.0.1/"), prohibited()),
        attack(
            "a private address by its mapped form",
            get("http://[::ffff:10.0.0.1]/"),
            prohibited(),
        ),
        attack(
            "metadata",
            get("http://169.254.169.254/latest/meta-data/"),
            prohibited(),
        ),
        attack("a redirect to metadata", get(&servers.away), End::Told("307")),
        attack(
            "a socket to a private address",
            sockets("connect:10.0.0.1 80"),
            End::Told("access-denied"),
        ),
    ]
}

fn results(guests: &Guests) -> Vec<Attack> {
    let echo = |input: &str| Job::new(guests.echo, input);
    let aggregator = |fault: &str| {
        Job::new(guests.aggregator, "x")
            .chain(
                "evm:31337",
                json!({"type": "evm", "chain_id": "31337", "http_endpoint": "http://127.0.0.1:1"}),
            )
            .config("chain", "evm:31337")
            .config("service_handler", "0x3333333333333333333333333333333333333333")
            .config("fault", fault)
    };
    let submitting = |name, fault: &str, says| Attack {
        world: World::Aggregator,
        ..attack(name, aggregator(fault), End::Failed(Fault, says))
    };
    vec![
        attack(
            "huge response",
            echo("do:payload:5000000"),
            End::Failed(Limit, "Result limit exceeded"),
        ),
        attack(
            "too many responses",
            echo("do:responses:65"),
            End::Failed(Limit, "Result limit exceeded"),
        ),
        submitting("malformed chain key", "bad-chain", "\"not a chain\""),
        submitting("malformed address", "bad-address", "5 bytes"),
        submitting("one bad action among good ones", "mixed", "5 bytes"),
        Attack {
            world: World::Aggregator,
            ..endless("infinite loop of an aggregator", aggregator("loop"))
        },
    ]
}

/// An attack as it goes over the socket, again and again.
pub struct Carried {
    name: &'static str,
    end: End,
    call: CarriedCall,
}

#[derive(Clone)]
enum CarriedCall {
    Operator(OperatorJob),
    Aggregator(AggregatorJob),
}

impl Attack {
    /// The attack by service `n`.
    pub fn by(&self, n: u8) -> Carried {
        let job = self.job.clone().service(n);
        Carried {
            name: self.name,
            end: self.end,
            call: match self.world {
                World::Operator => CarriedCall::Operator(job.operator()),
                World::Aggregator => CarriedCall::Aggregator(job.aggregator(AggregatorCall::ProcessInput)),
            },
        }
    }
}

impl Carried {
    /// Carries it out once, and says what was wrong with its end.
    pub async fn perform(&self, engine: &Engine) -> Result<(), String> {
        let result = match self.call.clone() {
            CarriedCall::Operator(job) => engine.submit(job).await.map(|outcome| {
                outcome.result.map(|responses| {
                    let payloads = responses
                        .iter()
                        .map(|response| String::from_utf8_lossy(&response.payload).into_owned());
                    payloads.collect::<Vec<_>>().join("\n")
                })
            }),
            CarriedCall::Aggregator(job) => engine
                .submit_aggregator(job)
                .await
                .map(|outcome| outcome.result.map(|actions| format!("{actions:?}"))),
        };
        match (&self.end, result) {
            (End::Told(text), Ok(Ok(told))) if told.contains(text) => Ok(()),
            (End::Failed(class, text), Ok(Err(error))) if error.class == *class && error.detail.contains(text) => {
                Ok(())
            }
            (_, other) => Err(format!("{}: {other:?}", self.name)),
        }
    }
}

/// Grows a table while the component is instantiated, until the host refuses; then traps.
pub const GROWING_TABLE: &str = "(module (table 0 funcref) (func $grow
    (loop (br_if 0 (i32.ne (table.grow (ref.null func) (i32.const 10000)) (i32.const -1))))
    unreachable) (start $grow))";

/// Calls itself until it is stopped, and needs nothing but the stack of the run for it.
pub const RECURSION: &str = "(module (func $down (param i64) (result i64)
    (i64.add (local.get 0) (call $down (i64.add (local.get 0) (i64.const 1)))))
    (func $begin (drop (call $down (i64.const 1)))) (start $begin))";

/// The component with a core module more, which it instantiates so many times.
pub fn with_module(component: &[u8], module: &str, times: usize) -> Vec<u8> {
    const CORE_MODULE: u8 = 1;
    const CORE_INSTANCE: u8 = 2;
    let module = wat::parse_str(module).unwrap();
    let index = u8::try_from(sections(component).filter(|id| *id == CORE_MODULE).count()).unwrap();
    let mut bytes = component.to_vec();
    bytes.push(CORE_MODULE);
    bytes.extend(leb(module.len()));
    bytes.extend(module);
    // An instance made from that module without arguments.
    let instances: Vec<u8> = std::iter::repeat_n([0, index, 0], times).flatten().collect();
    let count = leb(times);
    bytes.push(CORE_INSTANCE);
    bytes.extend(leb(count.len() + instances.len()));
    bytes.extend(count);
    bytes.extend(instances);
    bytes
}

/// The numbers of the sections of a component, in their order.
fn sections(component: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = &component[8..];
    std::iter::from_fn(move || {
        let (id, mut after) = rest.split_first()?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let (byte, next) = after.split_first()?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            after = next;
            if byte & 0x80 == 0 {
                break;
            }
        }
        rest = after.get(length..)?;
        Some(*id)
    })
}

fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
