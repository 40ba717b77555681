//! Dotenv files: `NAME=value` lines that fill in variables which are not set.

use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::sources::Sources;

/// Largest file in bytes.
const MAX_FILE: usize = 1024 * 1024;

/// Reads `--dotenv`, `$WAVS_DOTENV` and `./.env` into `sources`; what is set already stays.
pub(crate) fn read(flag: Option<&str>, sources: &mut Sources, warnings: &mut Vec<String>) -> Result<(), ConfigError> {
    let explicit = flag
        .map(str::to_owned)
        .into_iter()
        .chain(sources.variable("WAVS_DOTENV").map(str::to_owned));
    let explicit = explicit
        .map(|name| sources.path(&name, &sources.current_dir))
        .collect::<Vec<PathBuf>>();
    let implicit = sources.current_dir.join(".env");
    for path in &explicit {
        if path.exists() {
            add(path, sources, None)?;
        } else {
            warnings.push(format!("the dotenv file {} does not exist", path.display()));
        }
    }
    if implicit.is_file() && !explicit.contains(&implicit) {
        add(&implicit, sources, Some(warnings))?;
    }
    Ok(())
}

/// Reads one file. A bad line is an error, or a warning where there is a place for warnings.
fn add(path: &Path, sources: &mut Sources, mut lenient: Option<&mut Vec<String>>) -> Result<(), ConfigError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) if text.len() <= MAX_FILE => text,
        Ok(_) => {
            return Err(ConfigError::Syntax {
                path: path.to_owned(),
                line: 1,
                detail: format!("the file is larger than {MAX_FILE} bytes"),
            });
        }
        Err(source) => {
            if let Some(warnings) = lenient {
                warnings.push(format!("cannot read {}: {source}", path.display()));
                return Ok(());
            }
            return Err(ConfigError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    for (number, line) in (1..).zip(text.lines()) {
        match parse(line) {
            Ok(None) => {}
            Ok(Some((name, value))) => {
                sources.variables.entry(name).or_insert(value);
            }
            Err(detail) => {
                let error = ConfigError::Syntax {
                    path: path.to_owned(),
                    line: number,
                    detail: detail.to_owned(),
                };
                match &mut lenient {
                    Some(warnings) => warnings.push(error.to_string()),
                    None => return Err(error),
                }
            }
        }
    }
    Ok(())
}

/// One line: nothing, or a name and a value. Double quotes know `\n`, `\t`, `\"` and `\\`, single quotes take all as it is.
fn parse(line: &str) -> Result<Option<(String, String)>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=').ok_or("expected NAME=value")?;
    let name = name.trim();
    let named = !name.is_empty()
        && name
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || character == '_');
    if !named {
        return Err("the name of a variable has letters, digits and underscores only");
    }
    let value = value.trim();
    let value = match value.chars().next() {
        Some('\'') => value[1..]
            .split_once('\'')
            .ok_or("the closing quote is missing")?
            .0
            .to_owned(),
        Some('"') => unquote(&value[1..])?,
        _ => value.split(" #").next().unwrap_or_default().trim_end().to_owned(),
    };
    Ok(Some((name.to_owned(), value)))
}

fn unquote(text: &str) -> Result<String, &'static str> {
    let mut value = String::new();
    let mut characters = text.chars();
    loop {
        match characters.next().ok_or("the closing quote is missing")? {
            '"' => return Ok(value),
            '\\' => value.push(match characters.next().ok_or("the closing quote is missing")? {
                'n' => '\n',
                't' => '\t',
                other => other,
            }),
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_like_a_shell_would() {
        let check = |line: &str, expected: Option<(&str, &str)>| {
            let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(parse(line), Ok(expected), "{line}");
        };
        check("", None);
        check("# comment", None);
        check("A=b c # comment", Some(("A", "b c")));
        check("export A = b#c", Some(("A", "b#c")));
        check(r#"A="b \"c\" # d\n" # comment"#, Some(("A", "b \"c\" # d\n")));
        check(r"A='b\n'", Some(("A", r"b\n")));
        check("A=", Some(("A", "")));
        assert!(parse("A B=c").is_err());
        assert!(parse("nonsense").is_err());
        assert!(parse("A=\"b").is_err());
    }
}
