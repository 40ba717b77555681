//! The dependency rules that the containment rests on, asserted over the resolved graph.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{CargoOpt, DependencyKind, MetadataCommand, PackageId};

/// The processes by package name.
const PROCESSES: [&str; 4] = ["wavs-trigger", "wavs-engine", "wavs-aggregator", "wavs-p2p"];

/// The first version of the runtime without the holes that were known when it was chosen, among them two ways out of the directory
/// that a component is given. It belongs to the line that gets fixes for two years.
const LEAST_WASMTIME: (u64, u64, u64) = (48, 0, 7);

struct Graph {
    versions: BTreeMap<String, BTreeSet<(u64, u64, u64)>>,
    names: BTreeMap<PackageId, String>,
    normal: BTreeMap<String, BTreeSet<String>>,
    direct: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// The graph of normal dependencies: what ends up inside the binaries.
    fn resolve() -> Self {
        let metadata = MetadataCommand::new()
            .manifest_path(e2e::tools::repository().join("Cargo.toml"))
            .features(CargoOpt::SomeFeatures(Vec::new()))
            .other_options(vec![
                "--offline".to_owned(),
                "--filter-platform".to_owned(),
                "x86_64-unknown-linux-gnu".to_owned(),
            ])
            .exec()
            .unwrap();
        let names: BTreeMap<_, _> = metadata
            .packages
            .iter()
            .map(|package| (package.id.clone(), package.name.to_string()))
            .collect();
        let mut normal: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in metadata.resolve.unwrap().nodes {
            let own = normal.entry(names[&node.id].clone()).or_default();
            let is_normal =
                |dep: &&cargo_metadata::NodeDep| dep.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
            own.extend(node.deps.iter().filter(is_normal).map(|dep| names[&dep.pkg].clone()));
        }
        let mut direct: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for package in metadata.packages.iter().filter(|package| package.source.is_none()) {
            let dependencies = package
                .dependencies
                .iter()
                .filter(|dependency| dependency.kind == DependencyKind::Normal);
            direct.insert(
                package.name.to_string(),
                dependencies.map(|dependency| dependency.name.clone()).collect(),
            );
        }
        let mut versions: BTreeMap<String, BTreeSet<_>> = BTreeMap::new();
        for package in &metadata.packages {
            let version = &package.version;
            let found = versions.entry(package.name.to_string()).or_default();
            found.insert((version.major, version.minor, version.patch));
        }
        Self {
            versions,
            names,
            normal,
            direct,
        }
    }

    /// Everything that `package` is built from.
    fn closure(&self, package: &str) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        let mut open = vec![package];
        while let Some(next) = open.pop() {
            for dependency in self.normal.get(next).into_iter().flatten() {
                if found.insert(dependency.as_str()) {
                    open.push(dependency);
                }
            }
        }
        found
    }

    /// The crates of the workspace that name `dependency` themselves.
    fn users(&self, dependency: &str) -> BTreeSet<&str> {
        let uses = |(_, dependencies): &(&String, &BTreeSet<String>)| dependencies.contains(dependency);
        self.direct.iter().filter(uses).map(|(name, _)| name.as_str()).collect()
    }
}

#[test]
fn no_process_is_built_from_another_one() {
    let graph = Graph::resolve();
    assert!(graph.names.len() > 100, "the graph is resolved");
    for process in PROCESSES {
        let closure = graph.closure(process);
        assert!(closure.contains("wavs-ipc"), "{process} is in the graph");
        for other in PROCESSES.into_iter().chain(["wavs-supervisor", "wavs-cli"]) {
            assert!(!closure.contains(other), "{process} is built from {other}");
        }
    }
    let supervisor = graph.closure("wavs-supervisor");
    for process in PROCESSES {
        assert!(!supervisor.contains(process), "the supervisor is built from {process}");
    }
}

