//! Typed access to the merged values: what is set, else what is built in.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::audience::{AGGREGATOR, Audience};
use super::credential;
use super::error::ConfigError;
use super::keys;
use super::layer::{Entry, Layer, Origin};
use super::sources::Sources;
use crate::secret::Secret;

/// The merged configuration with everything that reading it needs.
pub(crate) struct Merged {
    pub(crate) layer: Layer,
    pub(crate) sources: Sources,
    pub(crate) audience: Audience,
    pub(crate) data_dir: PathBuf,
    pub(crate) warnings: RefCell<Vec<String>>,
}

/// A view of one section; all paths are relative to it.
pub(crate) struct Values<'a> {
    merged: &'a Merged,
    prefix: Vec<String>,
}

impl<'a> Values<'a> {
    /// The root section.
    pub(crate) fn new(merged: &'a Merged) -> Self {
        Self {
            merged,
            prefix: Vec::new(),
        }
    }

    /// A section beneath this one.
    pub(crate) fn section(&self, path: &[&str]) -> Self {
        Self {
            merged: self.merged,
            prefix: self.full(path),
        }
    }

    /// The names directly beneath `path`.
    pub(crate) fn names(&self, path: &[&str]) -> Vec<&'a str> {
        let path = self.full(path);
        let beneath = self.merged.layer.entries.keys().filter(|key| key.starts_with(&path));
        beneath
            .filter_map(|key| key.get(path.len()))
            .map(String::as_str)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    /// The leaves directly beneath `path`.
    pub(crate) fn leaves(&self, path: &[&str]) -> Vec<(&'a str, &'a Entry)> {
        let path = self.full(path);
        let beneath = self
            .merged
            .layer
            .entries
            .iter()
            .filter(|(key, _)| key.starts_with(&path) && key.len() == path.len() + 1);
        beneath
            .filter_map(|(key, entry)| Some((key.last()?.as_str(), entry)))
            .collect()
    }

