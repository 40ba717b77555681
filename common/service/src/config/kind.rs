//! The types of configuration values: how text becomes a value and which values fit.

use serde_json::{Number, Value};
use url::Url;

/// The type of a key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A path; a leading `~` is the home directory, a relative one starts where it is written.
    Path,
    /// Any text, kept from all output.
    Credential,
    /// A URL, shown without the parts that may be keys.
    Url,
    /// A whole number between these, inclusive.
    Number(u64, u64),
    /// A number.
    Float,
    /// `true` or `false`.
    Flag,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// Texts or numbers.
    List,
    /// Tables with members of their own.
    Tables,
    /// Whatever the chain table says.
    Chain,
}

impl Kind {
    /// Reads a value from an environment variable, a flag or a built-in default.
    pub(crate) fn parse(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Text | Self::Path | Self::Credential | Self::Url | Self::Choice(_) | Self::Chain => {
                self.check(Value::from(text))
            }
            Self::Number(..) => {
                let number: u64 = text.trim().parse().map_err(|_| self.expected())?;
                self.check(Value::from(number))
            }
            Self::Float => {
                let number: f64 = text.trim().parse().map_err(|_| self.expected())?;
                Number::from_f64(number)
                    .map(Value::Number)
                    .ok_or_else(|| self.expected())
            }
            Self::Flag => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Ok(Value::Bool(true)),
                "false" | "0" | "no" | "off" => Ok(Value::Bool(false)),
                _ => Err(self.expected()),
            },
            Self::List => Ok(split_list(text).into_iter().map(Value::from).collect()),
            Self::Tables => serde_json::from_str(text)
                .map_err(|_| self.expected())
                .and_then(|value| self.check(value)),
        }
    }

    /// Whether a value from a file fits; lists are brought to one form.
    pub(crate) fn check(self, value: Value) -> Result<Value, String> {
        let fits = match (self, &value) {
            (Self::Url, Value::String(text)) => Url::parse(text).is_ok(),
            (Self::Text | Self::Path | Self::Credential, Value::String(_))
            | (Self::Flag, Value::Bool(_))
            | (Self::Chain, _) => true,
            (Self::Number(low, high), Value::Number(number)) => {
                number.as_u64().is_some_and(|number| (low..=high).contains(&number))
            }
            (Self::Float, Value::Number(number)) => number.as_f64().is_some(),
            (Self::Choice(choices), Value::String(text)) => choices.contains(&text.as_str()),
            (Self::List, Value::String(text)) => return self.parse(text),
            (Self::List, Value::Array(items)) => return items.iter().map(|item| self.item(item)).collect(),
            (Self::Tables, Value::Array(items)) => items.iter().all(Value::is_object),
            _ => false,
        };
        if fits { Ok(value) } else { Err(self.expected()) }
    }

    /// Whether the value must not be seen.
    pub(crate) fn is_secret(self) -> bool {
        matches!(self, Self::Credential)
    }

    fn item(self, item: &Value) -> Result<Value, String> {
        match item {
            Value::String(text) => Ok(Value::from(text.as_str())),
            Value::Number(number) => Ok(Value::from(number.to_string())),
            _ => Err(self.expected()),
        }
    }

    fn expected(self) -> String {
        match self {
            Self::Text | Self::Path | Self::Credential | Self::Chain => "expected a text".to_owned(),
            Self::Url => "expected a URL with a scheme, such as https://host/path".to_owned(),
            Self::Number(low, u64::MAX) => format!("expected a whole number of at least {low}"),
            Self::Number(low, high) => format!("expected a whole number between {low} and {high}"),
            Self::Float => "expected a number".to_owned(),
            Self::Flag => "expected true or false".to_owned(),
            Self::Choice(choices) => format!("expected one of {}", choices.join(", ")),
            Self::List => "expected a list, such as [\"a\", \"b\"] in the file or a,b elsewhere".to_owned(),
            Self::Tables => "expected a list of tables".to_owned(),
        }
    }
}

/// Splits at commas outside of `{}` and `[]`; items are trimmed, empty ones left out.
fn split_list(text: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut depth = 0_usize;
    for character in text.chars() {
        match character {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                items.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = items.last_mut() {
            last.push(character);
        }
    }
    items
        .iter()
        .map(|item| item.trim().to_owned())
        .filter(|item| !item.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_inside_brackets_do_not_split() {
        assert_eq!(
            split_list("info, wavs[{subsys=Engine,service=a}]=debug ,"),
            ["info", "wavs[{subsys=Engine,service=a}]=debug"]
        );
        assert_eq!(split_list(" "), Vec::<String>::new());
    }

    #[test]
    fn a_value_is_parsed_by_the_type_of_its_key() {
        assert_eq!(Kind::Text.parse("123"), Ok(Value::from("123")));
        assert_eq!(Kind::Number(0, 65_535).parse("123"), Ok(Value::from(123)));
        assert_eq!(
            Kind::Number(0, 65_535).parse("65536").unwrap_err(),
            "expected a whole number between 0 and 65535"
        );
        assert_eq!(
            Kind::Number(0, u64::MAX).parse("18446744073709551615"),
            Ok(Value::from(u64::MAX))
        );
        assert_eq!(Kind::Flag.parse("TRUE"), Ok(Value::Bool(true)));
        assert!(Kind::Choice(&["a", "b"]).parse("c").is_err());
        assert_eq!(
            Kind::List.check(serde_json::json!([1, "rest"])),
            Ok(serde_json::json!(["1", "rest"]))
        );
        assert!(Kind::List.check(serde_json::json!([true])).is_err());
    }
}
