//! What the engine costs: the same guest on bare wasmtime, inside engine-svc, through its socket, and on a naive host, in one
//! run on one machine. `cargo xtask bench engine` starts it.
//!
//! It measures and does not judge. Figures of different machines do not compare; the ratios do.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a report for people")]

mod bare;
mod control;
mod measure;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use measure::{Disturbance, Report, Sample, drive};
use support::attacks::{self, Carried, Servers};
use support::process::Engine;
use support::{Fixture, Job};
use wasmtime::Enabled;
use wavs_ipc::contract::engine::{Engine as _, OperatorJob};
use wavs_ipc::tarpc::context;
use wavs_types::ComponentDigest;

/// Calls in flight.
const IN_FLIGHT: [usize; 4] = [1, 2, 8, 64];
/// Services that the calls belong to, so that the limit of one service does not bound them.
const SERVICES: u8 = 16;
/// Services that run once and then are idle.
const IDLE: u8 = 180;
/// The service that is measured beside hostile ones.
const NEIGHBOUR: u8 = 200;
/// Hostile guests of one kind at a time, each of a service of its own: one, and more than there are processors.
const ATTACKERS: [u8; 2] = [1, 4];
/// How long each throughput is measured.
const SPAN: Duration = Duration::from_secs(2);
/// Components that are in the cache before the restart.
const CACHED: usize = 100;

fn main() {
    // `cargo bench` passes arguments of its own.
    let json = std::env::args().any(|argument| argument == "--json");
    if std::env::args().any(|argument| argument == control::ARGUMENT) {
        control::fill_memory();
    }
    let part = std::env::args().skip_while(|argument| argument != "--beside").nth(1);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .expect("threads");
    let report = runtime.block_on(async {
        match part {
            None => measure().await,
            Some(part) => {
                let mut report = Report::default();
                beside_attacks(&mut report, &part).await;
                report
            }
        }
    });
    println!("{}", if json { report.json() } else { report.table() });
}

async fn measure() -> Report {
    let mut report = Report::default();
    let echo = support::guest_bytes("echo");

    eprintln!("bare wasmtime");
    let bare = bare::Bare::new(&echo, Enabled::No);
    report.note(
        "compile the echo guest in-process",
        "ms",
        bare.compiled.as_secs_f64() * 1e3,
    );
    for in_flight in IN_FLIGHT {
        report.throughput(
            "a: bare wasmtime",
            in_flight,
            drive(in_flight, SPAN, |_| bare.call()).await,
        );
    }

    let scanning = bare::Bare::new(&echo, Enabled::Auto);
    for in_flight in IN_FLIGHT {
        report.throughput(
            "a+: bare, scanning pages",
            in_flight,
            drive(in_flight, SPAN, |_| scanning.call()).await,
        );
    }

    eprintln!("a naive host");
    let naive = bare::Naive::new(&echo);
    for in_flight in IN_FLIGHT {
        report.throughput(
            "d: naive host",
            in_flight,
            drive(in_flight, SPAN, |_| naive.call()).await,
        );
    }

    eprintln!("engine-svc in this process");
    let fixture = Fixture::with(|settings| {
        settings.workers = std::thread::available_parallelism().map_or(1, usize::from);
    });
    let jobs = jobs(fixture.guest("echo").await);
    for in_flight in IN_FLIGHT {
        let call = |n: usize| {
            let (node, job) = (fixture.node.clone(), jobs[n % jobs.len()].clone());
            async move {
                let ran = node.run_operator(context::current(), job).await;
                ran.expect("a run").result.expect("a result");
            }
        };
        report.throughput(
            "b: engine-svc in-process",
            in_flight,
            drive(in_flight, SPAN, call).await,
        );
    }
    drop(fixture);

    eprintln!("engine-svc through its socket");
    let mut engine = Engine::start().await;
    let digest = engine.upload(&echo).await;
    let jobs = self::jobs(digest);
    for in_flight in IN_FLIGHT {
        let call = |n: usize| {
            let (engine, job) = (&engine, jobs[n % jobs.len()].clone());
            async move {
                engine.submit(job).await.expect("a run").result.expect("a result");
            }
        };
        report.throughput("c: engine-svc by RPC", in_flight, drive(in_flight, SPAN, call).await);
    }

    eprintln!("a neighbour of hostile guests");
    beside_attacks(&mut report, "").await;

    eprintln!("guests with much memory");
    report.sample("run of a guest that fills 5 MB", &filling(&engine, digest).await);

    eprintln!("memory");
    // Those that the calls belonged to are there already.
    let idle = SERVICES + 1..=SERVICES + IDLE;
    let before = engine.resident();
    for n in idle {
        engine.run(&Job::new(digest, "x").service(n)).await;
    }
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    report.note(
        "memory of a service that has run and is idle",
        "KiB",
        engine.resident().saturating_sub(before) as f64 / f64::from(IDLE) / 1024.0,
    );
    let before = engine.resident();
    let sleeping = engine.slots();
    let jobs: Vec<_> = (0..sleeping)
        .map(|n| {
            let job = Job::new(digest, "z")
                .config("sleep-kind", "async")
                .config("sleep-ms", "3000");
            job.service(service(n))
        })
        .collect();
    let peak = {
        let sleepers = futures::future::join_all(jobs.iter().map(|job| engine.run(job)));
        let watch = async {
            let mut peak = 0;
            let started = Instant::now();
            while started.elapsed() < Duration::from_secs(2) {
                tokio::task::yield_now().await;
                peak = peak.max(engine.resident());
            }
            peak
        };
        tokio::join!(sleepers, watch).1
    };
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    report.note(
        &format!("memory of each of {sleeping} sleeping guests"),
        "KiB",
        peak.saturating_sub(before) as f64 / sleeping as f64 / 1024.0,
    );

    eprintln!("{CACHED} components");
    let mut digests = Vec::new();
    let mut cold = Vec::new();
    for n in 0..CACHED {
        let started = Instant::now();
        digests.push(engine.upload(&measure::variant(&echo, n)).await);
        cold.push(started.elapsed());
    }
    report.sample("compile a component, upload to ready", &Sample::new(cold));
    let started = Instant::now();
    engine.restart();
    engine.run(&Job::new(digests[0], "first")).await;
    report.note(
        &format!("kill to first execution with {CACHED} cached components"),
        "ms",
        started.elapsed().as_secs_f64() * 1e3,
    );
    let mut loads = Vec::new();
    for digest in &digests[1..] {
        let started = Instant::now();
        engine.prefetch(*digest).await;
        loads.push(started.elapsed());
    }
    report.sample("load a cached component", &Sample::new(loads));
    engine.stop();
    report
}

