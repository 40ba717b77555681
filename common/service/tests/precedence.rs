//! Where values come from, and which source wins.

mod support;

use std::path::PathBuf;
use std::time::Duration;

use support::Scratch;
use wavs_service::config::{LogFormat, P2pMode, StageSize};
use wavs_types::ChainConfig;

#[test]
fn without_a_file_the_built_in_values_apply() {
    let loaded = Scratch::new()
        .variable("STATE_DIRECTORY", "/var/lib/wavs:/other")
        .loaded();
    let node = &loaded.node;
    assert_eq!(loaded.file, None);
    assert!(
        loaded.searched.len() >= 5 && loaded.warnings.is_empty(),
        "{:?} {:?}",
        loaded.searched,
        loaded.warnings
    );
    assert_eq!((node.http.host.as_str(), node.http.port), ("127.0.0.1", 8000));
    assert_eq!(node.data_dir, PathBuf::from("/var/lib/wavs"));
    assert_eq!(node.telemetry.log_level, ["info"]);
    assert_eq!(node.telemetry.log_format, LogFormat::Text);
    assert_eq!(node.engine.max_execution, Duration::from_secs(300));
    assert_eq!(node.engine.max_fuel, None);
    assert_eq!(node.engine.component_cache.get(), 20);
    assert_eq!(node.http.data_retention, Duration::from_secs(7 * 86_400));
    assert_eq!(node.engine.cache_dir, PathBuf::from("/var/lib/wavs/engine/aot"));
    assert_eq!(node.trigger.fetch.ipfs_gateways, ["https://ipfs.io/ipfs/"]);
    assert_eq!(node.p2p.mode, P2pMode::Disabled);
    assert!(!node.aggregator.p2p_enabled && node.aggregator.signing_mnemonic.is_none());
    let stages = [1, 1, 1, 2, 2, 4]
        .map(StageSize::Count)
        .into_iter()
        .chain([StageSize::Rest]);
    assert_eq!(node.aggregator.stages, stages.collect::<Vec<_>>());
    assert_eq!(node.aggregator.jobs.retention, Duration::from_secs(7 * 86_400));
}

#[test]
fn the_aggregator_is_told_how_much_the_engine_has_room_for() {
    for (workers, slots) in [(1, 16), (4, 32), (1_000, 256)] {
        let text = format!("[wavs.engine]\nworkers = {workers}\nmax_parallel_per_service = 3");
        let node = Scratch::new().file("wavs.toml", &text).loaded().node;
        assert_eq!(
            (node.engine.workers, node.engine.max_parallel_per_service),
            (workers, 3)
        );
        assert_eq!(
            (node.aggregator.engine_slots, node.aggregator.max_parallel_per_service),
            (slots, 3)
        );
    }
}

#[test]
fn each_layer_beats_the_ones_below() {
    // The key in a subset of the sources, from low to high; the highest set one must win.
    for mask in 0..16_u8 {
        let set = |bit: u8| mask & (1 << bit) != 0;
        let table = |name: &str, bit: u8| {
            if set(bit) {
                format!("[{name}]\nport = 100{bit}\n")
            } else {
                String::new()
            }
        };
        let mut scratch = Scratch::new().file("wavs.toml", &format!("{}{}", table("default", 0), table("wavs", 1)));
        if set(2) {
            scratch = scratch.variable("WAVS_PORT", "1002");
        }
        if set(3) {
            scratch = scratch.flags(["--port", "1003"]);
        }
        let expected = (0..4)
            .rev()
            .find(|bit| set(*bit))
            .map_or(8000, |bit| 1000 + u16::from(bit));
        let loaded = scratch.loaded();
        assert_eq!(loaded.node.http.port, expected, "{mask:04b}");
        let overridden = mask & 0b0011 != 0 && mask & 0b1100 != 0;
        assert_eq!(
            !loaded.overrides.is_empty(),
            overridden,
            "{mask:04b}: {:?}",
            loaded.overrides
        );
    }
}

