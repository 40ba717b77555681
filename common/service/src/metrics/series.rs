//! One series of values: counter, gauge or histogram.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// What a family consists of.
pub trait Series: Clone + Send + Sync + 'static {
    /// The Prometheus type.
    const TYPE: &'static str;
    /// What is appended to the name.
    const SUFFIX: &'static str;
    /// A new series at zero.
    fn zero(bounds: &'static [f64]) -> Self;
    /// Writes its lines; `labels` is `a="b",c="d"` or empty.
    fn write(&self, name: &str, labels: &str, text: &mut String);
}

/// Only goes up.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

/// Goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

/// Counts observations by size.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    bounds: &'static [f64],
    /// One more than bounds: the last one has no upper bound.
    counts: Vec<AtomicU64>,
    /// Bits of an `f64`.
    sum: AtomicU64,
}

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// The current value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds `amount`, which may be negative.
    pub fn add(&self, amount: i64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// The current value.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Histogram {
    /// Counts `value`.
    pub fn observe(&self, value: f64) {
        let at = self
            .0
            .bounds
            .iter()
            .position(|bound| value <= *bound)
            .unwrap_or(self.0.bounds.len());
        self.0.counts[at].fetch_add(1, Ordering::Relaxed);
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // The closure always gives a value, so the update cannot fail.
        let _ = self.0.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

impl Series for Counter {
    const TYPE: &'static str = "counter";
    const SUFFIX: &'static str = "_total";

    fn zero(_: &'static [f64]) -> Self {
        Self::default()
    }

    fn write(&self, name: &str, labels: &str, text: &mut String) {
        line(text, name, "", labels, self.get());
    }
}

impl Series for Gauge {
    const TYPE: &'static str = "gauge";
    const SUFFIX: &'static str = "";

    fn zero(_: &'static [f64]) -> Self {
        Self::default()
    }

    fn write(&self, name: &str, labels: &str, text: &mut String) {
        line(text, name, "", labels, self.get());
    }
}

impl Series for Histogram {
    const TYPE: &'static str = "histogram";
    const SUFFIX: &'static str = "";

    fn zero(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Buckets {
            bounds,
            counts,
            sum: AtomicU64::new(0.0_f64.to_bits()),
        }))
    }

    fn write(&self, name: &str, labels: &str, text: &mut String) {
        let separator = if labels.is_empty() { "" } else { "," };
        let mut count = 0;
        for (at, bucket) in self.0.counts.iter().enumerate() {
            count += bucket.load(Ordering::Relaxed);
            let bound = self
                .0
                .bounds
                .get(at)
                .map_or_else(|| "+Inf".to_owned(), ToString::to_string);
            line(
                text,
                name,
                "_bucket",
                &format!("{labels}{separator}le=\"{bound}\""),
                count,
            );
        }
        line(
            text,
            name,
            "_sum",
            labels,
            f64::from_bits(self.0.sum.load(Ordering::Relaxed)),
        );
        line(text, name, "_count", labels, count);
    }
}

fn line(text: &mut String, name: &str, suffix: &str, labels: &str, value: impl std::fmt::Display) {
    // Writing to a string does not fail.
    let _ = if labels.is_empty() {
        writeln!(text, "{name}{suffix} {value}")
    } else {
        writeln!(text, "{name}{suffix}{{{labels}}} {value}")
    };
}
