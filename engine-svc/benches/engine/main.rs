//! What the engine costs: the same guest on bare wasmtime, inside engine-svc, through its socket, and on a naive host, in one
//! run on one machine. `cargo xtask bench engine` starts it.
//!
//! It measures and does not judge. Figures of different machines do not compare; the ratios do.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a report for people")]

mod bare;
mod measure;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use measure::{Report, Sample, drive};
use support::attacks::{self, Attack, Servers};
use support::process::Engine;
use support::{Fixture, Job};

/// Calls in flight.
const IN_FLIGHT: [usize; 4] = [1, 2, 8, 64];
/// Services that the calls belong to, so that the limit of one service does not bound them.
const SERVICES: u8 = 16;
/// The service that is measured beside hostile ones.
const NEIGHBOUR: u8 = 200;
/// Hostile guests of one kind at a time, each of a service of its own.
const ATTACKERS: u8 = 4;
/// How long each throughput is measured.
const SPAN: Duration = Duration::from_secs(3);
/// Components that are in the cache before the restart.
const CACHED: usize = 100;

fn main() {
    // `cargo bench` passes arguments of its own.
    let json = std::env::args().any(|argument| argument == "--json");
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .expect("threads");
    let report = runtime.block_on(measure());
    println!("{}", if json { report.json() } else { report.table() });
}

async fn measure() -> Report {
    let mut report = Report::default();
    let echo = support::guest_bytes("echo");

    eprintln!("bare wasmtime");
    let bare = bare::Bare::new(&echo);
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
    let digest = fixture.guest("echo").await;
    let job = |n: usize| Job::new(digest, "x").service(service(n));
    for in_flight in IN_FLIGHT {
        let call = |n: usize| {
            let (node, job) = (&fixture, job(n));
            async move {
                node.run(&job).await.expect("a run").result.expect("a result");
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
    for in_flight in IN_FLIGHT {
        let call = |n: usize| {
            let (engine, job) = (&engine, Job::new(digest, "x").service(service(n)));
            async move { engine.run(&job).await }
        };
        report.throughput("c: engine-svc by RPC", in_flight, drive(in_flight, SPAN, call).await);
    }

    eprintln!("a neighbour of hostile guests");
    beside_attacks(&mut report).await;

    eprintln!("memory");
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

/// The 99th percentile of a service that has nothing to do with it, while each kind of hostile guest is at work.
async fn beside_attacks(report: &mut Report) {
    let servers = Servers::start().await;
    let engine = attacks::engine().await;
    let attacks = attacks::attacks(&engine, &servers).await;
    let digest = engine.upload(&support::guest_bytes("echo")).await;
    let neighbour = |n: usize| {
        let (engine, job) = (&engine, Job::new(digest, &n.to_string()).service(NEIGHBOUR));
        async move { engine.run(&job).await }
    };
    let quiet = drive(1, SPAN, neighbour).await;
    report.note("p99 of a neighbour, quiet", "ms", quiet.p99());
    for attack in &attacks {
        eprintln!("  {}", attack.name);
        let over = AtomicBool::new(false);
        let copies = (1..=ATTACKERS).map(|n| again_and_again(attack, &engine, n, &over));
        let measure = async {
            let noisy = drive(1, SPAN, neighbour).await;
            over.store(true, Ordering::Release);
            noisy
        };
        let (_, noisy) = tokio::join!(futures::future::join_all(copies), measure);
        report.disturbance(attack.name, noisy.p99(), noisy.p99() / quiet.p99());
    }
    engine.stop();
}

/// Keeps an attack up until the measurement is over.
async fn again_and_again(attack: &Attack, engine: &Engine, n: u8, over: &AtomicBool) {
    while !over.load(Ordering::Acquire) {
        if let Err(wrong) = attack.perform(engine, n).await {
            // A flood of the file quota is over at once when it is repeated; the tests judge how attacks end.
            eprintln!("    {wrong}");
            return;
        }
    }
}

fn service(n: usize) -> u8 {
    u8::try_from(n % usize::from(SERVICES)).unwrap_or_default() + 1
}
