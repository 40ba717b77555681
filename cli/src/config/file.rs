//! The tables `[default]` and `[cli]` of `wavs.toml`.

use std::path::Path;

use serde_json::{Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigError;
use super::sources::{Entry, Layer, Origin};

/// Largest file in bytes; a larger one is refused.
const MAX_FILE: usize = 4 * 1024 * 1024;

/// The layers of a file.
#[derive(Debug, Default)]
pub(super) struct File {
    /// `[default]`, which the node shares.
    pub(super) shared: Layer,
    /// `[cli]`.
    pub(super) own: Layer,
}

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    if text.len() > MAX_FILE {
        let detail = format!("the file has more than {MAX_FILE} bytes");
        return Err(ConfigError::Syntax {
            path: path.to_owned(),
            line: 1,
            detail,
        });
    }
    let reader = Reader { path, text: &text };
    let document = DeTable::parse(&text).map_err(|cause| ConfigError::Syntax {
        path: path.to_owned(),
        line: cause.span().map_or(1, |span| reader.line(span.start)),
        // The message alone: with its context it would quote the line, which may hold a secret.
        detail: cause.message().to_owned(),
    })?;
    let mut file = File::default();
    for (name, value) in document.get_ref() {
        match name.get_ref().as_ref() {
            "default" => reader.leaves(Vec::new(), value, &mut file.shared),
            "cli" => reader.leaves(Vec::new(), value, &mut file.own),
            _ => {}
        }
    }
    Ok(file)
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    fn leaves(&self, path: Vec<String>, value: &Spanned<DeValue<'_>>, into: &mut Layer) {
        let DeValue::Table(table) = value.get_ref() else {
            let origin = Origin::File(self.path.to_owned(), self.line(value.span().start));
            into.insert(
                path,
                Entry {
                    value: json(value.get_ref()),
                    origin,
                },
            );
            return;
        };
        for (name, value) in table {
            let mut path = path.clone();
            path.push(name.get_ref().to_string());
            self.leaves(path, value, into);
        }
    }

    fn line(&self, at: usize) -> usize {
        self.text
            .as_bytes()
            .iter()
            .take(at)
            .filter(|byte| **byte == b'\n')
            .count()
            + 1
    }
}

/// A number that is too large stays text, which no numeric key takes.
fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Integer(number) => {
            let (digits, radix) = (number.as_str(), number.radix());
            let unsigned = u64::from_str_radix(digits, radix).map(Value::from);
            unsigned
                .or_else(|_| i64::from_str_radix(digits, radix).map(Value::from))
                .unwrap_or_else(|_| Value::from(digits))
        }
        DeValue::Float(number) => {
            let text = number.as_str();
            text.parse()
                .ok()
                .and_then(Number::from_f64)
                .map_or_else(|| Value::from(text), Value::Number)
        }
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(table) => table
            .iter()
            .map(|(name, value)| (name.get_ref().to_string(), json(value.get_ref())))
            .collect(),
    }
}