    pub(crate) fn data_dir(&self) -> &'a Path {
        &self.merged.data_dir
    }

    pub(crate) fn warn(&self, warning: String) {
        self.merged.warnings.borrow_mut().push(warning);
    }

    /// An error about the value at `path`.
    pub(crate) fn wrong(&self, path: &[&str], detail: &str) -> ConfigError {
        let full = self.full(path);
        let entries = &self.merged.layer.entries;
        let origin = entries.get(&full).or_else(|| {
            entries
                .iter()
                .find(|(key, _)| key.starts_with(&full))
                .map(|(_, entry)| entry)
        });
        let origin = origin.map_or(Origin::BuiltIn, |entry| entry.origin.clone());
        ConfigError::Value {
            key: full.join("."),
            origin,
            detail: detail.to_owned(),
        }
    }

    pub(crate) fn optional_text(&self, key: &str) -> Result<Option<String>, ConfigError> {
        self.typed(key)
    }

    pub(crate) fn text(&self, key: &str) -> Result<String, ConfigError> {
        self.required(key, self.typed(key)?)
    }

    pub(crate) fn optional_number(&self, key: &str) -> Result<Option<u64>, ConfigError> {
        self.typed(key)
    }

    pub(crate) fn number(&self, key: &str) -> Result<u64, ConfigError> {
        self.required(key, self.typed(key)?)
    }

    /// A number that the table of keys bounds to 32 bits.
    pub(crate) fn small(&self, key: &str) -> Result<u32, ConfigError> {
        self.required(key, self.typed(key)?)
    }

    pub(crate) fn optional_size(&self, key: &str) -> Result<Option<usize>, ConfigError> {
        self.typed(key)
    }

    pub(crate) fn size(&self, key: &str) -> Result<usize, ConfigError> {
        self.required(key, self.typed(key)?)
    }

    pub(crate) fn optional_float(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        self.typed(key)
    }

    pub(crate) fn float(&self, key: &str) -> Result<f64, ConfigError> {
        self.required(key, self.typed(key)?)
    }

    pub(crate) fn optional_flag(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        self.typed(key)
    }

    pub(crate) fn flag(&self, key: &str) -> Result<bool, ConfigError> {
        self.required(key, self.typed(key)?)
    }

    pub(crate) fn optional_list(&self, key: &str) -> Result<Option<Vec<String>>, ConfigError> {
        self.typed(key)
    }

    pub(crate) fn list(&self, key: &str) -> Result<Vec<String>, ConfigError> {
        Ok(self.optional_list(key)?.unwrap_or_default())
    }

    pub(crate) fn tables(&self, key: &str) -> Result<Vec<Map<String, Value>>, ConfigError> {
        Ok(self.typed(key)?.unwrap_or_default())
    }

    /// A choice as its enum, whose variants are named like the choices.
    pub(crate) fn choice<T: DeserializeOwned>(&self, key: &str) -> Result<T, ConfigError> {
        self.required(key, self.typed(key)?)
    }

    pub(crate) fn optional_choice<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, ConfigError> {
        self.typed(key)
    }

    pub(crate) fn optional_seconds(&self, key: &str) -> Result<Option<Duration>, ConfigError> {
        Ok(self.optional_number(key)?.map(Duration::from_secs))
    }

    pub(crate) fn seconds(&self, key: &str) -> Result<Duration, ConfigError> {
        Ok(Duration::from_secs(self.number(key)?))
    }

    pub(crate) fn days(&self, key: &str) -> Result<Duration, ConfigError> {
        Ok(Duration::from_secs(self.number(key)?.saturating_mul(86_400)))
    }

    pub(crate) fn mebibytes(&self, key: &str) -> Result<u64, ConfigError> {
        Ok(self.number(key)?.saturating_mul(1024 * 1024))
    }

    pub(crate) fn optional_path(&self, key: &str) -> Result<Option<PathBuf>, ConfigError> {
        let Some(text) = self.optional_text(key)? else {
            return Ok(None);
        };
        Ok(Some(self.merged.sources.path(&text, &self.base(key))))
    }

    /// A credential of `owner`, from where its value says, or from the directory of systemd if it is not configured. Nothing when
    /// the configuration is loaded for somebody else: its place is then not even looked at.
    pub(crate) fn secret(&self, owner: Audience, key: &str) -> Result<Option<Secret>, ConfigError> {
        if !self.may_hold(owner) {
            return Ok(None);
        }
        let Some(text) = self.optional_text(key)?.filter(|text| !text.is_empty()) else {
            let implicit = credential::implicit(key, &self.merged.sources);
            return implicit.transpose().map_err(|detail| self.wrong(&[key], &detail));
        };
        if self.entry(key).is_some_and(|entry| entry.origin.is_command_line()) {
            self.warn(format!(
                "{} is on the command line, where process lists show it; use file: or env:",
                self.full(&[key]).join(".")
            ));
        }
        self.credential(&[key], &text).map(Some)
    }

    /// The credential that `text`, a part of the value at `path`, stands for.
    pub(crate) fn credential(&self, path: &[&str], text: &str) -> Result<Secret, ConfigError> {
        let base = self.base(&path.join("."));
        credential::resolve(
            text,
            &base,
            &self.merged.sources,
            &mut self.merged.warnings.borrow_mut(),
        )
        .map_err(|detail| self.wrong(path, &detail))
    }

    /// Whether secrets of `owner` are looked up.
    pub(crate) fn may_hold(&self, owner: Audience) -> bool {
        self.merged.audience.may_hold(owner)
    }

    /// Variables of the environment that components may be given; none outside of aggregator-svc, which hands them out.
    pub(crate) fn guest_environment(&self) -> BTreeMap<String, Secret> {
        if !self.may_hold(AGGREGATOR) {
            return BTreeMap::new();
        }
        let variables = self
            .merged
            .sources
            .variables
            .iter()
            .filter(|(name, _)| name.starts_with("WAVS_ENV"));
        variables
            .map(|(name, value)| (name.clone(), Secret::new(value.clone())))
            .collect()
    }

    pub(crate) fn p2p_enabled(&self) -> bool {
        !self.names(&["p2p"]).is_empty()
    }

    fn typed<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, ConfigError> {
        let value = match self.entry(key) {
            Some(entry) => entry.value.clone(),
            None => match self.built_in(key) {
                Some(value) => value?,
                None => return Ok(None),
            },
        };
        serde_json::from_value(value)
            .map(Some)
            .map_err(|_| self.wrong(&[key], "the value is out of range"))
    }

    fn built_in(&self, key: &str) -> Option<Result<Value, ConfigError>> {
        let known = keys::find(&self.full(&[key]))?;
        Some(
            known
                .kind
                .parse(known.default?)
                .map_err(|detail| self.wrong(&[key], &detail)),
        )
    }

    fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, ConfigError> {
        value.ok_or_else(|| self.wrong(&[key], "a value is required"))
    }

    fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.merged.layer.entries.get(&self.full(&[key]))
    }

    /// Where a relative path in the value of `key` starts.
    fn base(&self, key: &str) -> PathBuf {
        match self.entry(key).map(|entry| &entry.origin) {
            Some(Origin::File(path, _)) => path.parent().map(Path::to_owned).unwrap_or_default(),
            _ => self.merged.sources.current_dir.clone(),
        }
    }

    /// The full path. One name with dots is several segments; names that the user chose come one by one.
    fn full(&self, path: &[&str]) -> Vec<String> {
        let given = match path {
            [key] => key.split('.').map(str::to_owned).collect::<Vec<_>>(),
            names => names.iter().map(|name| (*name).to_owned()).collect(),
        };
        self.prefix.iter().cloned().chain(given).collect()
    }
}
