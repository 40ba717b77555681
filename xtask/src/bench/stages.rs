//! Where the time of an event goes, by the node's own record: the timelines of its jobs.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::figure::Figure;
use super::latency::Landing;
use super::stats::Sample;

/// The step before which a job is of interest.
const LAST: &str = "mined";

/// The median time of each step. The first step counts from when a client of the chain heard of the event.
pub(super) fn figures(landings: &[Landing], jobs: &[Value]) -> Result<Vec<Figure>> {
    let by_source: HashMap<&str, &Value> = jobs
        .iter()
        .filter_map(|job| Some((job["source"].as_str()?, job)))
        .collect();
    let mut order: Vec<String> = Vec::new();
    let mut times: HashMap<String, Vec<f64>> = HashMap::new();
    for landing in landings {
        let job = by_source.get(landing.source.as_str()).copied().unwrap_or(&Value::Null);
        let steps = steps(job);
        ensure!(
            !steps.is_empty(),
            "the node has no timeline for the event {}",
            landing.source
        );
        let mut previous = landing.fired_us;
        for (step, at_us) in steps {
            // Clocks of one machine agree, but the node may hear of an event a little earlier than this client.
            let took = at_us as f64 - previous as f64;
            previous = at_us;
            if !order.contains(&step) {
                order.push(step.clone());
            }
            times.entry(step).or_default().push(took / 1_000.0);
        }
    }
    let figure = |step: String| {
        let sample = Sample::new(times.remove(&step).unwrap_or_default());
        let p99 = sample.p99().map_or(String::new(), |p99| format!("p99 {p99:.1} ms"));
        Figure::new(format!("  stage: until {step}, p50"), sample.p50(), "ms").note(p99)
    };
    Ok(order.into_iter().map(figure).collect())
}

/// The steps of a job until its result is in a block. Steps that one commit takes at once count as the last of them.
fn steps(job: &Value) -> Vec<(String, u64)> {
    let mut steps: Vec<(String, u64)> = Vec::new();
    for step in job["timeline"].as_array().into_iter().flatten() {
        let (Some(name), Some(at_us)) = (step["step"].as_str(), step["at_us"].as_u64()) else {
            continue;
        };
        match steps.last_mut() {
            Some((last, last_us)) if *last_us == at_us => name.clone_into(last),
            _ => steps.push((name.to_owned(), at_us)),
        }
        if name == LAST {
            break;
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn steps_end_with_the_block_and_those_of_one_commit_are_one() {
        let step = |name: &str, at: u64| json!({"step": name, "at": "", "at_us": at});
        let job = json!({"timeline": [
            step("seen", 10), step("received", 20), step("signed", 30), step("collecting", 30),
            step("mined", 50), step("final", 60),
        ]});
        let expected = [("seen", 10), ("received", 20), ("collecting", 30), ("mined", 50)];
        assert_eq!(steps(&job), expected.map(|(name, at)| (name.to_owned(), at)));
        assert!(steps(&Value::Null).is_empty());
    }
}