#[test]
fn tables_merge_by_key_and_arrays_replace() {
    let loaded = Scratch::new()
        .file(
            "wavs.toml",
            r#"
            [default]
            log_level = ["info", "wavs_engine=debug"]
            [default.chains.evm.31337]
            http_endpoint = "http://localhost:8545"
            ws_endpoints = ["ws://a", "ws://b"]
            [wavs]
            log_level = ["warn"]
            [wavs.chains.evm.31337]
            ws_endpoints = ["ws://c"]
            [wavs.chains.dev.local]
            type = "evm"
            chain_id = "31338"
            http_endpoint = "http://localhost:8546"
            [wavs.chains.cosmos.wasmd]
            bech32_prefix = "wasm"
            gas_price = 0.025
            gas_denom = "ustake"
            rpc_endpoint = "http://localhost:26657"
            [cli]
            whatever = 1
            "#,
        )
        .variable("WAVS_CHAINS__EVM__31337__MAX_GETLOGS_RANGE", "17")
        .loaded();
    assert_eq!(
        loaded.warnings,
        ["dev:local has no ws_endpoints: its events are polled, which is slower"]
    );
    assert_eq!(loaded.node.telemetry.log_level, ["warn"]);
    let chains = &loaded.node.chains;
    assert_eq!(
        chains.keys().map(ToString::to_string).collect::<Vec<_>>(),
        ["cosmos:wasmd", "dev:local", "evm:31337"]
    );
    let ChainConfig::Evm(evm) = &chains[&"evm:31337".parse().unwrap()] else {
        panic!("not an EVM chain")
    };
    assert_eq!(evm.chain_id, "31337");
    assert_eq!(evm.http_endpoint.as_deref(), Some("http://localhost:8545"));
    assert_eq!(
        (evm.ws_endpoints.as_slice(), evm.max_getlogs_range),
        (["ws://c".to_owned()].as_slice(), 17)
    );
    assert_eq!(chains[&"dev:local".parse().unwrap()].chain_id(), "31338");
}

#[test]
fn the_kind_of_network_in_the_higher_layer_wins() {
    let scratch = Scratch::new().file(
        "wavs.toml",
        r#"
        [default]
        p2p = { local = { listen_port = 1, max_pending_publishes = 5 } }
        [wavs]
        p2p = { remote = { listen_port = 2, bootstrap_nodes = ["/ip4/127.0.0.1/tcp/9"] } }
        "#,
    );
    let P2pMode::Remote {
        network,
        bootstrap_nodes,
        ..
    } = scratch.loaded().node.p2p.mode
    else {
        panic!("not remote")
    };
    assert_eq!(
        (
            network.listen_port,
            network.max_pending_publishes,
            bootstrap_nodes.len()
        ),
        (2, 1000, 1)
    );
    let off = scratch.variable("WAVS_P2P", "disabled").loaded();
    assert_eq!(off.node.p2p.mode, P2pMode::Disabled);
}

#[test]
fn variables_are_read_by_the_type_of_the_key() {
    let loaded = Scratch::new()
        .variable("WAVS_HOST", "123")
        .variable("WAVS_HTTP__MAX_CONCURRENT", "64")
        .variable("WAVS_LOG_LEVEL", "warn, wavs[{subsys=Engine,id=1}]=debug")
        .variable("WAVS_DEV_ENDPOINTS_ENABLED", "true")
        .variable("WAVS_MAX_WASM_FUEL", "18446744073709551614")
        .variable("WAVS_WASM_LRU_SIZE", "0")
        .variable("WAVS_PROCESS__ENGINE__LOG_LEVEL", "debug")
        .variable("WAVS_ENV_KEY", "for guests")
        .variable("WAVS_COMPONENT_ENV__WAVS_ENV_OTHER", "for guests too")
        .loaded();
    let node = &loaded.node;
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!((node.http.host.as_str(), node.http.max_concurrent), ("123", 64));
    assert_eq!(node.telemetry.log_level, ["warn", "wavs[{subsys=Engine,id=1}]=debug"]);
    assert!(node.http.dev_endpoints && node.trigger.dev_endpoints);
    assert_eq!(node.engine.max_fuel, Some(u64::MAX - 1));
    assert_eq!(node.engine.component_cache.get(), 10);
    assert_eq!(
        node.telemetry_of(wavs_service::ProcessName::Engine).log_level,
        ["debug"]
    );
    assert_eq!(
        node.telemetry_of(wavs_service::ProcessName::P2p).log_level,
        node.telemetry.log_level
    );
    assert_eq!(
        node.aggregator.component_env.keys().collect::<Vec<_>>(),
        ["WAVS_ENV_KEY", "WAVS_ENV_OTHER"]
    );
}

