//! What the API counts of itself. Labels come from closed sets: templates of routes, methods and codes, never a raw path.

use std::time::Duration;

use axum::http::Method;
use wavs_service::Metrics;
use wavs_service::metrics::{Counter, Family, Histogram};

/// Upper bounds in seconds; the longest route may take two minutes.
const BOUNDS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0];

/// The metrics of the API.
pub struct HttpMetrics {
    registry: Metrics,
    requests: Family<Counter>,
    seconds: Family<Histogram>,
    rejected: Family<Counter>,
}

impl Default for HttpMetrics {
    fn default() -> Self {
        let registry = Metrics::of_this_build();
        Self {
            requests: registry.counter(
                "wavs.http.requests",
                "Requests answered.",
                &["route", "method", "status"],
            ),
            seconds: registry.histogram("wavs.http.request_seconds", "Time to the answer.", &["route"], BOUNDS),
            rejected: registry.counter(
                "wavs.http.rejected",
                "Requests refused before their route.",
                &["reason"],
            ),
            registry,
        }
    }
}

impl HttpMetrics {
    /// A request was answered. `route` is the template of its path.
    pub fn answered(&self, route: &str, method: &Method, status: u16, took: Duration) {
        let method = match *method {
            Method::GET | Method::HEAD | Method::POST | Method::DELETE | Method::OPTIONS => method.as_str(),
            // A client may invent methods.
            _ => "other",
        };
        self.requests.with(&[route, method, &status.to_string()]).inc();
        self.seconds.with(&[route]).observe(took.as_secs_f64());
    }

    /// A request did not reach its route; `reason` is the code of the problem.
    pub fn rejected(&self, reason: &str) {
        self.rejected.with(&[reason]).inc();
    }

    /// Everything in the Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.registry.render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_closed_labels() {
        let metrics = HttpMetrics::default();
        metrics.answered(
            "/services/{chain}/{address}",
            &Method::GET,
            404,
            Duration::from_millis(2),
        );
        metrics.answered("/info", &Method::from_bytes(b"BREW").unwrap(), 405, Duration::ZERO);
        metrics.rejected("overloaded");
        let text = metrics.render();
        for line in [
            "wavs_http_requests_total{route=\"/services/{chain}/{address}\",method=\"GET\",status=\"404\"} 1",
            "wavs_http_requests_total{route=\"/info\",method=\"other\",status=\"405\"} 1",
            "wavs_http_request_seconds_bucket{route=\"/info\",le=\"0.001\"} 1",
            "wavs_http_rejected_total{reason=\"overloaded\"} 1",
            "wavs_build_info{version=",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
