//! `wavs check`: can a node do its work here, and does the one that runs?
//!
//! [`machine`] looks at the kernel, the limits and the disk, [`programs`] at what is installed, [`keys`] has aggregator-svc look at
//! what needs its secrets (chains, accounts, registrations), and [`running`] asks a node that runs. Every look ends in a [`Finding`];
//! none changes anything. A start of the node makes the quick looks too and only warns.

mod keys;
pub mod machine;
mod programs;
mod running;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use comfy_table::{Cell, Color, Table, presets};
use serde_json::json;
use wavs_service::check::{Finding, Verdict, worst};
use wavs_service::config::{Flags, HealthCheckMode, Loaded, Loader, NodeConfig};

use crate::command_line::print;

/// Looks at everything and prints it. The exit code is 1 when something failed.
///
/// # Errors
/// When the configuration is wrong (exit code 78), or nothing can be printed.
pub fn show(flags: Flags, json: bool) -> anyhow::Result<ExitCode> {
    let loaded = Loader::from_process(flags).load()?;
    let mut findings = configuration(&loaded);
    let node = &loaded.node;
    findings.extend(machine::all(node));
    findings.extend(programs::look());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    findings.extend(runtime.block_on(async {
        let (keys, running) = tokio::join!(keys::look(node), running::look(node));
        keys.into_iter().chain(running).collect::<Vec<_>>()
    }));
    let verdict = worst(&findings);
    print(&if json {
        serde_json::to_string_pretty(&json!({"verdict": verdict, "findings": findings}))?
    } else {
        table(&findings, std::io::stdout().is_terminal())
    })?;
    Ok(ExitCode::from(u8::from(verdict == Verdict::Failed)))
}

/// With `health_check_mode = "exit"`: every chain is asked before anything is started. With the other modes nothing is waited for
/// here; each chain is connected to as soon as that is possible, and delays nothing but what needs it.
///
/// # Errors
/// When a chain has no good endpoint, or that cannot be found out.
pub async fn before_start(node: &NodeConfig) -> anyhow::Result<()> {
    if node.http.health_check_mode != HealthCheckMode::Exit {
        return Ok(());
    }
    let found = keys::look(node).await;
    let failed: Vec<_> = found
        .iter()
        .filter(|one| {
            one.verdict == Verdict::Failed && (one.subject.starts_with("chain") || one.subject == keys::SUBJECT)
        })
        .map(|one| format!("{}: {}", one.subject, one.detail))
        .collect();
    anyhow::ensure!(
        failed.is_empty(),
        "not started, because health_check_mode is \"exit\" and not every chain is healthy: {}",
        failed.join("; ")
    );
    Ok(())
}

/// The quick looks, as warnings in the log: a start goes on whatever they find.
pub fn warn_at_start(node: &NodeConfig) {
    for finding in machine::all(node) {
        let Finding {
            subject,
            verdict,
            detail,
        } = finding;
        match verdict {
            Verdict::Good => tracing::debug!(subject, detail, "checked"),
            Verdict::Warning | Verdict::Failed => tracing::warn!(subject, "{detail}"),
        }
    }
}

fn configuration(loaded: &Loaded) -> Vec<Finding> {
    const SUBJECT: &str = "configuration";
    let source = match &loaded.file {
        Some(file) => format!("valid ({})", file.display()),
        None => "valid (built-in values; no wavs.toml was found)".to_owned(),
    };
    let warnings = loaded.warnings.iter().map(|warning| Finding::warning(SUBJECT, warning));
    std::iter::once(Finding::good(SUBJECT, source))
        .chain(warnings)
        .collect()
}

/// Rows for people, the worst ones last, where the eye is.
fn table(findings: &[Finding], colours: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["", "WHAT", "FOUND"]);
    let mut rows: Vec<_> = findings.iter().collect();
    rows.sort_by_key(|finding| finding.verdict);
    for Finding {
        subject,
        verdict,
        detail,
    } in rows
    {
        let (word, colour) = match verdict {
            Verdict::Good => ("ok", Color::Green),
            Verdict::Warning => ("warn", Color::Yellow),
            Verdict::Failed => ("FAIL", Color::Red),
        };
        let word = Cell::new(word);
        let word = if colours { word.fg(colour) } else { word };
        table.add_row([word, Cell::new(subject), Cell::new(detail)]);
    }
    let count = |wanted: Verdict| findings.iter().filter(|finding| finding.verdict == wanted).count();
    format!(
        "{table}\n\n{} ok, {} to look at, {} failed",
        count(Verdict::Good),
        count(Verdict::Warning),
        count(Verdict::Failed)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_stands_last_and_is_counted() {
        let findings = [
            Finding::failed("disk", "full"),
            Finding::good("clock", "right"),
            Finding::warning("limits", "low"),
        ];
        let text = table(&findings, false);
        let at = |word: &str| {
            text.find(word)
                .unwrap_or_else(|| panic!("{word} is missing in\n{text}"))
        };
        assert!(at("clock") < at("limits") && at("limits") < at("disk"), "{text}");
        assert!(text.ends_with("1 ok, 1 to look at, 1 failed"), "{text}");
    }
}
