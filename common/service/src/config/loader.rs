//! From files, environment and flags to a validated configuration.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::audience::Audience;
use super::error::ConfigError;
use super::fingerprints::Fingerprints;
use super::flags::Flags;
use super::layer::{Layer, Origin};
use super::node::NodeConfig;
use super::redacted::RedactedConfig;
use super::sources::Sources;
use super::values::{Merged, Values};
use super::{alias, dormant, dotenv, environment, file, keys, nearest};

/// Loads the configuration. It reads files but changes nothing, neither on disk nor in the environment.
pub struct Loader {
    flags: Flags,
    sources: Sources,
    audience: Audience,
}

/// A validated configuration and how it came about.
#[derive(Clone)]
pub struct Loaded {
    /// The configuration.
    pub node: NodeConfig,
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// Where a file was looked for.
    pub searched: Vec<PathBuf>,
    /// What is probably a mistake: unknown keys, old names, weak file modes.
    pub warnings: Vec<String>,
    /// Keys of the file that environment or flags override.
    pub overrides: Vec<String>,
    /// The effective values for people, without secrets.
    pub redacted: RedactedConfig,
    /// What tells this load from another one.
    pub fingerprints: Fingerprints,
}

impl Loader {
    /// A loader for this process.
    #[must_use]
    pub fn from_process(flags: Flags) -> Self {
        Self::new(flags, Sources::of_process())
    }

    /// A loader for given surroundings.
    #[must_use]
    pub fn new(flags: Flags, sources: Sources) -> Self {
        Self {
            flags,
            sources,
            audience: Audience::Node,
        }
    }

    /// Looks up only the secrets of `audience`; all other values are the same for everybody.
    #[must_use]
    pub fn only_for(mut self, audience: Audience) -> Self {
        self.audience = audience;
        self
    }

    /// Loads and validates. Without a file the built-in values apply.
    ///
    /// # Errors
    /// When a file cannot be read or parsed, a value does not fit its key, or strict mode finds anything to warn about.
    pub fn load(mut self) -> Result<Loaded, ConfigError> {
        let mut warnings = Vec::new();
        dotenv::read(self.flags.dotenv.as_deref(), &mut self.sources, &mut warnings)?;
        let searched = self.sources.file_candidates(self.flags.home.as_deref());
        let path = searched.iter().find(|path| path.is_file()).cloned();
        let mut file = path.as_deref().map(read).transpose()?.unwrap_or_default();
        warnings.append(&mut file.warnings);

        let mut old = Layer::default();
        let mut from_file = Layer::default();
        for mut layer in [file.shared, file.node] {
            alias::shorten_processes(&mut layer);
            old.overlay(alias::split(&mut layer, &mut warnings));
            from_file.overlay(check(layer, &mut warnings)?);
        }
        old.overlay(alias::legacy_aggregator(file.legacy_aggregator, &mut warnings));
        let mut merged = from_file.clone();
        for mut layer in [
            environment::read(&self.sources.variables, &mut warnings)?,
            self.flags.layer()?,
        ] {
            old.overlay(alias::split(&mut layer, &mut warnings));
            merged.overlay(layer);
        }
        let overrides = overrides(&from_file, &merged);
        for (key, entry) in check(old, &mut warnings)?.entries {
            merged.entries.entry(key).or_insert(entry);
        }
        if let Some(path) = &path {
            warn_about_plain_secrets(path, &from_file, self.audience, &mut warnings);
        }
        let level = vec!["log_level".to_owned()];
        if let (false, Some(filter)) = (merged.entries.contains_key(&level), self.sources.variable("RUST_LOG")) {
            let value = super::kind::Kind::List.parse(filter).unwrap_or_default();
            merged.entries.insert(
                level,
                super::layer::Entry {
                    value,
                    origin: Origin::Environment("RUST_LOG".to_owned()),
                },
            );
        }
        if !self.flags.strict {
            // Not a mistake of the operator, so strict mode has nothing to object to.
            dormant::warn(&merged, &mut warnings);
        }
        self.finish(merged, warnings, path, searched, overrides)
    }

