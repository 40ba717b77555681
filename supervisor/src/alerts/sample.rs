//! One look at everything that the rules judge: the table of processes, chains, parts, the disk, and counters of all processes.

use std::collections::BTreeMap;
use std::time::Duration;

use wavs_ipc::contract::lifecycle::PartCheck;
use wavs_ipc::contract::trigger_admin::ChainStatus;
use wavs_service::ProcessName;

use crate::check::machine::free_space;
use crate::http::api::Api;
use crate::supervise::snapshot::Snapshot;

/// A process that does not answer so quickly has no say in this sample.
const PATIENCE: Duration = Duration::from_secs(3);

/// Values by name of the metric, with the upper bound where it is a bucket of a histogram.
pub type Values = BTreeMap<(String, Option<String>), f64>;

/// What was seen.
#[derive(Debug, Default)]
pub struct Sample {
    /// The processes as the supervisor sees them.
    pub processes: Vec<Snapshot>,
    /// The chains that something is watched on.
    pub chains: Vec<ChainStatus>,
    /// Parts of processes with a fault.
    pub faults: Vec<(String, String)>,
    /// Free and all bytes of the disk under the data directory.
    pub disk: Option<(u64, u64)>,
    /// The metrics of each process that answered, summed over their labels.
    pub metrics: BTreeMap<ProcessName, Values>,
    /// The API listens beyond this machine and asks for no token.
    pub open_to_network: bool,
    /// Blocks that a chain may be behind.
    pub max_lag_blocks: u64,
}

/// Asks everybody.
pub async fn take(api: &Api) -> Sample {
    let asked = ProcessName::ALL.map(async |process| {
        let metrics = api.lifecycle(process, PATIENCE, async |client, context| client.metrics(context).await);
        let status = api.lifecycle(process, PATIENCE, async |client, context| client.status(context).await);
        let (metrics, status) = tokio::join!(metrics, status);
        (process, metrics, status)
    });
    let chains = api.triggers(PATIENCE, async |client, context| client.chains(context).await);
    let (answers, chains) = tokio::join!(futures::future::join_all(asked), chains);
    let settings = api.settings();
    let mut sample = Sample {
        processes: api.processes(),
        chains: chains.unwrap_or_default(),
        disk: free_space(api.data_dir()),
        open_to_network: settings.tokens.is_empty() && !is_local(&settings.host),
        max_lag_blocks: settings.max_lag_blocks,
        ..Sample::default()
    };
    sample.chains.retain(|chain| chain.followed);
    for (process, metrics, status) in answers {
        if let Ok(text) = metrics {
            sample.metrics.insert(process, values(&text));
        }
        let checks = status.map(|status| status.checks).unwrap_or_default();
        let faults = checks
            .into_iter()
            .filter_map(|PartCheck { name, fault }| Some((name, fault?)));
        sample.faults.extend(faults);
    }
    sample
}

fn is_local(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The samples of a text in the Prometheus format, summed over all labels but `le`. A counter that has counted nothing yet is
/// zero, so that its first step is growth.
fn values(text: &str) -> Values {
    let mut values = Values::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        if let Some(name) = line.strip_suffix(" counter") {
            values.insert((name.to_owned(), None), 0.0);
        }
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let Ok(value) = value.parse::<f64>() else { continue };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let bound = labels.split_once("le=\"").and_then(|(_, rest)| rest.split_once('"'));
        let key = (name.to_owned(), bound.map(|(bound, _)| bound.to_owned()));
        *values.entry(key).or_default() += value;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_over_their_labels() {
        let text = "# TYPE a_total counter\n# TYPE c_total counter\na_total{x=\"1 2\"} 2\na_total{x=\"3\"} 5\nb 1\nh_bucket{x=\"1\",le=\"0.5\"} 3\nh_bucket{le=\"0.5\"} 4\nnonsense\n";
        let values = values(text);
        let value = |name: &str, bound: Option<&str>| values[&(name.to_owned(), bound.map(str::to_owned))];
        assert_eq!(
            (value("a_total", None), value("b", None), value("h_bucket", Some("0.5"))),
            (7.0, 1.0, 7.0)
        );
        assert_eq!((value("c_total", None), values.len()), (0.0, 4));
    }
}
