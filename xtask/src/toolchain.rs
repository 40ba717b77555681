//! Finds a Rust compiler for wasm32. Installs nothing: a build task that changes the machine surprises.

use std::path::Path;
use std::process::Command;

use anyhow::bail;

/// The target of all guests. It has no system interface of its own, so a component imports only what its
/// source names.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// A way to build for [`TARGET`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The toolchain in use, with the target installed through rustup.
    Rustup,
    /// Debian's packages `rustc-web`, `cargo-web`, `rust-web-src` and `lld`, whose standard library is built on the spot.
    Debian {
        /// Name of the linker, such as `wasm-ld-19`.
        linker: String,
    },
}

impl Toolchain {
    /// The first toolchain that this machine has.
    pub(crate) fn find() -> anyhow::Result<Self> {
        if has_rustup_target() {
            return Ok(Self::Rustup);
        }
        let sources = Path::new("/usr/bin/rustc").exists()
            && Path::new("/usr/bin/cargo").exists()
            && Path::new("/usr/lib/rustlib/src/rust/library").exists();
        if let (true, Some(linker)) = (sources, debian_linker()) {
            return Ok(Self::Debian { linker });
        }
        bail!(
            "no Rust toolchain for {TARGET} on this machine; install one with `rustup target add {TARGET}`, \
             or on Debian with `apt-get install rustc-web cargo-web rust-web-src lld-19`"
        )
    }

    /// A `cargo build` for the target; the caller adds the directory and flags.
    pub(crate) fn build(&self) -> Command {
        let mut command = match self {
            Self::Rustup => Command::new("cargo"),
            Self::Debian { linker } => {
                let mut command = Command::new("/usr/bin/cargo");
                // The standard library for the target is only built with unstable flags.
                command.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", "/usr/bin/rustc");
                command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
                command
            }
        };
        command.args(["build", "--release", "--locked", "--target", TARGET]);
        if matches!(self, Self::Debian { .. }) {
            command.arg("-Zbuild-std=std,panic_abort");
        }
        // Set by the cargo that runs this program, for its own toolchain.
        command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        command
    }
}

fn has_rustup_target() -> bool {
    let listed = Command::new("rustup").args(["target", "list", "--installed"]).output();
    listed.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .any(|line| line.trim() == TARGET)
    })
}

/// The newest `wasm-ld-<version>`, or a `wasm-ld` without one.
fn debian_linker() -> Option<String> {
    let entries = std::fs::read_dir("/usr/bin").ok()?;
    newest_linker(
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok()),
    )
}

fn newest_linker(names: impl Iterator<Item = String>) -> Option<String> {
    names
        .filter_map(|name| match name.strip_prefix("wasm-ld")? {
            "" => Some((0, name)),
            version => Some((version.strip_prefix('-')?.parse::<u32>().ok()?, name)),
        })
        .max()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::newest_linker;

    #[test]
    fn the_newest_linker_wins() {
        let pick = |names: &[&str]| newest_linker(names.iter().map(|name| (*name).to_owned()));
        assert_eq!(
            pick(&["wasm-ld-9", "ld", "wasm-ld-19", "wasm-ld"]).as_deref(),
            Some("wasm-ld-19")
        );
        assert_eq!(pick(&["wasm-ld"]).as_deref(), Some("wasm-ld"));
        assert_eq!(pick(&["wasm-ld-x", "lld-19", "wasm-ldd"]), None);
    }
}
