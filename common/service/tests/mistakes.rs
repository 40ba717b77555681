//! Wrong values, unknown names and old names.

mod support;

use support::Scratch;
use wavs_service::ProcessName;
use wavs_service::config::Flags;
use wavs_service::exit::code_of;

#[test]
fn a_wrong_value_names_key_place_and_remedy() {
    let check = |scratch: Scratch, parts: &[&str]| {
        let error = scratch.refused();
        for part in parts {
            assert!(error.contains(part), "{part:?} is missing in: {error}");
        }
    };
    let file = |text: &str| Scratch::new().file("wavs.toml", text);
    check(
        file("[wavs]\n\nport = \"x\""),
        &["port", "wavs.toml, line 3", "between 0 and 65535"],
    );
    check(file("[wavs]\nport = 65536"), &["port", "line 2"]);
    check(file("[wavs]\nport = -1"), &["port", "line 2"]);
    check(
        file("[wavs]\nhealth_check_mode = \"maybe\""),
        &["health_check_mode", "bypass, wait, exit"],
    );
    check(
        file("[wavs]\njaeger = \"collector\""),
        &["jaeger", "line 2", "expected a URL"],
    );
    check(file("[wavs]\nport = = 1"), &["wavs.toml, line 2"]);
    check(
        file("[wavs.p2p.local]\nmax_pending_publishes = 1"),
        &["p2p.local", "listen_port"],
    );
    check(file("[wavs]\np2p = \"on\""), &["p2p", "disabled"]);
    check(
        file("[wavs.aggregator]\nstages = [0]"),
        &["aggregator.stages", "\"0\"", "rest"],
    );
    check(
        file("[wavs.engine]\nhard_timeout_secs = 4191"),
        &["engine.hard_timeout_secs", "line 2", "a run of 4191 s", "at most 4190"],
    );
    check(
        file("[wavs.service.abc]\ndeterministic = true"),
        &["service.abc", "64 hex digits"],
    );
    check(
        file("[wavs.chains.evm.1]\nmax_gas = 1"),
        &["chains.evm.1", "ws_endpoints or http_endpoint"],
    );
    check(
        file("[wavs.chains.evm.1]\nws_endpoints = 1"),
        &["chains.evm.1", "line 2"],
    );
    check(
        file("[wavs.chains.solana.1]\nhttp_endpoint = \"x\""),
        &["chains.solana", "evm, cosmos, dev"],
    );
    check(
        file("[wavs.chains.dev.a]\nhttp_endpoint = \"x\""),
        &["chains.dev.a", "type"],
    );
    check(
        Scratch::new().variable("WAVS_PORT", "http"),
        &["port", "environment variable WAVS_PORT"],
    );
    check(Scratch::new().flags(["--port", "http"]), &["port", "flag --port"]);
}

#[test]
fn a_wrong_configuration_is_not_worth_a_restart() {
    let Err(error) = Scratch::new().variable("WAVS_PORT", "http").load() else {
        panic!("accepted")
    };
    assert_eq!(code_of(&anyhow::Error::new(error).context("cannot start")), 78);
}

#[test]
fn unknown_names_are_warnings_with_the_nearest_name() {
    let scratch = Scratch::new()
        .file(
            "wavs.toml",
            "top = 1\n[global]\nport = 1\n[wavz]\n[wavs]\nsigning_mnemonik = \"x\"\n[wavs.htttp]\nmax_concurrent = 1\n\
             [wavs.chains.evm.1]\nhttp_endpoint = \"http://a\"\nws_endpoint = \"ws://b\"\n",
        )
        .variable("WAVS_LOG_LEVL", "info")
        .variable("WAVS_CLI_TOKEN", "x")
        .variable("WAVS_ENV_X", "x")
        .variable("WAVS_AGGREGATOR_FOO", "x");
    let warnings = scratch.loaded().warnings.join("\n");
    let expected = [
        "top is outside any table",
        "[global] is not supported",
        "unknown table [wavz]",
        "did you mean signing_mnemonic?",
        "unknown key htttp.max_concurrent",
        "did you mean http.max_concurrent?",
        "WAVS_LOG_LEVL fits no configuration key; did you mean log_level?",
        "chain evm:1: unknown key ws_endpoint",
        "did you mean ws_endpoints?",
    ];
    for part in expected {
        assert!(warnings.contains(part), "{part:?} is missing in:\n{warnings}");
    }
    assert_eq!(warnings.lines().count(), 8, "{warnings}");
    assert!(
        !warnings.contains("WAVS_CLI") && !warnings.contains("WAVS_ENV"),
        "{warnings}"
    );
    let strict = scratch.flags(["--strict-config"]).refused();
    assert!(strict.contains("--strict-config"), "{strict}");
}

