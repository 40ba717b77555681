//! Where settings come from, in which order, and how wrong ones are reported. The endpoint is told by where requests arrive.

mod common;

use common::Tool;
use common::scripted::Scripted;
use wavs_cli::Exit;

fn node() -> Scripted {
    Scripted::start().on("GET /v1/components?limit=50", 200, r#"{"items":[],"next_cursor":null}"#)
}

fn toml(tool: &Tool, text: &str) {
    std::fs::write(tool.dir().join("wavs.toml"), text).unwrap();
}

#[test]
fn later_sources_win() {
    let nodes: Vec<_> = (0..5).map(|_| node()).collect();
    let url = |index: usize| nodes[index].url.clone();
    let counts = || nodes.iter().map(|node| node.asked().len()).collect::<Vec<_>>();

    let tool = Tool::new();
    toml(&tool, &format!("[default]\nwavs_endpoint = '{}'", url(0)));
    assert_eq!(tool.run("components").exit, Exit::Done);
    assert_eq!(counts(), [1, 0, 0, 0, 0], "[default]");
    toml(
        &tool,
        &format!(
            "[cli]\nwavs_endpoint = '{}'\n[default]\nwavs_endpoint = '{}'",
            url(1),
            url(0)
        ),
    );
    assert_eq!(tool.run("components").exit, Exit::Done);
    assert_eq!(counts(), [1, 1, 0, 0, 0], "[cli]");
    std::fs::write(
        tool.dir().join(".env"),
        format!("WAVS_CLI_WAVS_ENDPOINT=\"{}\"", url(2)),
    )
    .unwrap();
    assert_eq!(tool.run("components").exit, Exit::Done);
    assert_eq!(counts(), [1, 1, 1, 0, 0], ".env");
    let tool = tool.with("WAVS_CLI_WAVS_ENDPOINT", &url(3));
    assert_eq!(tool.run("components").exit, Exit::Done);
    assert_eq!(counts(), [1, 1, 1, 1, 0], "environment");
    assert_eq!(
        tool.run(&format!("components --wavs-endpoint {}", url(4))).exit,
        Exit::Done
    );
    assert_eq!(counts(), [1; 5], "flag");
}

#[test]
fn the_token_is_sent_and_never_shown() {
    let secret = "s3cret-token";
    let check = |tool: &Tool, node: &Scripted, words: &str| {
        let ended = tool.run(&format!("components --wavs-endpoint {} {words}", node.url));
        assert_eq!(ended.exit, Exit::Done, "{ended:?}");
        assert_eq!(
            node.asked()[0].authorization.as_deref(),
            Some("Bearer s3cret-token"),
            "{words}"
        );
        assert!(!format!("{ended:?}").contains(secret), "{ended:?}");
    };
    let tool = Tool::new();
    check(&tool, &node(), &format!("--token {secret}"));
    let file = tool.dir().join("token.txt");
    std::fs::write(&file, format!("{secret}\n")).unwrap();
    restrict(&file, 0o600);
    check(&tool, &node(), "--token file:token.txt");
    check(&Tool::new().with("WAVS_CLI_TOKEN", secret), &node(), "");
    check(&Tool::new().with("MY_TOKEN", secret), &node(), "--token env:MY_TOKEN");
    // The node's token file in the data directory.
    restrict(&file, 0o600);
    std::fs::rename(&file, tool.dir().join("token")).unwrap();
    check(&tool, &node(), "--data .");

    let none = node();
    assert_eq!(
        Tool::new()
            .run(&format!("components --wavs-endpoint {}", none.url))
            .exit,
        Exit::Done
    );
    assert_eq!(none.asked()[0].authorization, None);
}

#[test]
fn a_secret_that_everybody_can_read_is_refused() {
    let tool = Tool::new();
    let file = tool.dir().join("token.txt");
    std::fs::write(&file, "secret").unwrap();
    restrict(&file, 0o644);
    let ended = tool.run("components --token file:token.txt");
    assert_eq!(ended.exit, Exit::Usage, "{ended:?}");
    assert!(ended.stderr.contains("chmod 600"), "{ended:?}");
}

#[test]
fn wrong_settings_name_their_place() {
    let check = |text: &str, expected: &[&str]| {
        let tool = Tool::new();
        toml(&tool, text);
        let ended = tool.run("components");
        assert_eq!(ended.exit, Exit::Usage, "{text}: {ended:?}");
        for part in expected {
            assert!(ended.stderr.contains(part), "{text}: {ended:?}");
        }
    };
    check(
        "[cli]\n\nwavs_endpoint = 1",
        &["wavs_endpoint", "wavs.toml, line 3", "expected a text"],
    );
    check(
        "[cli]\nwavs_endpoint = 'nonsense'",
        &["line 2", "http://127.0.0.1:8000"],
    );
    check("[cli\n", &["wavs.toml, line 1"]);
    check("[default.chains.evm.31337]\nmax_gas = 'much'", &["chains.evm.31337"]);
    check(
        "[default.chains.dev.local]\nchain_id = '1'",
        &["chains.dev.local", "type"],
    );
    check("[default.chains.solana.1]\nx = 1", &["chains.solana.1"]);

    let ended = Tool::new().with("WAVS_CLI_JSON", "perhaps").run("components");
    assert_eq!(ended.exit, Exit::Usage);
    assert!(ended.stderr.contains("WAVS_CLI_JSON"), "{ended:?}");
    let ended = Tool::new().with("WAVS_CLI_LOG_LEVEL", "=[").run("components");
    assert_eq!(ended.exit, Exit::Usage, "{ended:?}");
}

#[test]
fn switches_come_from_the_environment_too() {
    let node = node();
    let tool = Tool::new()
        .with("WAVS_CLI_WAVS_ENDPOINT", &node.url)
        .with("WAVS_CLI_JSON", "true");
    assert!(tool.run("components").stdout.starts_with("{\n  \"items\": []"));
    assert_eq!(tool.run("components --quiet-results").stdout, "");
    assert!(tool.run("components --json false").stdout.contains("DIGEST"));
}

fn restrict(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
