//! Reading `wavs.toml` into layers.

use std::path::Path;

use serde_json::{Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::layer::{Entry, Layer, Origin};

/// Largest file in bytes; a configuration with hundreds of chains has a few hundred kilobytes.
const MAX_FILE: usize = 4 * 1024 * 1024;

/// The layers of a file.
#[derive(Default)]
pub(crate) struct File {
    /// `[default]`
    pub(crate) shared: Layer,
    /// `[wavs]`
    pub(crate) node: Layer,
    /// The `[aggregator]` table of old releases.
    pub(crate) legacy_aggregator: Layer,
    pub(crate) warnings: Vec<String>,
}

/// Parses the text of `path`.
pub(crate) fn parse(path: &Path, text: &str) -> Result<File, ConfigError> {
    let syntax = |line, detail| ConfigError::Syntax {
        path: path.to_owned(),
        line,
        detail,
    };
    if text.len() > MAX_FILE {
        return Err(syntax(1, format!("the file is larger than {MAX_FILE} bytes")));
    }
    let document = DeTable::parse(text).map_err(|cause| {
        let line = cause.span().map_or(1, |span| line_of(text, span.start));
        // The message of the parser quotes no values, while its `Display` shows the line, which may hold a secret.
        syntax(line, cause.message().to_owned())
    })?;
    let reader = Reader { path, text };
    let mut file = File::default();
    for (name, value) in document.get_ref() {
        let line = line_of(text, name.span().start);
        let layer = match (name.get_ref().as_ref(), value.get_ref()) {
            ("default", DeValue::Table(_)) => &mut file.shared,
            ("wavs", DeValue::Table(_)) => &mut file.node,
            ("aggregator", DeValue::Table(_)) => &mut file.legacy_aggregator,
            ("cli", DeValue::Table(_)) => continue,
            ("global", DeValue::Table(_)) => {
                file.warnings.push(format!(
                    "{}, line {line}: the table [global] is not supported; move its keys to [default]",
                    path.display()
                ));
                continue;
            }
            (name, DeValue::Table(_)) => {
                file.warnings.push(format!(
                    "{}, line {line}: unknown table [{name}]; known are [default], [wavs] and [cli]",
                    path.display()
                ));
                continue;
            }
            (name, _) => {
                file.warnings.push(format!(
                    "{}, line {line}: {name} is outside any table and ignored; move it under [wavs]",
                    path.display()
                ));
                continue;
            }
        };
        reader.read(Vec::new(), value, layer)?;
    }
    Ok(file)
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    fn read(&self, path: Vec<String>, value: &Spanned<DeValue<'_>>, layer: &mut Layer) -> Result<(), ConfigError> {
        let table = match value.get_ref() {
            DeValue::Table(table) => table,
            leaf => {
                let line = line_of(self.text, value.span().start);
                let value = json(leaf).ok_or_else(|| ConfigError::Value {
                    key: path.join("."),
                    origin: Origin::File(self.path.to_owned(), line),
                    detail: "the number is too large or not finite".to_owned(),
                })?;
                layer.set(
                    path,
                    Entry {
                        value,
                        origin: Origin::File(self.path.to_owned(), line),
                    },
                );
                return Ok(());
            }
        };
        for (name, value) in table {
            let mut path = path.clone();
            path.push(name.get_ref().to_string());
            self.read(path, value, layer)?;
        }
        Ok(())
    }
}

fn json(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(integer) => {
            let digits = integer.as_str();
            match u64::from_str_radix(digits, integer.radix()) {
                Ok(number) => Value::from(number),
                Err(_) => Value::from(i64::from_str_radix(digits, integer.radix()).ok()?),
            }
        }
        DeValue::Float(float) => Value::Number(Number::from_f64(float.as_str().parse().ok()?)?),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(items) => Value::Array(items.iter().map(|item| json(item.get_ref())).collect::<Option<_>>()?),
        DeValue::Table(table) => {
            let members = table
                .iter()
                .map(|(name, value)| Some((name.get_ref().to_string(), json(value.get_ref())?)));
            Value::Object(members.collect::<Option<_>>()?)
        }
    })
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}
