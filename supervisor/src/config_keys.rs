//! `wavs config keys`: all that can be configured, with its built-in value and what it means.

use std::process::ExitCode;

use comfy_table::{Table, presets};
use serde_json::{Value, json};
use wavs_service::config::keys::{self, KEYS, Key};

use crate::command_line::print;

/// Prints all keys; `*` in a key stands for a name that the user gives.
///
/// # Errors
/// When the output is closed.
pub fn show(json: bool) -> anyhow::Result<ExitCode> {
    print(&if json {
        let rows: Vec<_> = KEYS.iter().map(row).collect();
        serde_json::to_string_pretty(&rows)?
    } else {
        table()
    })?;
    Ok(ExitCode::SUCCESS)
}

fn row(key: &Key) -> Value {
    json!({
        "key": key.path,
        "default": key.default,
        "flag": key.flag,
        "effect": keys::has_effect(key.path),
        "meaning": key.help,
    })
}

fn table() -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["KEY", "DEFAULT", "MEANING"]);
    for key in KEYS {
        let default = key.default.filter(|default| !default.is_empty()).unwrap_or("-");
        table.add_row([key.path, default, &key.meaning()]);
    }
    table.to_string()
}
