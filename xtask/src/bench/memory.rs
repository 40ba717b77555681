//! Memory of the five processes, as the kernel accounts it: the proportional set size, which counts shared pages once.

use std::io::ErrorKind;

use anyhow::{Context as _, Result};
use e2e::node::Node;

use super::bed::{Bed, Depth};
use super::figure::Figure;
use super::progress::Step;
use super::stats;

/// The most that five idle processes should use, in megabytes.
const IDLE_TARGET_MB: f64 = 100.0;
/// The most that memory should grow by per execution, in bytes. What is flat still wavers by a megabyte.
const SLOPE_TARGET: f64 = 100.0;
/// Executions over which memory is watched, and as many before them.
const EXECUTIONS: u32 = 20_000;
/// Executions between two looks.
const STRIDE: u32 = 2_500;
/// Why there may be no figure.
pub(super) const HIDDEN: &str = "the memory of a protected process is shown to root only";

/// Memory of each process in bytes.
pub(super) type Usage = Vec<(String, u64)>;

/// The memory of all five processes; `None` when this user may not.
pub(super) async fn usage(node: &Node) -> Result<Option<Usage>> {
    let mut usage = Vec::new();
    for row in node.processes().await? {
        let name = row["name"].as_str().context("a process has no name")?.to_owned();
        let pid = row["pid"].as_u64().with_context(|| format!("{name} does not run"))?;
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == ErrorKind::PermissionDenied => return Ok(None),
            Err(cause) => return Err(cause).with_context(|| format!("cannot read {path} of {name}")),
        };
        let bytes = pss(&text).with_context(|| format!("{path} of {name} has no Pss line"))?;
        usage.push((name.trim_end_matches("-svc").to_owned(), bytes));
    }
    Ok(Some(usage))
}

/// The sum of all processes while nothing happens, with the parts in its note.
pub(super) async fn idle(name: &str, node: &Node) -> Result<Figure> {
    let Some(usage) = usage(node).await? else {
        return Ok(Figure::new(name, None, "MB").target(IDLE_TARGET_MB).note(HIDDEN));
    };
    let parts: Vec<String> = usage
        .iter()
        .map(|(name, bytes)| format!("{name} {:.1}", megabytes(*bytes)))
        .collect();
    Ok(Figure::new(name, Some(megabytes(sum(&usage))), "MB")
        .target(IDLE_TARGET_MB)
        .note(parts.join(", ")))
}

/// Runs many triggers to their signatures and tells by how much memory grows for each.
pub(super) async fn growth(bed: &Bed) -> Result<Vec<Figure>> {
    let name = "memory growth per execution";
    let step = Step::new("memory over many executions", 2 * u64::from(EXECUTIONS))?;
    let Some(cold) = usage(&bed.node).await? else {
        return Ok(vec![Figure::new(name, None, "B").target(SLOPE_TARGET).note(HIDDEN)]);
    };
    // The first ones fill the allocator's arenas and SQLite's caches, which have bounds of their own; growth is what goes
    // on after that.
    let warm = points(bed, &step, "warm").await?;
    let measured = points(bed, &step, "measured").await?;
    let (Some(before), Some(after)) = (warm.last(), measured.last()) else {
        return Ok(Vec::new());
    };
    let line: Vec<(f64, f64)> = [before]
        .into_iter()
        .chain(&measured)
        .enumerate()
        .map(|(index, usage)| ((index * STRIDE as usize) as f64, sum(usage) as f64))
        .collect();
    Ok(vec![
        Figure::new(name, stats::slope(&line), "B")
            .target(SLOPE_TARGET)
            .note(format!(
                "over {EXECUTIONS} after as many; MB: {}",
                changes(before, after)
            )),
        Figure::new(
            "memory after all of them, PSS of all",
            Some(megabytes(sum(after))),
            "MB",
        )
        .note(format!("the {EXECUTIONS} before, MB: {}", changes(&cold, before))),
    ])
}

/// The memory after each stride.
async fn points(bed: &Bed, step: &Step, round: &str) -> Result<Vec<Usage>> {
    let mut points = Vec::new();
    for done in (STRIDE..=EXECUTIONS).step_by(STRIDE as usize) {
        let data = format!("{round} {done}");
        bed.inject(Depth::Sign, data.as_bytes(), STRIDE).await?;
        points.extend(usage(&bed.node).await?);
        step.advance(u64::from(STRIDE));
    }
    Ok(points)
}

fn changes(before: &[(String, u64)], after: &[(String, u64)]) -> String {
    let changes: Vec<String> = before
        .iter()
        .zip(after)
        .map(|((name, before), (_, after))| format!("{name} {:+.1}", megabytes(*after) - megabytes(*before)))
        .collect();
    changes.join(", ")
}

/// The memory of all processes together, in bytes.
pub(super) fn sum(usage: &[(String, u64)]) -> u64 {
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
