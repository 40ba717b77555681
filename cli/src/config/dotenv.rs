//! Dotenv files: `NAME=value` lines that fill in variables which are not set.

use std::path::{Path, PathBuf};

use super::{ConfigError, Surroundings};

/// Largest file in bytes; a larger one is refused.
const MAX_FILE: usize = 1024 * 1024;

/// Reads `--dotenv`, `$WAVS_DOTENV` and `./.env` into the variables. What is set already stays. A broken file that was named is an
/// error, a broken `./.env` a warning.
pub(super) fn read(
    flag: Option<&Path>,
    into: &mut Surroundings,
    warnings: &mut Vec<String>,
) -> Result<(), ConfigError> {
    let named = flag
        .map(Path::to_owned)
        .into_iter()
        .chain(into.variable("WAVS_DOTENV").map(PathBuf::from));
    for path in named.collect::<Vec<_>>() {
        let path = into.path(&path.to_string_lossy(), &into.current_dir);
        if path.exists() {
            add(&path, into)?;
        } else {
            warnings.push(format!("the dotenv file {} does not exist", path.display()));
        }
    }
    let implicit = into.current_dir.join(".env");
    if implicit.is_file()
        && let Err(error) = add(&implicit, into)
    {
        warnings.push(error.to_string());
    }
    Ok(())
}

/// All lines up to the first bad one count.
fn add(path: &Path, into: &mut Surroundings) -> Result<(), ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    let wrong = |line, detail: String| ConfigError::Syntax {
        path: path.to_owned(),
        line,
        detail,
    };
    if text.len() > MAX_FILE {
        return Err(wrong(1, format!("the file has more than {MAX_FILE} bytes")));
    }
    for (number, line) in (1..).zip(text.lines()) {
        if let Some((name, value)) = parse(line).map_err(|detail| wrong(number, detail.to_owned()))? {
            into.variables.entry(name).or_insert(value);
        }
    }
    Ok(())
}

/// One line: nothing, or a name and a value, which may stand in quotes.
fn parse(line: &str) -> Result<Option<(String, String)>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, value) = line
        .strip_prefix("export ")
        .unwrap_or(line)
        .split_once('=')
        .ok_or("expected NAME=value")?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err("the name of a variable has letters, digits and underscores only");
    }
    let value = match value.chars().next() {
        Some(quote @ ('\'' | '"')) => value[1..].split_once(quote).ok_or("the closing quote is missing")?.0,
        _ => value.split(" #").next().unwrap_or_default().trim_end(),
    };
    Ok(Some((name.to_owned(), value.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_give_names_and_values() {
        for (line, expected) in [
            ("", None),
            ("# note", None),
            ("A=b c # note", Some(("A", "b c"))),
            ("export A = b#c", Some(("A", "b#c"))),
            ("A=\"b # c\" # note", Some(("A", "b # c"))),
            ("A='b'", Some(("A", "b"))),
            ("A=", Some(("A", ""))),
        ] {
            let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(parse(line), Ok(expected), "{line}");
        }
        for line in ["A B=c", "words", "A=\"b"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