#[test]
fn flags_repeat_take_commas_and_may_stand_alone() {
    let flags = [
        "--log-level",
        "info,a=debug",
        "--log-level=b=debug",
        "--dev-endpoints-enabled",
        "--disable-trigger-networking=false",
    ];
    let node = Scratch::new().flags(flags).loaded().node;
    assert_eq!(node.telemetry.log_level, ["info", "a=debug", "b=debug"]);
    assert!(node.http.dev_endpoints && !node.trigger.networking_disabled);
    // The command line of the reference's container.
    let reference = [
        "--ipfs-gateway",
        "https://a/ipfs",
        "--host",
        "0.0.0.0",
        "--log-level",
        "info",
    ];
    assert_eq!(
        Scratch::new().flags(reference).loaded().node.engine.fetch.ipfs_gateways,
        ["https://a/ipfs/"]
    );
}

#[test]
fn the_first_file_of_the_search_wins_and_is_named() {
    let scratch = Scratch::new()
        .file("home/wavs.toml", "[wavs]\nport = 1")
        .file("wavs.toml", "[wavs]\nport = 2");
    let scratch = scratch.file(".wavs/wavs.toml", "[wavs]\nport = 3");
    assert_eq!(scratch.loaded().node.http.port, 2);
    let scratch = scratch.variable("WAVS_HOME", "home");
    let loaded = scratch.loaded();
    assert_eq!(
        (loaded.node.http.port, loaded.file),
        (1, Some(scratch.path().join("home/wavs.toml")))
    );
    // A home without a file does not end the search.
    assert_eq!(scratch.flags(["--home", "/nowhere"]).loaded().node.http.port, 2);
}

#[test]
fn paths_start_where_they_are_written() {
    let scratch = Scratch::new()
        .file("etc/wavs.toml", "[wavs]\ndata = \"state\"")
        .variable("WAVS_HOME", "etc");
    assert_eq!(scratch.loaded().node.data_dir, scratch.path().join("etc/state"));
    let scratch = scratch.variable("WAVS_DATA", "~/elsewhere");
    let node = scratch.loaded().node;
    assert_eq!(node.data_dir, scratch.path().join("elsewhere"));
    assert_eq!(node.http.admin_socket, scratch.path().join("elsewhere/run/admin.sock"));
}

#[test]
fn dotenv_files_fill_in_and_never_overwrite() {
    let scratch = Scratch::new()
        .file("one", "WAVS_PORT=1\nWAVS_HOST=one\n")
        .file(
            "two",
            "WAVS_PORT=2\nWAVS_HOST=two\nWAVS_JOBS__MAX_QUEUE=2\nRUST_LOG=trace",
        )
        .file(
            ".env",
            "WAVS_JOBS__MAX_QUEUE=3\nWAVS_JOBS__RETRY_MAX=3\nnonsense here\n",
        )
        .variable("WAVS_PORT", "9")
        .variable("WAVS_DOTENV", "two")
        .flags(["--dotenv", "one"]);
    let loaded = scratch.loaded();
    let node = &loaded.node;
    assert_eq!((node.http.port, node.http.host.as_str()), (9, "one"));
    assert_eq!((node.aggregator.jobs.max_queue, node.aggregator.jobs.retry_max), (2, 3));
    assert_eq!(node.telemetry.log_level, ["trace"]);
    assert!(loaded.warnings[0].contains(".env, line 3"), "{:?}", loaded.warnings);
    let broken = Scratch::new()
        .file("one", "fine=1\nnonsense here\n")
        .flags(["--dotenv", "one"])
        .refused();
    assert!(broken.contains("one, line 2"), "{broken}");
}

#[test]
fn one_service_can_be_treated_differently() {
    let id = "ab".repeat(32);
    let text = format!(
        "[wavs.aggregator]\ncollect_ttl_secs = 10\nstages = [2, \"rest\"]\n[wavs.service.\"{id}\"]\ncallback = \"per_attempt\"\nordered = [\"w\"]\n\
         [wavs.grants.\"{id}\"]\nenv = [\"WAVS_ENV_A\"]\nmax_fuel = 5\n"
    );
    let aggregator = Scratch::new().file("wavs.toml", &text).loaded().node.aggregator;
    let service = id.parse().unwrap();
    let policy = aggregator.policy(&service);
    assert_eq!(policy.collect_ttl, Duration::from_secs(10));
    assert_ne!(policy.callback, aggregator.service_defaults.callback);
    assert!(policy.ordered.contains("w"));
    assert_eq!(aggregator.stages, [StageSize::Count(2), StageSize::Rest]);
    let grant = &aggregator.grants.services[&service];
    assert_eq!(
        (grant.max_fuel, grant.chains.as_ref(), grant.raw_sockets),
        (Some(5), None, false)
    );
}
