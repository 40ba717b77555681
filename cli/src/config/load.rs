//! From file, environment and flags to a validated configuration.

use std::path::PathBuf;

use serde_json::Value;
use url::Url;

use super::sources::{Entry, Layer, Origin, environment};
use super::{Config, ConfigError, Credential, Loaded, Surroundings, chains, dotenv, file};
use crate::arguments::Globals;

/// Keys of `[cli]`; `save_deployment`, `quiet_results` and `json` come from flags and variables only.
const FILE_KEYS: [&str; 9] = [
    "wavs_endpoint",
    "log_level",
    "data",
    "evm_credential",
    "cosmos_mnemonic",
    "ipfs_gateway",
    "token",
    "admin_socket",
    "chains",
];
const SWITCHES: [&str; 3] = ["save_deployment", "quiet_results", "json"];
/// An old name, and the key that it means now.
const ALIAS: (&str, &str) = ("cosmos_credential", "cosmos_mnemonic");

/// Loads the configuration. Without a file the built-in values apply. Nothing is changed, neither on disk nor in the environment.
///
/// # Errors
/// When a file cannot be read or parsed, or a value does not fit its key.
pub(crate) fn load(globals: &Globals, mut surroundings: Surroundings) -> Result<Loaded, ConfigError> {
    let mut warnings = Vec::new();
    dotenv::read(globals.dotenv.as_deref(), &mut surroundings, &mut warnings)?;
    let file = surroundings
        .file_candidates(globals.home.as_deref())
        .into_iter()
        .find(|path| path.is_file());
    let read = file.as_deref().map(file::read).transpose()?.unwrap_or_default();

    let mut layer = Layer::new();
    // The node's keys in the shared table are none of the tool's business.
    layer.extend(
        read.shared
            .into_iter()
            .filter(|(path, _)| FILE_KEYS.contains(&path[0].as_str())),
    );
    for (path, entry) in read.own {
        if FILE_KEYS.contains(&path[0].as_str()) {
            layer.insert(path, entry);
        } else {
            warnings.push(format!(
                "unknown key {} ({}); it is ignored",
                path.join("."),
                entry.origin
            ));
        }
    }
    let mut variables = environment(&surroundings);
    if let Some(entry) = variables.remove([ALIAS.0.to_owned()].as_slice()) {
        warnings.push(format!(
            "{} is an old name; use WAVS_CLI_{}",
            entry.origin,
            ALIAS.1.to_ascii_uppercase()
        ));
        variables.entry(vec![ALIAS.1.to_owned()]).or_insert(entry);
    }
    for (path, entry) in variables {
        if FILE_KEYS.contains(&path[0].as_str()) || SWITCHES.contains(&path[0].as_str()) {
            layer.insert(path, entry);
        } else {
            warnings.push(format!("unknown {}; it is ignored", entry.origin));
        }
    }
    for (key, flag, value) in globals.values() {
        layer.insert(
            vec![key.to_owned()],
            Entry {
                value: Value::from(value),
                origin: Origin::Flag(flag),
            },
        );
    }
    let config = Values {
        layer: &layer,
        surroundings: &surroundings,
    }
    .config()?;
    for (key, flag) in [
        ("evm_credential", "--evm-credential"),
        ("cosmos_mnemonic", "--cosmos-mnemonic"),
        ("token", "--token"),
    ] {
        let entry = layer.get([key.to_owned()].as_slice());
        if entry.is_some_and(|entry| entry.origin == Origin::Flag(flag) && entry.value.as_str().is_some_and(is_plain)) {
            warnings.push(format!(
                "{flag} shows the secret in the process list; use file: or env: there, or WAVS_CLI_{}",
                key.to_ascii_uppercase()
            ));
        }
    }
    Ok(Loaded { config, file, warnings })
}

fn is_plain(text: &str) -> bool {
    !["file:", "env:", "credential:", "keystore:"]
        .iter()
        .any(|form| text.starts_with(form))
}

