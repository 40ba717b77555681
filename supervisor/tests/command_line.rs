//! The program itself: its exit codes, and that it keeps secrets to itself.

use std::process::{Command, Output};

use serde_json::{Value, json};
use wavs_service::config::keys::KEYS;

const MNEMONIC: &str = "test test test test test test test test test test test junk";

fn wavs(dir: &tempfile::TempDir, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wavs"))
        .args(arguments)
        .env_clear()
        .env("WAVS_DATA", dir.path())
        .current_dir(dir.path())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn exit_codes_say_what_kind_of_failure_it_was() {
    let dir = tempfile::tempdir().unwrap();
    for (arguments, code) in [
        (&["--version"][..], 0),
        (&["--help"], 0),
        (&["config", "check"], 0),
        (&["--no-such-flag"], 64),
        (&["config", "check", "--port", "70000"], 78),
        (&["run", "--port", "x"], 78),
        (&["status"], 3),
        (&["jail"], 78),
    ] {
        let output = wavs(&dir, arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn help_teaches() {
    let dir = tempfile::tempdir().unwrap();
    let help = text(&wavs(&dir, &["--help"]).stdout);
    for part in ["Examples:", "wavs status", "Exit codes:", "--port"] {
        assert!(help.contains(part), "{part} is missing in\n{help}");
    }
    assert!(!help.contains("jail"), "the shim is internal");
}

#[test]
fn the_configuration_is_shown_without_secrets() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("wavs.toml"),
        format!("[wavs]\nsigning_mnemonic = \"{MNEMONIC}\"\n"),
    )
    .unwrap();
    let output = wavs(&dir, &["config", "show"]);
    let shown = text(&output.stdout);
    assert!(shown.contains("\"signing_mnemonic\": \"<redacted>\""), "{shown}");
    assert!(!shown.contains(MNEMONIC) && !text(&output.stderr).contains(MNEMONIC));
}

#[test]
fn every_key_is_listed_with_its_default_and_its_effect() {
    let dir = tempfile::tempdir().unwrap();
    let table = text(&wavs(&dir, &["config", "keys"]).stdout);
    let row = |key: &str| table.lines().find(|line| line.trim_start().starts_with(key)).unwrap();
    assert!(row("fetch.max_component_mb ").contains(" 64 "), "{table}");
    assert!(row("jaeger ").contains("(no effect in this version)"), "{table}");
    let keys = serde_json::from_slice::<Vec<Value>>(&wavs(&dir, &["config", "keys", "--json"]).stdout).unwrap();
    assert_eq!(keys.len(), KEYS.len());
    assert_eq!(keys.len() + 1, table.lines().count());
    let port = keys.iter().find(|key| key["key"] == "port").unwrap();
    assert_eq!(
        (&port["default"], &port["flag"], &port["effect"]),
        (&json!("8000"), &json!(true), &json!(true))
    );
}

#[test]
fn a_missing_program_is_named_with_the_places() {
    // The program without its neighbours, and no PATH. A link, since a copy could still be open for writing in a process that
    // another test starts at this moment.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let copy = dir.path().join("wavs");
    std::fs::hard_link(env!("CARGO_BIN_EXE_wavs"), &copy).unwrap();
    let output = Command::new(&copy)
        .args(["run", "--port", "0", "--data"])
        .arg(dir.path().join("data"))
        .env_clear()
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(
        error.contains("wavs-aggregator") && error.contains(&dir.path().display().to_string()),
        "{error}"
    );
}

#[test]
fn a_node_that_must_not_start_without_its_chains_does_not() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("wavs.toml"),
        "[wavs]\nport = 0\nhealth_check_mode = \"exit\"\n[default.chains.evm.1]\nhttp_endpoint = \"http://127.0.0.1:1\"\n",
    )
    .unwrap();
    let output = wavs(&dir, &["run"]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("health_check_mode"), "{error}");
}
