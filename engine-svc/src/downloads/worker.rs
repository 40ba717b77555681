//! The download worker: one package of a registry, written to standard output, and the end of the process.
//!
//! The library finds out where the registry keeps its packages, asks for tokens, and follows redirects, all on its own. This
//! process lets it: it can reach nothing but the proxy of the download host. What goes wrong is said on standard error.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use futures::TryStreamExt;
use nix::sys::resource::Resource;
use wasm_pkg_client::oci::OciRegistryConfig;
use wasm_pkg_client::oci::client::ClientProtocol;
use wasm_pkg_client::{Client, Config, Error, PackageRef, Registry, Release, Version};
use wavs_service::sandbox::Profile;

use crate::helper::Confinement;

/// Longest life of a worker, whatever is configured; the host ends it sooner.
const TIME: Duration = Duration::from_secs(3_600);
/// Processor seconds of one download.
const CPU_SECONDS: u64 = 120;
/// Memory of one worker: content passes through, and what registries say about themselves is small.
const MEMORY: u64 = 256 << 20;
/// Open files of one worker: its pipes, connections to the proxy, certificates.
const OPEN_FILES: u64 = 128;

/// Writes the content of `package` that has `digest` to stdout, through the proxy at `port`.
pub(crate) fn run(port: &str, registry: &str, package: &str, digest: &str) -> ExitCode {
    let done = port
        .parse()
        .map_err(|_| "the port of the proxy is no number".to_owned())
        .and_then(|port| confine(port).map_err(words))
        .and_then(|()| download(registry, package, digest));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("{cause}");
            ExitCode::FAILURE
        }
    }
}

fn confine(proxy: u16) -> io::Result<()> {
    let confinement = Confinement {
        time: TIME,
        limits: &[
            (Resource::RLIMIT_DATA, MEMORY),
            (Resource::RLIMIT_CPU, CPU_SECONDS),
            (Resource::RLIMIT_NOFILE, OPEN_FILES),
        ],
        profile: Profile::proxy(proxy),
    };
    confinement.enter()
}

fn download(registry: &str, package: &str, digest: &str) -> Result<(), String> {
    let registry: Registry = registry.parse().map_err(words)?;
    let package: PackageRef = package.parse().map_err(words)?;
    let release = Release {
        // Content is addressed by its digest; the version is not looked at.
        version: Version::new(0, 0, 0),
        content_digest: format!("sha256:{digest}").parse().map_err(words)?,
    };
    let client = Client::new(config(registry).map_err(words)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(words)?;
    runtime.block_on(async {
        let mut content = client.stream_content(&package, &release).await.map_err(hint)?;
        // Nothing else happens in this process, so it may wait for the pipe.
        let mut out = io::stdout().lock();
        while let Some(chunk) = content.try_next().await.map_err(hint)? {
            out.write_all(&chunk).map_err(words)?;
        }
        out.flush().map_err(words)
    })
}

fn config(registry: Registry) -> Result<Config, Error> {
    let mut config = Config::empty();
    // Plain HTTP is used for this machine alone; for other hosts the proxy refuses it.
    if matches!(registry.host(), "localhost" | "127.0.0.1") {
        let mut plain = OciRegistryConfig::default();
        plain.client_config.protocol = ClientProtocol::Http;
        config
            .get_or_insert_registry_config_mut(&registry)
            .set_backend_config("oci", plain)?;
    }
    config.set_default_registry(Some(registry));
    Ok(config)
}

/// The text of an error of the library, with what to do about it.
fn hint(cause: Error) -> String {
    match cause {
        // The one reason for this with a configuration that is made here.
        Error::InvalidConfig(cause) => format!(
            "the registry offers a protocol that this node does not speak ({cause:#}); use a registry with OCI, or a download source"
        ),
        cause => format!("{cause:#}"),
    }
}

fn words<E: Display>(cause: E) -> String {
    format!("{cause:#}")
}

#[cfg(test)]
mod tests {
    use wasm_pkg_client::{CustomConfig, RegistryMapping};

    use super::*;

    #[tokio::test]
    async fn a_registry_of_another_protocol_is_told_from_one_that_fails() {
        let registry: Registry = "registry.example".parse().unwrap();
        let package: PackageRef = "wavs:echo".parse().unwrap();
        let mut config = config(registry.clone()).unwrap();
        let metadata = serde_json::json!({"preferredProtocol": "warg", "warg": {"url": "https://warg.example"}});
        let described = CustomConfig {
            registry,
            metadata: serde_json::from_value(metadata).unwrap(),
        };
        config.set_namespace_registry(package.namespace().clone(), RegistryMapping::Custom(described));
        let found = Client::new(config).list_all_versions(&package).await;
        let text = hint(found.err().unwrap());
        assert!(
            text.contains("warg") && text.contains("use a registry with OCI"),
            "{text}"
        );
    }
}
