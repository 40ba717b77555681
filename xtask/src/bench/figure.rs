//! What was measured, as a table for people and as JSON for programs.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use super::stats::Sample;

/// Columns of a table that is not printed on a terminal.
const WIDTH: u16 = 150;

/// One measured figure. Less is better for each that has a target.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figure {
    /// What it is.
    name: String,
    /// The value; none when it could not be measured here, the note says why.
    value: Option<f64>,
    /// Its unit.
    unit: &'static str,
    /// The most that it should be.
    target: Option<f64>,
    /// How the value compares with the target.
    verdict: Verdict,
    /// How it was measured, or what it is to be compared with.
    note: String,
}

/// How a value compares with its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Met,
    Missed,
    NoTarget,
    NotMeasured,
}

impl Figure {
    /// A figure without target.
    pub(super) fn new(name: impl Into<String>, value: Option<f64>, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            value,
            unit,
            target: None,
            verdict: if value.is_some() {
                Verdict::NoTarget
            } else {
                Verdict::NotMeasured
            },
            note: String::new(),
        }
    }

    /// Sets the most that it should be.
    pub(super) fn target(mut self, target: f64) -> Self {
        self.target = Some(target);
        self.verdict = match self.value {
            None => Verdict::NotMeasured,
            Some(value) if value <= target => Verdict::Met,
            Some(_) => Verdict::Missed,
        };
        self
    }

    /// Adds how it was measured or what it is to be compared with.
    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// The median and the 99th percentile of a sample in milliseconds.
pub(super) fn percentiles(name: &str, sample: &Sample) -> [Figure; 2] {
    [
        Figure::new(format!("{name}, p50"), sample.p50(), "ms"),
        Figure::new(format!("{name}, p99"), sample.p99(), "ms"),
    ]
}

/// `a / b`, where both are known.
pub(super) fn ratio(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.zip(b).filter(|(_, b)| *b > 0.0).map(|(a, b)| a / b)
}

/// Everything that one run measured.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Processors of the machine.
    processors: usize,
    /// The figures, in the order in which they were measured.
    figures: Vec<Figure>,
}

impl Report {
    /// An empty report about this machine.
    pub(super) fn new() -> Self {
        Self {
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            figures: Vec::new(),
        }
    }

    /// Adds figures.
    pub(super) fn add(&mut self, figures: impl IntoIterator<Item = Figure>) {
        self.figures.extend(figures);
    }

    /// As JSON text.
    pub(super) fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// As a table.
    pub(super) fn table(&self) -> String {
        let mut table = Table::new();
        table
            .load_style(presets::UTF8_BORDERS_ONLY)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_header(["figure", "value", "target", "verdict", "note"]);
        if table.width().is_none() {
            table.set_width(WIDTH);
        }
        for figure in &self.figures {
            let value = figure
                .value
                .map_or("—".to_owned(), |value| quantity(value, figure.unit));
            let target = figure
                .target
                .map(|target| format!("≤ {}", quantity(target, figure.unit)));
            let verdict = match figure.verdict {
                Verdict::Met => "met",
                Verdict::Missed => "MISSED",
                Verdict::NoTarget => "",
                Verdict::NotMeasured => "not measured",
            };
            table.add_row([
                figure.name.as_str(),
                &value,
                target.as_deref().unwrap_or_default(),
                verdict,
                &figure.note,
            ]);
        }
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        if let Some(column) = table.column_mut(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!("{table}\non {} processors", self.processors)
    }
}

/// A number with as many digits as tell something, and its unit.
fn quantity(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        size if size == 0.0 || size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_compare_with_the_target() {
        let verdict = |value, target| Figure::new("x", value, "ms").target(target).verdict;
        assert_eq!(verdict(Some(29.9), 30.0), Verdict::Met);
        assert_eq!(verdict(Some(30.0), 30.0), Verdict::Met);
        assert_eq!(verdict(Some(30.1), 30.0), Verdict::Missed);
        assert_eq!(verdict(None, 30.0), Verdict::NotMeasured);
        assert_eq!(Figure::new("x", Some(1.0), "ms").verdict, Verdict::NoTarget);
    }

    #[test]
    fn the_table_and_the_json_have_every_figure() {
        let mut report = Report::new();
        report.add([
            Figure::new("alpha", Some(12.345), "ms").target(10.0),
            Figure::new("beta", None, "MB").note("no permission"),
        ]);
        let table = report.table();
        for text in [
            "alpha",
            "12.3 ms",
            "≤ 10.0 ms",
            "MISSED",
            "beta",
            "not measured",
            "no permission",
        ] {
            assert!(table.contains(text), "{text} is missing in\n{table}");
        }
        let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(json["figures"][0]["verdict"], "missed");
        assert_eq!(json["figures"][1]["value"], serde_json::Value::Null);
    }

    #[test]
    fn quantities_have_digits_that_tell_something() {
        assert_eq!(quantity(0.0, "B"), "0 B");
        assert_eq!(quantity(1.234, "ms"), "1.23 ms");
        assert_eq!(quantity(-12.34, "ms"), "-12.3 ms");
        assert_eq!(quantity(1234.5, "/s"), "1234 /s");
    }

    #[test]
    fn a_ratio_needs_both() {
        assert_eq!(ratio(Some(3.0), Some(2.0)), Some(1.5));
        assert_eq!(ratio(Some(3.0), Some(0.0)), None);
        assert_eq!(ratio(None, Some(1.0)), None);
    }
}
