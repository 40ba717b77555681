//! Programs that tests and the demo need: where they are, and how they are installed when they are missing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};

/// Version of anvil that is installed when the PATH has none.
const ANVIL_VERSION: &str = "1.7.1";

/// The directory of build results that the running program lies in: `<target>/<profile>/[deps/]program`.
///
/// # Errors
/// When the program was moved out of it.
pub fn profile_dir() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot tell where this program lies")?;
    let mut dir = program.parent().context("this program lies in no directory")?;
    if matches!(
        dir.file_name().and_then(|name| name.to_str()),
        Some("deps" | "examples")
    ) {
        dir = dir.parent().context("this program lies in no build directory")?;
    }
    Ok(dir.to_owned())
}

/// The root of the repository that cargo runs this program for. Checkouts may share a target directory, so the place
/// where the program was compiled counts only when it runs without cargo.
#[must_use]
pub fn repository() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let root = package
            .as_deref()
            .and_then(|dir| dir.ancestors().find(|dir| dir.join("Cargo.lock").is_file()));
        root.map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."),
            Path::to_path_buf,
        )
    })
}

/// A binary of this workspace.
///
/// # Errors
/// When it is not built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path = profile_dir()?.join(name);
    if !path.is_file() {
        bail!(
            "{} is not built; run `cargo xtask test` or `cargo build --workspace` first",
            path.display()
        );
    }
    Ok(path)
}

/// A file under `examples/`.
#[must_use]
pub fn example(path: &str) -> PathBuf {
    repository().join("examples").join(path)
}

/// The anvil to run: the one in `$ANVIL` or the PATH, else the one that npm installs into the target directory, which takes a
/// few seconds the first time.
///
/// # Errors
/// When it is neither there nor can be installed; the text says what to do.
pub fn anvil() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("ANVIL") {
        return Ok(path.into());
    }
    if let Some(path) = find_in_path("anvil") {
        return Ok(path);
    }
    npm_binary("@foundry-rs/anvil", ANVIL_VERSION, "anvil").context(
        "anvil is not in the PATH and npm could not install it; install Foundry (https://getfoundry.sh) or Node.js with npm",
    )
}

fn find_in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
}

/// A binary out of the platform package of an npm package that follows the `<name>-<os>-<arch>` convention.
fn npm_binary(package: &str, version: &str, binary: &str) -> Result<PathBuf> {
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        os => os,
    };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        arch => arch,
    };
    let package = format!("{package}-{os}-{arch}");
    let tools = profile_dir()?
        .parent()
        .context("the build directory has no parent")?
        .join("tools");
    let path = tools.join("node_modules").join(&package).join("bin").join(binary);
    if path.is_file() {
        return Ok(path);
    }
    std::fs::create_dir_all(&tools).with_context(|| format!("cannot create {}", tools.display()))?;
    // Tests run in parallel: one of them installs, the others wait for the lock.
    let lock = std::fs::File::create(tools.join(".lock")).context("cannot create the lock of the tools directory")?;
    lock.lock().context("cannot lock the tools directory")?;
    if path.is_file() {
        return Ok(path);
    }
    let status = Command::new("npm")
        .args([
            "install",
            "--no-audit",
            "--no-fund",
            "--no-save",
            "--loglevel=error",
            "--prefix",
        ])
        .arg(&tools)
        .arg(format!("{package}@{version}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("cannot run npm")?;
    if !status.success() || !path.is_file() {
        bail!("`npm install {package}@{version}` failed with {status}");
    }
    Ok(path)
}
