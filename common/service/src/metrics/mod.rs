//! A small metrics registry that renders the Prometheus text format 0.0.4.
//!
//! Names are given with dots (`engine.execution_seconds`) and shown with underscores; counters gain `_total`. A family has a fixed
//! list of label names. Its series are bounded: when a family is full, further label values share one series whose labels are all `other`,
//! so outside input cannot grow the memory.

mod family;
mod series;

use std::sync::{Arc, Mutex, PoisonError};

pub use family::Family;
pub use series::{Counter, Gauge, Histogram};

use family::Render;

/// The registry of one process. Clones share it.
#[derive(Clone, Default)]
pub struct Metrics {
    families: Arc<Mutex<Vec<Arc<dyn Render>>>>,
}

impl Metrics {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A registry that tells the version of the program.
    #[must_use]
    pub fn of_this_build() -> Self {
        let metrics = Self::new();
        let family = metrics.gauge("wavs.build_info", "The version of the program; always 1.", &["version"]);
        family.with(&[env!("CARGO_PKG_VERSION")]).set(1);
        metrics
    }

    /// A family of counters. Register each name once.
    pub fn counter(&self, name: &str, help: &str, labels: &'static [&'static str]) -> Family<Counter> {
        self.add(Family::new(name, help, labels, &[]))
    }

    /// A family of gauges. Register each name once.
    pub fn gauge(&self, name: &str, help: &str, labels: &'static [&'static str]) -> Family<Gauge> {
        self.add(Family::new(name, help, labels, &[]))
    }

    /// A family of histograms with ascending upper `bounds`. Register each name once.
    pub fn histogram(
        &self,
        name: &str,
        help: &str,
        labels: &'static [&'static str],
        bounds: &'static [f64],
    ) -> Family<Histogram> {
        self.add(Family::new(name, help, labels, bounds))
    }

    /// All metrics in the Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut text = String::new();
        for family in families {
            family.render(&mut text);
        }
        text
    }

    fn add<S: series::Series>(&self, family: Family<S>) -> Family<S> {
        self.families
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(family.renderer());
        family
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_is_that_of_prometheus() {
        let metrics = Metrics::new();
        let runs = metrics.counter("engine.runs", "Runs.", &["service_id"]);
        runs.with(&["a\"b\\c\n"]).inc();
        runs.with(&["a\"b\\c\n"]).add(2);
        metrics.gauge("queue.depth", "Waiting.", &[]).with(&[]).set(-3);
        let seconds = metrics.histogram("run.seconds", "Time.", &[], &[0.1, 1.0]);
        seconds.with(&[]).observe(0.05);
        seconds.with(&[]).observe(0.5);
        seconds.with(&[]).observe(5.0);
        let expected = "\
# HELP engine_runs_total Runs.
# TYPE engine_runs_total counter
engine_runs_total{service_id=\"a\\\"b\\\\c\\n\"} 3
# HELP queue_depth Waiting.
# TYPE queue_depth gauge
queue_depth -3
# HELP run_seconds Time.
# TYPE run_seconds histogram
run_seconds_bucket{le=\"0.1\"} 1
run_seconds_bucket{le=\"1\"} 2
run_seconds_bucket{le=\"+Inf\"} 3
run_seconds_sum 5.55
run_seconds_count 3
";
        assert_eq!(metrics.render(), expected);
    }

    #[test]
    fn a_full_family_shares_one_series() {
        let metrics = Metrics::new();
        let family = metrics.counter("hits", "Hits.", &["who"]);
        for who in 0..family::MAX_SERIES + 10 {
            family.with(&[&who.to_string()]).inc();
        }
        let text = metrics.render();
        assert!(text.contains("hits_total{who=\"other\"} 10\n"), "{text}");
        family.retain(|labels| labels[0] == "7");
        assert_eq!(
            metrics.render().lines().filter(|line| line.starts_with("hits")).count(),
            1
        );
    }
}
