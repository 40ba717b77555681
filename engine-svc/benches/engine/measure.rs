//! Driving calls and putting figures into words.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

/// Measured times, in ascending order.
pub(crate) struct Sample {
    times: Vec<Duration>,
    span: Duration,
}

impl Sample {
    /// Sorts times.
    pub(crate) fn new(times: Vec<Duration>) -> Self {
        let span = times.iter().sum();
        Self::within(times, span)
    }

    fn within(mut times: Vec<Duration>, span: Duration) -> Self {
        times.sort();
        Self { times, span }
    }

    fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.times.len() * percent).div_ceil(100).saturating_sub(1);
        self.times.get(rank).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }

    /// The median in milliseconds.
    pub(crate) fn p50(&self) -> f64 {
        self.percentile(50)
    }

    /// The 99th percentile in milliseconds.
    pub(crate) fn p99(&self) -> f64 {
        self.percentile(99)
    }

    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    fn per_second(&self) -> f64 {
        self.times.len() as f64 / self.span.as_secs_f64()
    }
}

/// Keeps `in_flight` calls going for `span`. The first tenth of the time warms up and does not count.
pub(crate) async fn drive<F, Call>(in_flight: usize, span: Duration, call: F) -> Sample
where
    F: Fn(usize) -> Call,
    Call: Future<Output = ()>,
{
    let warm = span / 10;
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    let lane = || async {
        let mut times = Vec::new();
        while started.elapsed() < warm + span {
            let begun = Instant::now();
            call(next.fetch_add(1, Ordering::Relaxed)).await;
            if begun.duration_since(started) >= warm {
                times.push(begun.elapsed());
            }
        }
        times
    };
    let lanes = futures::future::join_all((0..in_flight).map(|_| lane())).await;
    Sample::within(lanes.concat(), span)
}

/// The component with a custom section more, which changes its digest and nothing else.
pub(crate) fn variant(component: &[u8], n: usize) -> Vec<u8> {
    let name = format!("bench{n:03}");
    let length = u8::try_from(name.len()).unwrap_or_default();
    let mut bytes = component.to_vec();
    bytes.extend([0, length + 1, length]);
    bytes.extend(name.as_bytes());
    bytes
}

/// Everything that was measured.
#[derive(Default)]
pub(crate) struct Report {
    throughput: Vec<(String, usize, f64, f64, f64)>,
    notes: Vec<(String, &'static str, f64)>,
    disturbances: Vec<Disturbance>,
}

/// What a service saw while others were at work: 99th percentiles in milliseconds.
pub(crate) struct Disturbance {
    cause: &'static str,
    quiet: f64,
    /// How many were at work.
    beside: Vec<(u8, f64)>,
}

impl Disturbance {
    /// Before they began.
    pub(crate) fn quiet(cause: &'static str, sample: Sample) -> Self {
        Self {
            cause,
            quiet: sample.p99(),
            beside: Vec::new(),
        }
    }

    /// Beside so many of them.
    pub(crate) fn beside(&mut self, number: u8, sample: Sample) {
        let p99 = sample.p99();
        eprintln!("  {number} x {}: p99 {p99:.2} ms, quiet {:.2}", self.cause, self.quiet);
        self.beside.push((number, p99));
    }

    /// Pairs of the percentile and its multiple of the quiet one.
    fn ratios(&self) -> impl Iterator<Item = (u8, f64, f64)> + '_ {
        let ratio = |(number, p99): &(u8, f64)| (*number, *p99, *p99 / self.quiet);
        self.beside.iter().map(ratio)
    }
}

/// The most that a neighbour's 99th percentile may be, as a multiple of its quiet figure.
const DISTURBANCE: f64 = 3.0;

impl Report {
    /// Adds a throughput.
    pub(crate) fn throughput(&mut self, set_up: &str, in_flight: usize, sample: Sample) {
        let row = (
            set_up.to_owned(),
            in_flight,
            sample.per_second(),
            sample.p50(),
            sample.p99(),
        );
        self.throughput.push(row);
    }

