//! Memory of the five processes, as the kernel accounts it: the proportional set size, which counts shared pages once.

use anyhow::{Context as _, Result};
use e2e::node::Node;

use super::bed::{Bed, Depth};
use super::figure::Figure;
use super::progress::Step;
use super::stats;

/// The most that five idle processes should use, in megabytes.
pub(super) const IDLE_TARGET_MB: f64 = 100.0;
/// The most that memory should grow by per execution, in bytes. What is flat still wavers by a megabyte.
const SLOPE_TARGET: f64 = 100.0;
/// Executions over which memory is watched.
const EXECUTIONS: u32 = 20_000;
/// Executions between two looks.
const STRIDE: u32 = 2_500;

/// Memory of one process in bytes.
pub(super) type Usage = Vec<(String, u64)>;

/// Reads the memory of all five processes.
pub(super) async fn usage(node: &Node) -> Result<Usage> {
    let mut usage = Vec::new();
    for row in node.processes().await? {
        let name = row["name"].as_str().context("a process has no name")?.to_owned();
        let pid = row["pid"].as_u64().with_context(|| format!("{name} does not run"))?;
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("cannot read {path}; the memory of a protected process is shown to root only, so run this as root")
        })?;
        usage.push((name, pss(&text).with_context(|| format!("{path} has no Pss line"))?));
    }
    Ok(usage)
}

/// One figure for the sum, with the parts in its note.
pub(super) fn figure(name: &str, usage: &Usage) -> Figure {
    let parts: Vec<String> = usage
        .iter()
        .map(|(process, bytes)| format!("{} {:.1}", process.trim_end_matches("-svc"), megabytes(*bytes)))
        .collect();
    Figure::new(name, Some(megabytes(sum(usage))), "MB")
        .target(IDLE_TARGET_MB)
        .note(parts.join(", "))
}

/// Runs many triggers to their signatures and tells by how much memory grows for each.
pub(super) async fn growth(bed: &Bed) -> Result<[Figure; 2]> {
    let step = Step::new("memory over many executions", u64::from(EXECUTIONS))?;
    // The first ones fill pools and caches, which is no growth.
    bed.inject(Depth::Sign, b"warm", STRIDE).await?;
    let first = usage(&bed.node).await?;
    let mut last = first.clone();
    let mut points = vec![(0.0, sum(&first) as f64)];
    for done in (STRIDE..=EXECUTIONS).step_by(STRIDE as usize) {
        bed.inject(Depth::Sign, format!("round {done}").as_bytes(), STRIDE)
            .await?;
        last = usage(&bed.node).await?;
        points.push((f64::from(done), sum(&last) as f64));
        step.advance(u64::from(STRIDE));
    }
    let parts: Vec<String> = first
        .iter()
        .zip(&last)
        .map(|((name, before), (_, after))| {
            format!(
                "{} {:+.1}",
                name.trim_end_matches("-svc"),
                megabytes(*after) - megabytes(*before)
            )
        })
        .collect();
    Ok([
        Figure::new("memory growth per execution", stats::slope(&points), "B")
            .target(SLOPE_TARGET)
            .note(format!("over {EXECUTIONS} executions; MB in all: {}", parts.join(", "))),
        Figure::new("  memory after them, PSS of all", Some(megabytes(sum(&last))), "MB"),
    ])
}

fn sum(usage: &Usage) -> u64 {
    usage.iter().map(|(_, bytes)| bytes).sum()
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// The `Pss` line of `/proc/<pid>/smaps_rollup` (proc_pid_smaps(5)), in bytes.
fn pss(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_counts_in_kibibytes() {
        let text = "5581-7ffd [rollup]\nRss:  8 kB\nPss:                6468 kB\nPss_Dirty:  1 kB\n";
        assert_eq!(pss(text), Some(6468 * 1024));
        assert_eq!(pss("Rss: 1 kB\n"), None);
    }
}