#[test]
fn a_process_goes_by_its_short_and_its_full_name_and_by_no_other() {
    let scratch = Scratch::new().file(
        "wavs.toml",
        "[wavs.process.engine-svc]\nrestart_max = 7\n[wavs.process.p2p]\nrestart_max = 8\n[wavs.process.motor]\nrestart_max = 9\n",
    );
    let loaded = scratch.loaded();
    let limits = |name| loaded.node.processes[&name].restart_max;
    assert_eq!((limits(ProcessName::Engine), limits(ProcessName::P2p)), (7, 8));
    let warnings = loaded.warnings.join("\n");
    let expected = "; the processes are trigger, engine, aggregator, p2p";
    assert!(
        warnings.contains("process.motor.restart_max") && warnings.ends_with(expected),
        "{warnings}"
    );
    assert_eq!(warnings.lines().count(), 1, "{warnings}");
}

#[test]
fn old_names_work_and_new_ones_win() {
    let check = |scratch: Scratch, mnemonic: Option<&str>, evm: Option<&str>, hd_index: u32, warnings: usize| {
        let loaded = scratch.loaded();
        let aggregator = &loaded.node.aggregator;
        assert_eq!(
            aggregator
                .signing_mnemonic
                .as_ref()
                .map(wavs_service::Secret::expose_secret),
            mnemonic
        );
        assert_eq!(
            aggregator
                .evm_credential
                .as_ref()
                .map(wavs_service::Secret::expose_secret),
            evm
        );
        assert_eq!(aggregator.hd_index, hd_index);
        // The port of the old aggregator is known but has no effect, which is a matter of its own.
        let about_names = loaded
            .warnings
            .iter()
            .filter(|warning| !warning.contains("no effect in this version"));
        assert_eq!(about_names.count(), warnings, "{:?}", loaded.warnings);
    };
    check(
        Scratch::new().variable("WAVS_SUBMISSION_MNEMONIC", "old"),
        Some("old"),
        None,
        0,
        1,
    );
    // Also where the old name stands in a stronger source.
    let both = Scratch::new()
        .file("wavs.toml", "[wavs]\nsigning_mnemonic = \"new\"")
        .variable("WAVS_SUBMISSION_MNEMONIC", "old");
    check(both, Some("new"), None, 0, 1);
    let variables = Scratch::new()
        .variable("WAVS_AGGREGATOR_CREDENTIAL", "key")
        .variable("WAVS_AGGREGATOR_HD_INDEX", "3");
    check(variables, None, Some("key"), 3, 2);
    let template = "[wavs]\nport = 8041\n[aggregator]\nport = 8001\ncredential = \"key\"\nhd_index = 4\ndata = \"x\"\n";
    check(Scratch::new().file("wavs.toml", template), None, Some("key"), 4, 4);
    let loaded = Scratch::new().file("wavs.toml", template).loaded();
    assert_eq!(
        (loaded.node.http.port, loaded.node.http.legacy_aggregator_port),
        (8041, Some(8001))
    );
    let threads = Scratch::new().file(
        "wavs.toml",
        "[wavs]\nwasm_threads = 3\n[wavs.chains.evm.1]\nws_endpoints = [\"ws://a\"]\nevent_channel_size = 5\n",
    );
    let loaded = threads.loaded();
    assert_eq!(loaded.node.engine.workers, 3);
    assert_eq!(loaded.warnings.len(), 2, "{:?}", loaded.warnings);
}

#[test]
fn a_key_without_effect_is_said_so() {
    let text = "[wavs]\njaeger = \"http://127.0.0.1:4317\"\n[wavs.http]\nsse_max = 3\nmax_concurrent = 9";
    let warnings = Scratch::new().file("wavs.toml", text).loaded().warnings;
    for key in ["jaeger", "http.sse_max"] {
        let expected = format!("{key} is set but has no effect in this version");
        assert!(warnings.contains(&expected), "{warnings:?}");
    }
    assert!(
        !warnings.iter().any(|warning| warning.contains("max_concurrent")),
        "{warnings:?}"
    );
    let flags = Flags::add_to(clap::Command::new("wavs"));
    for (key, without) in [("jaeger", true), ("port", false)] {
        let flag = flags.get_arguments().find(|flag| flag.get_id() == key).unwrap();
        let help = flag.get_help().unwrap().to_string();
        assert_eq!(help.contains("(no effect in this version)"), without, "{help}");
    }
}
