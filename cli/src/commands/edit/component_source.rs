//! `… component set-source-…`: where the wasm file comes from. Changing the source keeps all terms of the component.

use std::path::Path;

use clap::Subcommand;
use serde::Serialize;
use wavs_types::{ComponentDigest, ComponentSource, JsonTree, Permissions};

use super::component::Context;
use crate::download;
use crate::failure::Failure;
use crate::service_file::{get, object, set, tree_of};
use crate::session::Session;

/// The kinds of sources.
#[derive(Debug, Subcommand)]
#[expect(clippy::enum_variant_names, reason = "the variants are the names of commands")]
pub(super) enum SourceArgs {
    /// Any http, https or ipfs address; the file is downloaded to learn its digest
    SetSourceUri {
        /// The address
        #[arg(long)]
        uri: String,
        /// The digest, if you know it: nothing is downloaded then
        #[arg(long)]
        digest: Option<ComponentDigest>,
    },
    /// The node's own store, see upload-component
    SetSourceDigest {
        /// SHA-256 of the wasm file
        #[arg(long)]
        digest: ComponentDigest,
    },
    /// A package of a wasm registry
    SetSourceRegistry {
        /// namespace:name
        #[arg(long)]
        package: String,
        /// Registry host, such as wa.dev
        #[arg(long)]
        domain: Option<String>,
        /// Semantic version
        #[arg(long)]
        version: Option<String>,
        /// SHA-256 of the wasm file in the package
        #[arg(long)]
        digest: Option<ComponentDigest>,
    },
}

/// The results: one tag each.
#[derive(Serialize)]
#[expect(clippy::enum_variant_names, reason = "the variants are the tags of the results")]
pub(super) enum SourceResult<'a> {
    SourceUrl {
        context: Context,
        uri: String,
        digest: ComponentDigest,
        file_path: &'a Path,
    },
    SourceDigest {
        context: Context,
        digest: ComponentDigest,
        file_path: &'a Path,
    },
    SourceRegistry {
        context: Context,
        domain: Option<String>,
        package: String,
        digest: ComponentDigest,
        version: Option<String>,
        file_path: &'a Path,
    },
}

impl SourceArgs {
    /// Sets the source of the component in `slot`, which becomes a component if it was none.
    pub(super) async fn apply<'a>(
        self,
        slot: &mut JsonTree,
        context: Context,
        file_path: &'a Path,
        session: &Session<'_>,
    ) -> Result<(SourceResult<'a>, String), Failure> {
        let (source, result) = match self {
            Self::SetSourceUri { uri, digest } => {
                let digest = match digest {
                    Some(digest) => digest,
                    None => ComponentDigest::of(&download::component(&uri, &session.config).await?),
                };
                let source = ComponentSource::Download {
                    uri: uri.clone(),
                    digest,
                };
                (
                    source,
                    SourceResult::SourceUrl {
                        context,
                        uri,
                        digest,
                        file_path,
                    },
                )
            }
            Self::SetSourceDigest { digest } => (
                ComponentSource::Digest(digest),
                SourceResult::SourceDigest {
                    context,
                    digest,
                    file_path,
                },
            ),
            Self::SetSourceRegistry {
                package,
                domain,
                version,
                digest,
            } => {
                let digest = digest.ok_or_else(|| {
                    let detail =
                        "this version cannot ask registries for the digest of a package; name it with --digest";
                    Failure::usage(detail)
                })?;
                let source = ComponentSource::Registry {
                    digest,
                    domain: domain.clone(),
                    version: version.clone(),
                    package: package.clone(),
                };
                (
                    source,
                    SourceResult::SourceRegistry {
                        context,
                        domain,
                        package,
                        digest,
                        version,
                        file_path,
                    },
                )
            }
        };
        let done = format!("digest {}", source.digest());
        place(slot, &source)?;
        Ok((result, done))
    }
}

fn place(slot: &mut JsonTree, source: &ComponentSource) -> Result<(), Failure> {
    if get(slot, "source").is_some() {
        set(slot, "source", tree_of(source)?);
        return Ok(());
    }
    let mut component = object();
    let parts = [
        ("source", tree_of(source)?),
        ("permissions", tree_of(&Permissions::default())?),
        ("fuel_limit", JsonTree::Null),
        ("time_limit_seconds", JsonTree::Null),
        ("config", object()),
        ("env_keys", JsonTree::Array(Vec::new())),
    ];
    for (name, part) in parts {
        set(&mut component, name, part);
    }
    *slot = component;
    Ok(())
}