/// The 99th percentile of a service that has nothing to do with it, while each kind of hostile guest is at work whose name has
/// `part` in it. The control tells how much of that is the kernel's doing alone.
async fn beside_attacks(report: &mut Report, part: &str) {
    let servers = Servers::start().await;
    let engine = Arc::new(attacks::engine().await);
    let attacks = attacks::attacks(&engine, &servers).await;
    let digest = engine.upload(&support::guest_bytes("echo")).await;
    let job = Job::new(digest, "x").service(NEIGHBOUR).operator();
    let neighbour = |_| {
        let (engine, job) = (&engine, job.clone());
        async move {
            engine.submit(job).await.expect("a run").result.expect("a result");
        }
    };
    // Machines are noisy: each is compared with the quiet moment before it.
    let mut control = Disturbance::quiet(
        "control: another program that fills memory",
        drive(1, SPAN, neighbour).await,
    );
    for programs in ATTACKERS {
        let _busy = control::Programs::start(programs);
        control.beside(programs, drive(1, SPAN, neighbour).await);
    }
    report.disturbance(control);
    for attack in attacks.iter().filter(|attack| attack.name.contains(part)) {
        let mut row = Disturbance::quiet(attack.name, drive(1, SPAN, neighbour).await);
        for attackers in ATTACKERS {
            let over = Arc::new(AtomicBool::new(false));
            // Tasks of their own, so that the neighbour does not wait for what its client has to do with the attacks.
            let copies: Vec<_> = (1..=attackers)
                .map(|n| tokio::spawn(again_and_again(attack.by(n), engine.clone(), over.clone())))
                .collect();
            row.beside(attackers, drive(1, SPAN, neighbour).await);
            over.store(true, Ordering::Release);
            for copy in copies {
                copy.await.expect("an attacker");
            }
        }
        report.disturbance(row);
    }
    drop(engine);
}

/// How long runs take that touch as much memory as interpreters do. Nothing of it leaves the engine.
async fn filling(engine: &Engine, digest: ComponentDigest) -> Sample {
    let job = Job::new(digest, "do:payload:5000000");
    let mut times = Vec::new();
    let started = Instant::now();
    while started.elapsed() < SPAN {
        let outcome = engine.outcome(&job).await.expect("a run");
        times.push(Duration::from_micros(outcome.usage.duration_us));
    }
    Sample::new(times)
}

/// Keeps an attack up until the measurement is over.
async fn again_and_again(attack: Carried, engine: Arc<Engine>, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Acquire) {
        if let Err(wrong) = attack.perform(&engine).await {
            // A flood of the file quota is over at once when it is repeated; the tests judge how attacks end.
            eprintln!("    {wrong}");
            return;
        }
    }
}

/// The same call for each of the services, as it goes over the socket. They are made beforehand, as the caller of engine-svc
/// does, which holds documents as text.
fn jobs(digest: ComponentDigest) -> Vec<OperatorJob> {
    let services = 1..=SERVICES;
    services.map(|n| Job::new(digest, "x").service(n).operator()).collect()
}

fn service(n: usize) -> u8 {
    u8::try_from(n % usize::from(SERVICES)).unwrap_or_default() + 1
}
