//! Compiles the example contracts and checks the committed artefacts.
//!
//! An artefact is one JSON file with the interface and the code of a contract. It records a digest over all sources,
//! so a source that was changed without a recompilation is noticed without a compiler.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::{Map, Value, json};

use crate::digests;
use crate::guests::target_dir;
use crate::solc::{Solc, VERSION};

/// Compile the contracts, or compare the committed artefacts with their digests and sources.
#[derive(Debug, clap::Args)]
pub(crate) struct Contracts {
    /// Only compare the committed files with the recorded digests.
    #[arg(long)]
    pub(crate) check: bool,
}

/// Contracts that can be deployed; each lies in a file of its name.
const CONTRACTS: [&str; 4] = [
    "RevertingHandler",
    "ServiceHandler",
    "SimpleTrigger",
    "WavsServiceManager",
];

/// Directories of sources.
const SOURCES: [&str; 2] = ["interfaces", "src"];

impl Contracts {
    pub(crate) fn run(&self, root: &Path) -> anyhow::Result<String> {
        let dir = root.join("examples/contracts");
        let artifacts = dir.join("artifacts");
        let sources = read_sources(&dir)?;
        if self.check {
            check(&artifacts, &digest(&sources))?;
            return Ok(format!("{} contracts match their sources and digests", CONTRACTS.len()));
        }
        let solc = Solc::install(&target_dir(root).join("tools"))?;
        let result = solc.compile(&standard_input(&sources))?;
        fs::create_dir_all(&artifacts).with_context(|| format!("cannot create {}", artifacts.display()))?;
        for name in CONTRACTS {
            let file = artifacts.join(format!("{name}.json"));
            let text = serde_json::to_string_pretty(&artifact(name, &result, &digest(&sources))?)?;
            fs::write(&file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
        }
        digests::record(&artifacts, "json")?;
        Ok(format!(
            "{} contracts written to {}",
            CONTRACTS.len(),
            artifacts.display()
        ))
    }
}

/// Relative path and text of every source, sorted.
fn read_sources(dir: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut sources = Vec::new();
    for part in SOURCES {
        for path in digests::files(&dir.join(part), "sol")? {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            sources.push((format!("{part}/{name}"), text));
        }
    }
    Ok(sources)
}

/// SHA-256 over the list of digests and paths, that is over what `sha256sum interfaces/*.sol src/*.sol` prints.
fn digest(sources: &[(String, String)]) -> String {
    let list: String = sources
        .iter()
        .map(|(path, text)| format!("{}  {path}\n", digests::sha256(text.as_bytes())))
        .collect();
    digests::sha256(list.as_bytes())
}

fn standard_input(sources: &[(String, String)]) -> Value {
    let sources: Map<String, Value> = sources
        .iter()
        .map(|(path, text)| (path.clone(), json!({"content": text})))
        .collect();
    json!({
        "language": "Solidity",
        "sources": sources,
        "settings": {
            "optimizer": {"enabled": true, "runs": 200},
            // Old enough for every chain that a node may meet.
            "evmVersion": "paris",
            // No metadata in the code: a comment must not change it.
            "metadata": {"appendCBOR": false, "bytecodeHash": "none"},
            "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object"]}},
        },
    })
}

fn artifact(name: &str, result: &Value, source_digest: &str) -> anyhow::Result<Value> {
    let output = &result["contracts"][format!("src/{name}.sol")][name];
    let code = output["evm"]["bytecode"]["object"]
        .as_str()
        .filter(|code| !code.is_empty());
    let code = code.with_context(|| format!("the compiler made no code for {name}"))?;
    Ok(json!({
        "contractName": name,
        "compiler": format!("solc {VERSION}"),
        "sourceDigest": source_digest,
        "abi": output["abi"],
        "bytecode": format!("0x{code}"),
    }))
}