    fn finish(
        self,
        layer: Layer,
        warnings: Vec<String>,
        file: Option<PathBuf>,
        searched: Vec<PathBuf>,
        overrides: Vec<String>,
    ) -> Result<Loaded, ConfigError> {
        let mut merged = Merged {
            layer,
            sources: self.sources,
            audience: self.audience,
            data_dir: PathBuf::new(),
            warnings: RefCell::new(warnings),
        };
        let data_dir = Values::new(&merged).optional_path("data")?;
        merged.data_dir = data_dir.unwrap_or_else(|| merged.sources.default_data_dir());
        let node = NodeConfig::read(&Values::new(&merged))?;
        let redacted = RedactedConfig::new(&merged.layer, &node);
        let fingerprints = Fingerprints::of(&merged.layer);
        let warnings = merged.warnings.into_inner();
        match warnings.first() {
            Some(first) if self.flags.strict => Err(ConfigError::Strict(first.clone())),
            _ => Ok(Loaded {
                node,
                file,
                searched,
                warnings,
                overrides,
                redacted,
                fingerprints,
            }),
        }
    }
}

impl Loaded {
    /// Writes to the log how the configuration came about.
    pub fn log(&self) {
        match &self.file {
            Some(file) => tracing::info!(file = %file.display(), "configuration loaded"),
            None => {
                let searched = self
                    .searched
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", ");
                tracing::info!(searched, "no wavs.toml found; the built-in configuration applies");
            }
        }
        for line in &self.overrides {
            tracing::info!("{line}");
        }
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
    }
}

fn read(path: &Path) -> Result<file::File, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    file::parse(path, &text)
}

/// Checks the values of a file against their keys. Unknown keys become warnings and go.
fn check(layer: Layer, warnings: &mut Vec<String>) -> Result<Layer, ConfigError> {
    let mut checked = Layer::default();
    for (path, mut entry) in layer.entries {
        let Some(key) = keys::find(&path) else {
            let name = path.join(".");
            warnings.push(format!("unknown key {name} ({}){}", entry.origin, nearest::hint(&name)));
            continue;
        };
        entry.value = key.kind.check(entry.value).map_err(|detail| ConfigError::Value {
            key: path.join("."),
            origin: entry.origin.clone(),
            detail,
        })?;
        checked.set(path, entry);
    }
    Ok(checked)
}

fn overrides(from_file: &Layer, merged: &Layer) -> Vec<String> {
    let replaced = merged.entries.iter().filter(|(path, entry)| {
        from_file
            .entries
            .get(*path)
            .is_some_and(|old| old.origin != entry.origin)
    });
    replaced
        .map(|(path, entry)| format!("{} from the {} overrides the file", path.join("."), entry.origin))
        .collect()
}

/// A secret that stands in the file itself is seen by everybody who reads the file.
fn warn_about_plain_secrets(path: &Path, layer: &Layer, audience: Audience, warnings: &mut Vec<String>) {
    use std::os::unix::fs::PermissionsExt as _;
    let plain = |text: &str| {
        !["file:", "env:", "credential:", "keystore:"]
            .iter()
            .any(|form| text.starts_with(form))
            && !text.is_empty()
    };
    let secret = layer.entries.iter().find(|(path, entry)| {
        keys::find(path).is_some_and(|key| key.kind.is_secret()) && entry.value.as_str().is_some_and(plain)
    });
    let Some((key, _)) = secret else { return };
    if path
        .metadata()
        .is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
    {
        warnings.push(format!(
            "{} holds secrets and can be read by everybody on this machine; run chmod 600 on it",
            path.display()
        ));
    }
    if matches!(audience, Audience::Api | Audience::Process(_)) {
        warnings.push(format!(
            "{} holds the secret {key} itself, and every process of the node reads this file; move it to a credential",
            path.display(),
            key = key.join(".")
        ));
    }
}