#[test]
fn what_tests_share_is_built_from_no_process_and_no_process_from_it() {
    let graph = Graph::resolve();
    for shared in ["testkit", "gen1peer"] {
        let closure = graph.closure(shared);
        assert!(closure.contains("tokio"), "it is in the graph");
        let ours = closure.iter().find(|name| name.starts_with("wavs-"));
        assert_eq!(ours, None, "every process can test itself with {shared}");
    }
    for process in PROCESSES.into_iter().chain(["wavs-supervisor", "wavs-cli"]) {
        for tests in ["testkit", "gen1peer", "e2e"] {
            assert!(!graph.closure(process).contains(tests), "{process} ships {tests}");
        }
    }
}

#[test]
fn the_wasm_runtime_is_in_the_engine_alone() {
    let graph = Graph::resolve();
    assert_eq!(graph.users("wasmtime"), BTreeSet::from(["wavs-engine"]));
    for package in [
        "wavs-supervisor",
        "wavs-trigger",
        "wavs-aggregator",
        "wavs-p2p",
        "wavs-cli",
    ] {
        assert!(
            !graph.closure(package).contains("wasmtime"),
            "{package} is built from wasmtime"
        );
    }
}

#[test]
fn the_wasm_runtime_is_past_its_known_holes() {
    let graph = Graph::resolve();
    for package in ["wasmtime", "wasmtime-wasi", "wasmtime-wasi-http"] {
        let found = &graph.versions[package];
        let (major, ..) = LEAST_WASMTIME;
        assert!(
            found
                .iter()
                .all(|version| *version >= LEAST_WASMTIME && version.0 == major),
            "Cargo.lock has {package} {found:?}, but before {LEAST_WASMTIME:?} its advisories tell of guests that get out of their \
             directory or use up the memory of the host, and other lines than {major} do not get their fixes as long; \
             `cargo update` gets a newer one, and a change of the line belongs here too"
        );
    }
}

#[test]
fn only_the_aggregator_and_the_client_can_sign() {
    let graph = Graph::resolve();
    for process in ["wavs-supervisor", "wavs-trigger", "wavs-engine", "wavs-p2p"] {
        let direct = &graph.direct[process];
        for signer in [
            "alloy-signer",
            "alloy-signer-local",
            "coins-bip32",
            "coins-bip39",
            "bip39",
        ] {
            assert!(!direct.contains(signer), "{process} names {signer}");
        }
    }
    // Features are unified over the workspace, so what each process asks of alloy is read from its own manifest.
    for (directory, process) in [
        ("supervisor", "wavs-supervisor"),
        ("trigger-svc", "wavs-trigger"),
        ("engine-svc", "wavs-engine"),
        ("p2p-svc", "wavs-p2p"),
    ] {
        let manifest = std::fs::read_to_string(e2e::tools::repository().join(directory).join("Cargo.toml")).unwrap();
        let shipped = manifest.split("[dev-dependencies]").next().unwrap();
        assert!(!shipped.contains("signer"), "{process} asks for a signer");
    }
}

#[test]
fn only_the_supervisor_serves_http_and_only_p2p_speaks_libp2p() {
    let graph = Graph::resolve();
    assert_eq!(graph.users("axum"), BTreeSet::from(["wavs-supervisor"]));
    assert!(
        graph
            .users("libp2p")
            .is_subset(&BTreeSet::from(["wavs-p2p", "gen1peer"]))
    );
    for process in ["wavs-trigger", "wavs-engine", "wavs-aggregator", "wavs-p2p"] {
        assert!(!graph.closure(process).contains("axum"), "{process} is built from axum");
    }
}

#[test]
fn what_all_share_stays_small() {
    let graph = Graph::resolve();
    let types = graph.closure("wavs-types");
    for heavy in ["tokio", "rusqlite", "reqwest", "tarpc"] {
        assert!(
            !types.contains(heavy),
            "wavs-types is pure data but is built from {heavy}"
        );
    }
    for user in graph.users("wavs-store") {
        assert!(
            PROCESSES.contains(&user),
            "{user} keeps durable state; only the processes do"
        );
    }
}
