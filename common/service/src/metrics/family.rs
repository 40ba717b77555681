//! All series of one name.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::series::Series;

/// Most series of one family; further label values are counted as `other`.
pub(crate) const MAX_SERIES: usize = 2_000;

/// The series of one name, told apart by label values. Clones share them.
#[derive(Clone)]
pub struct Family<S> {
    inner: Arc<Inner<S>>,
}

struct Inner<S> {
    name: String,
    help: String,
    labels: &'static [&'static str],
    bounds: &'static [f64],
    series: Mutex<BTreeMap<Vec<String>, S>>,
}

/// A family of any kind, as the registry sees it.
pub(crate) trait Render: Send + Sync {
    /// Appends all lines of the family.
    fn render(&self, text: &mut String);
}

impl<S: Series> Family<S> {
    pub(crate) fn new(name: &str, help: &str, labels: &'static [&'static str], bounds: &'static [f64]) -> Self {
        let name = format!("{}{}", name.replace('.', "_"), S::SUFFIX);
        let series = Mutex::new(BTreeMap::new());
        Self {
            inner: Arc::new(Inner {
                name,
                help: help.to_owned(),
                labels,
                bounds,
                series,
            }),
        }
    }

    /// The series with these label values, in the order of the label names; made at first use. Missing values are empty.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> S {
        let count = self.inner.labels.len();
        let mut key: Vec<String> = values.iter().take(count).map(|value| (*value).to_owned()).collect();
        key.resize(count, String::new());
        let mut series = self.inner.lock();
        if series.len() >= MAX_SERIES && !series.contains_key(&key) {
            key.fill("other".to_owned());
        }
        series.entry(key).or_insert_with(|| S::zero(self.inner.bounds)).clone()
    }

    /// Drops the series whose label values do not satisfy `keep`, for example those of a deleted service.
    pub fn retain(&self, mut keep: impl FnMut(&[String]) -> bool) {
        self.inner.lock().retain(|values, _| keep(values));
    }

    pub(crate) fn renderer(&self) -> Arc<dyn Render> {
        Arc::clone(&self.inner) as Arc<dyn Render>
    }
}

impl<S> Inner<S> {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Vec<String>, S>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Series> Render for Inner<S> {
    fn render(&self, text: &mut String) {
        let name = &self.name;
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "# HELP {name} {}\n# TYPE {name} {}",
            self.help.replace('\n', " "),
            S::TYPE
        );
        for (values, series) in self.lock().iter() {
            let pairs = self
                .labels
                .iter()
                .zip(values)
                .map(|(label, value)| format!("{label}=\"{}\"", escape(value)));
            series.write(name, &pairs.collect::<Vec<_>>().join(","), text);
        }
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