struct Values<'a> {
    layer: &'a Layer,
    surroundings: &'a Surroundings,
}

impl Values<'_> {
    fn config(&self) -> Result<Config, ConfigError> {
        let data = self.path("data")?.unwrap_or_else(|| self.surroundings.default_data());
        let token_file = Some(data.join("token")).filter(|path| path.is_file());
        Ok(Config {
            wavs_endpoint: self.endpoint()?,
            log_level: self.list("log_level")?.unwrap_or_else(|| vec!["info".to_owned()]),
            chains: chains::read(self.layer)?,
            evm_credential: self.credential("evm_credential")?,
            cosmos_mnemonic: self.credential("cosmos_mnemonic")?,
            token: self
                .credential("token")?
                .or_else(|| Some(Credential::in_file("token", token_file?))),
            admin_socket: self.path("admin_socket")?,
            ipfs_gateway: self.text("ipfs_gateway")?.unwrap_or("https://ipfs.io/ipfs/").to_owned(),
            save_deployment: self.switch("save_deployment", true)?,
            quiet_results: self.switch("quiet_results", false)?,
            json: self.switch("json", false)?,
            data,
        })
    }

    fn endpoint(&self) -> Result<Url, ConfigError> {
        let key = "wavs_endpoint";
        let text = self.text(key)?.unwrap_or("http://127.0.0.1:8000");
        let url = Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        url.ok_or_else(|| self.wrong(key, "expected an http or https URL such as http://127.0.0.1:8000"))
    }

    fn text(&self, key: &str) -> Result<Option<&str>, ConfigError> {
        match self.entry(key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "expected a text")),
        }
    }

    fn path(&self, key: &str) -> Result<Option<PathBuf>, ConfigError> {
        let base = self
            .entry(key)
            .map(|entry| entry.origin.base(&self.surroundings.current_dir));
        Ok(self
            .text(key)?
            .zip(base)
            .map(|(text, base)| self.surroundings.path(text, base)))
    }

    fn list(&self, key: &str) -> Result<Option<Vec<String>>, ConfigError> {
        match self.entry(key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(split(text))),
            Some(Value::Array(items)) => {
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
                texts
                    .collect::<Option<_>>()
                    .map(Some)
                    .ok_or_else(|| self.wrong(key, "expected a list of texts"))
            }
            Some(_) => Err(self.wrong(key, "expected a list of texts")),
        }
    }

    fn switch(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        let text = self.text(key)?;
        text.map_or(Ok(default), |text| {
            text.parse().map_err(|_| self.wrong(key, "expected true or false"))
        })
    }

    fn credential(&self, key: &'static str) -> Result<Option<Credential>, ConfigError> {
        let Some(entry) = self.entry(key) else {
            return Ok(Credential::implicit(key, self.surroundings));
        };
        let base = entry.origin.base(&self.surroundings.current_dir);
        let text = self.text(key)?.unwrap_or_default();
        Ok((!text.is_empty()).then(|| Credential::parse(key, text, base, self.surroundings)))
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        self.layer.get([key.to_owned()].as_slice())
    }

    fn wrong(&self, key: &str, detail: &str) -> ConfigError {
        let origin = self
            .entry(key)
            .map_or_else(|| "built in".to_owned(), |entry| entry.origin.to_string());
        ConfigError::Value {
            key: key.to_owned(),
            origin,
            detail: detail.to_owned(),
        }
    }
}

/// Splits at commas, but not inside of brackets: a directive such as `wavs[{subsys=A,b=c}]=debug` stays whole.
fn split(text: &str) -> Vec<String> {
    let mut depth = 0_i32;
    let parts = text.split(|character| {
        depth += match character {
            '{' | '[' => 1,
            '}' | ']' => -1,
            _ => 0,
        };
        character == ',' && depth <= 0
    });
    parts
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_keep_commas() {
        assert_eq!(split("info, a[{b,c}]=debug,,d"), ["info", "a[{b,c}]=debug", "d"]);
    }
}