    /// Adds a single figure.
    pub(crate) fn note(&mut self, name: &str, unit: &'static str, value: f64) {
        self.notes.push((name.to_owned(), unit, value));
    }

    /// Adds the median and the 99th percentile of a sample.
    pub(crate) fn sample(&mut self, name: &str, sample: &Sample) {
        self.note(&format!("{name}, p50"), "ms", sample.p50());
        self.note(&format!("{name}, p99"), "ms", sample.p99());
    }

    /// Adds what a neighbour of hostile guests saw.
    pub(crate) fn disturbance(&mut self, seen: Disturbance) {
        self.disturbances.push(seen);
    }

    fn rate(&self, letter: &str, in_flight: usize) -> Option<f64> {
        let mut rows = self.throughput.iter();
        let row = rows.find(|(set_up, at, ..)| set_up.starts_with(letter) && *at == in_flight)?;
        Some(row.2)
    }

    /// Ratios that say more than the figures, with the least that they should be.
    fn ratios(&self) -> Vec<(String, f64, f64)> {
        let ratio = |over: &str, under: &str| Some(self.rate(over, 64)? / self.rate(under, 64)?);
        [("c", "a", 0.7), ("c", "d", 2.0)]
            .into_iter()
            .filter_map(|(over, under, least)| {
                Some((format!("{over} / {under} at 64 in flight"), ratio(over, under)?, least))
            })
            .collect()
    }

    /// For programs.
    pub(crate) fn json(&self) -> String {
        let rows: Vec<_> = self.throughput.iter().map(|(set_up, in_flight, rate, p50, p99)| {
            json!({"set_up": set_up, "in_flight": in_flight, "per_second": rate, "p50_ms": p50, "p99_ms": p99})
        }).collect();
        let notes: Vec<_> = self
            .notes
            .iter()
            .map(|(name, unit, value)| json!({"name": name, "unit": unit, "value": value}))
            .collect();
        let ratios: Vec<_> = self
            .ratios()
            .iter()
            .map(|(name, value, least)| json!({"name": name, "value": value, "target": least}))
            .collect();
        let beside: Vec<_> = self
            .disturbances
            .iter()
            .map(|seen| {
                let beside: Vec<_> = seen
                    .ratios()
                    .map(|(number, p99, ratio)| json!({"number": number, "p99_ms": p99, "ratio": ratio}))
                    .collect();
                json!({"cause": seen.cause, "quiet_p99_ms": seen.quiet, "beside": beside, "target": DISTURBANCE})
            })
            .collect();
        json!({"throughput": rows, "figures": notes, "ratios": ratios, "neighbour": beside}).to_string()
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![format!(
            "{:<28} {:>9} {:>10} {:>9} {:>9}",
            "set-up", "in flight", "calls/s", "p50 ms", "p99 ms"
        )];
        for (set_up, in_flight, rate, p50, p99) in &self.throughput {
            lines.push(format!(
                "{set_up:<28} {in_flight:>9} {rate:>10.0} {p50:>9.3} {p99:>9.3}"
            ));
        }
        lines.push(String::new());
        for (name, unit, value) in &self.notes {
            lines.push(format!("{name:<58} {value:>10.2} {unit}"));
        }
        for (name, value, least) in self.ratios() {
            lines.push(format!("{name:<58} {value:>10.2} (at least {least})"));
        }
        lines.push(String::new());
        lines.push(format!(
            "{:<44} {:>10} {:>22}",
            "p99 of a neighbour",
            "quiet",
            format!("beside (1: up to {DISTURBANCE}x)"),
        ));
        for seen in &self.disturbances {
            let mut line = format!("{:<44} {:>7.2} ms", seen.cause, seen.quiet);
            for (number, p99, ratio) in seen.ratios() {
                line.push_str(&format!("   {number}: {p99:>5.2} ms, {ratio:>4.1}x"));
            }
            lines.push(line);
        }
        lines.join("\n")
    }
}
