//! Builds the example components and checks the committed ones.
//!
//! The sources compile to core modules with interface types in custom sections; `wit-component` turns each into a
//! component. The results are committed with their digests, so nobody needs a WASM toolchain to run the tests.
//! This does not prove that a file came from its source: compilers differ, and so do their outputs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use wit_component::ComponentEncoder;

use crate::digests;
use crate::toolchain::{TARGET, Toolchain};

/// Build the components, or compare the committed ones with their digests.
#[derive(Debug, clap::Args)]
pub(crate) struct Guests {
    /// Only compare the committed files with the recorded digests.
    #[arg(long)]
    pub(crate) check: bool,
}

/// Crates that become components. The other members of that workspace are libraries.
const COMPONENTS: [&str; 8] = [
    "aggregator",
    "echo",
    "hostile",
    "http-get",
    "kv",
    "square",
    "timer-aggregator",
    "wrong-world",
];

impl Guests {
    pub(crate) fn run(&self, root: &Path) -> anyhow::Result<String> {
        let sources = root.join("examples/components");
        let prebuilt = sources.join("prebuilt");
        if self.check {
            let count = digests::verify(&prebuilt, "wasm")?;
            ensure!(
                count == COMPONENTS.len(),
                "expected {} components, found {count}",
                COMPONENTS.len()
            );
            return Ok(format!(
                "{count} components match {}",
                prebuilt.join(digests::FILE).display()
            ));
        }
        let target = target_dir(root).join("guests");
        build(&sources, &target)?;
        fs::create_dir_all(&prebuilt).with_context(|| format!("cannot create {}", prebuilt.display()))?;
        for name in COMPONENTS {
            let module = target
                .join(TARGET)
                .join("release")
                .join(format!("{}.wasm", name.replace('-', "_")));
            let component = componentize(&module)?;
            let file = prebuilt.join(format!("{name}.wasm"));
            fs::write(&file, component).with_context(|| format!("cannot write {}", file.display()))?;
        }
        digests::record(&prebuilt, "wasm")?;
        Ok(format!(
            "{} components written to {}",
            COMPONENTS.len(),
            prebuilt.display()
        ))
    }
}

fn build(sources: &Path, target: &Path) -> anyhow::Result<()> {
    let toolchain = Toolchain::find()?;
    let mut command = toolchain.build();
    command
        .current_dir(sources)
        .env("CARGO_TARGET_DIR", target)
        .env("RUSTFLAGS", remap_paths(sources));
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(
        status.success(),
        "the components do not compile with {toolchain:?}: see the output above"
    );
    Ok(())
}

/// Flags that keep directories of this machine out of the files.
fn remap_paths(sources: &Path) -> String {
    let mut flags = format!("--remap-path-prefix={}=components", sources.display());
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    if let Some(home) = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"))) {
        flags.push_str(&format!(" --remap-path-prefix={}=cargo", home.display()));
    }
    flags
}

fn componentize(module: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    ComponentEncoder::default()
        .module(&bytes)
        .and_then(|encoder| encoder.validate(true).encode())
        .with_context(|| format!("cannot make a component of {}", module.display()))
}

/// Where cargo writes, which the environment may move.
pub(crate) fn target_dir(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_components_match_their_digests() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        Guests { check: true }.run(&root).unwrap();
    }
}