fn check(artifacts: &Path, source_digest: &str) -> anyhow::Result<()> {
    let count = digests::verify(artifacts, "json")?;
    ensure!(
        count == CONTRACTS.len(),
        "expected {} contracts, found {count}",
        CONTRACTS.len()
    );
    for path in digests::files(artifacts, "json")? {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let artifact: Value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
        ensure!(
            artifact["sourceDigest"] == source_digest,
            "{} was compiled from other sources: run `cargo xtask contracts`",
            path.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::json_abi::JsonAbi;

    fn root() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    fn abi(name: &str) -> JsonAbi {
        let file = root().join(format!("examples/contracts/artifacts/{name}.json"));
        let artifact: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        serde_json::from_value(artifact["abi"].clone()).unwrap()
    }

    fn functions(name: &str, expected: &[(&str, &str)]) {
        let abi = abi(name);
        for (function, selector) in expected {
            let overloads = abi
                .function(function)
                .unwrap_or_else(|| panic!("{name} has no {function}"));
            assert_eq!(overloads[0].selector().to_string(), *selector, "{name}.{function}");
        }
    }

    #[test]
    fn the_committed_artefacts_match_their_sources() {
        Contracts { check: true }.run(&root()).unwrap();
    }

    #[test]
    fn a_changed_source_is_noticed() {
        let mut sources = read_sources(&root().join("examples/contracts")).unwrap();
        sources[0].1.push(' ');
        let error = check(&root().join("examples/contracts/artifacts"), &digest(&sources)).unwrap_err();
        assert!(error.to_string().contains("other sources"), "{error}");
    }

    /// The selectors that deployed managers and handlers have.
    #[test]
    fn functions_have_the_selectors_that_nodes_call() {
        functions(
            "WavsServiceManager",
            &[
                ("validate", "0xcd71589e"),
                ("getOperatorWeight", "0x98ec1ac9"),
                ("getLatestOperatorForSigningKey", "0xac7cbfd9"),
                ("getServiceURI", "0xcc922c6a"),
                ("setServiceURI", "0x5f11301b"),
                ("getStakeRegistry", "0xbef4c839"),
                ("getAllocationManager", "0xa28efd6b"),
                ("getDelegationManager", "0xb24e5a3a"),
                ("setQuorumThreshold", "0xdbdc82c3"),
                ("quorumNumerator", "0xa7713a70"),
                ("quorumDenominator", "0x97c3d334"),
                ("getOperatorForSigningKeyAtBlock", "0x9750a5b9"),
                ("getOperatorWeightAtBlock", "0x955f2d90"),
                ("getLastCheckpointTotalWeightAtBlock", "0x0dba3394"),
                ("getLastCheckpointThresholdWeightAtBlock", "0x1e4cd85e"),
                ("getOperatorSigningKeyAtBlock", "0x5e1042e8"),
            ],
        );
        for handler in ["ServiceHandler", "RevertingHandler"] {
            functions(
                handler,
                &[
                    ("handleSignedEnvelope", "0xf969ff33"),
                    ("getServiceManager", "0x4dda0b43"),
                ],
            );
        }
        functions("SimpleTrigger", &[("getTrigger", "0xe328ed77")]);
    }

    #[test]
    fn errors_have_the_selectors_that_nodes_decode() {
        let abi = abi("WavsServiceManager");
        for (error, selector) in [
            ("InsufficientQuorum", "0x86b16091"),
            ("InsufficientSignedStake", "0xe121632f"),
            ("InsufficientQuorumZero", "0x2f41f79b"),
            ("SignerNotRegistered", "0x3dda1739"),
            ("InvalidSignature", "0x8baa579f"),
            ("NotSorted", "0xba50f911"),
            ("InvalidSignatureLength", "0x4be6321b"),
            ("InvalidSignatureBlock", "0x898deb1d"),
            ("InvalidReferenceBlock", "0xe64f180f"),
            ("InvalidSignedWeight", "0x960b41ee"),
            ("InvalidQuorumParameters", "0xcc0d6871"),
        ] {
            let found = &abi.errors.get(error).unwrap_or_else(|| panic!("no {error}"))[0];
            assert_eq!(found.selector().to_string(), selector, "{error}");
        }
    }

    #[test]
    fn events_have_the_topics_that_nodes_watch() {
        for (contract, event, topic) in [
            (
                "WavsServiceManager",
                "ServiceURIUpdated",
                "0xd2f056df94c31bdb3b4e16080f2ac6dbd4233c6001058d94afc3ad1242dff488",
            ),
            (
                "WavsServiceManager",
                "QuorumThresholdUpdated",
                "0xc33728fb6bc64ec1c5596c946e1406ccdfb7369404098c1d6a5f4a7a29c97b63",
            ),
            (
                "WavsServiceManager",
                "SigningKeyUpdate",
                "0xd061168252f441733658f09e4d8f5b2d998ed4ef24a2bbfd6ceca52ea1315002",
            ),
            (
                "WavsServiceManager",
                "OperatorWeightUpdated",
                "0x88770dc862e47a7ed586907857eb1b75e4c5ffc8b707c7ee10eb74d6885fe594",
            ),
            (
                "WavsServiceManager",
                "TotalWeightUpdated",
                "0x86dcf86b12dfeedea74ae9300dbdaa193bcce5809369c8177ea2f4eaaa65729b",
            ),
            (
                "WavsServiceManager",
                "ThresholdWeightUpdated",
                "0x9324f7e5a7c0288808a634ccde44b8e979676474b22e29ee9dd569b55e791a4b",
            ),
            (
                "SimpleTrigger",
                "NewTrigger",
                "0x86eacd23610d81706516de1ed0476c87772fdf939c7c771fbbd7f0230d619e68",
            ),
        ] {
            let abi = abi(contract);
            let found = &abi
                .events
                .get(event)
                .unwrap_or_else(|| panic!("{contract} has no {event}"))[0];
            assert_eq!(found.selector().to_string(), topic, "{event}");
        }
    }
}
