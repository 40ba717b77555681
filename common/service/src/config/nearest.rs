//! "Did you mean": the known key that is closest to a misspelt one.

use super::keys::KEYS;
use crate::ProcessName;

/// A hint to append to a warning, or nothing when no key is close.
pub(crate) fn hint(unknown: &str) -> String {
    if unknown.strip_prefix("process.").is_some_and(|rest| {
        let name = rest.split('.').next();
        ProcessName::ALL.iter().all(|process| Some(process.short()) != name)
    }) {
        let names = ProcessName::ALL.map(ProcessName::short).join(", ");
        return format!("; the processes are {names}");
    }
    let best = KEYS.iter().map(|key| (distance(unknown, key.path), key.path)).min();
    match best {
        Some((distance, path)) if distance <= 2 + unknown.len() / 5 => format!("; did you mean {path}?"),
        _ => String::new(),
    }
}

/// Levenshtein distance in characters, by the row-wise dynamic programme.
pub(crate) fn distance(left: &str, right: &str) -> usize {
    let right = right.chars().collect::<Vec<_>>();
    let mut row = (0..=right.len()).collect::<Vec<_>>();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substitute = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_names_the_nearest_key() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(hint("signing_mnemonik"), "; did you mean signing_mnemonic?");
        assert_eq!(hint("completely_else"), "");
        let names = "; the processes are trigger, engine, aggregator, p2p";
        assert_eq!(hint("process.motor.restart_max"), names);
    }
}
