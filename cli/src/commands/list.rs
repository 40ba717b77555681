//! Pages of the API as tables: which columns a list has is all that its command says.

use comfy_table::Cell;
use serde_json::Value;

use super::deploy::text;
use super::services::items;
use crate::failure::Failure;
use crate::output::{Style, lines};
use crate::session::Session;

/// Longest text in a cell, in characters; the rest is in the JSON.
const MAX_CELL: usize = 72;
/// Characters of an id that tell it from others at a glance.
const SHORT_ID: usize = 12;

/// One column: its header, and where its value is in an item.
pub(super) struct Column {
    header: &'static str,
    pointer: &'static str,
    kind: Kind,
}

/// How a value is shown.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    State,
    ShortId,
    Count,
}

/// Shows the value as it is, cut where it gets long.
pub(super) const fn column(header: &'static str, pointer: &'static str) -> Column {
    Column {
        header,
        pointer,
        kind: Kind::Text,
    }
}

/// Shows a state in its colour.
pub(super) const fn state(header: &'static str, pointer: &'static str) -> Column {
    Column {
        header,
        pointer,
        kind: Kind::State,
    }
}

/// Shows the beginning of a long id.
pub(super) const fn short(header: &'static str, pointer: &'static str) -> Column {
    Column {
        header,
        pointer,
        kind: Kind::ShortId,
    }
}

/// Shows how many items a list has.
pub(super) const fn count(header: &'static str, pointer: &'static str) -> Column {
    Column {
        header,
        pointer,
        kind: Kind::Count,
    }
}

/// Asks for a page and prints it.
pub(super) async fn show(
    session: &mut Session<'_>,
    path: &[&str],
    query: &[(&str, String)],
    columns: &[Column],
) -> Result<(), Failure> {
    let page = session.node()?.get(path, query).await?;
    session.result(&page, |style| {
        let headers: Vec<_> = columns.iter().map(|column| column.header).collect();
        let mut table = style.table(&headers);
        for item in items(&page) {
            table.add_row(columns.iter().map(|column| column.cell(item, style)));
        }
        lines(&table)
    })
}

impl Column {
    fn cell(&self, item: &Value, style: Style) -> Cell {
        let value = item.pointer(self.pointer).unwrap_or(&Value::Null);
        let shown = match value {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match self.kind {
            Kind::State => style.state(&shown),
            Kind::ShortId => Cell::new(shown.chars().take(SHORT_ID).collect::<String>()),
            Kind::Count => Cell::new(value.as_array().map_or(0, Vec::len)),
            Kind::Text => Cell::new(line(&shown)),
        }
    }
}

/// One line of text of limited length. Guests choose some of these texts: without control characters they cannot steer the
/// terminal.
fn line(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut cut: String = plain.take(MAX_CELL + 1).collect();
    if cut.chars().count() > MAX_CELL {
        // The sign of the cut takes the place of a character too.
        cut.truncate(cut.char_indices().nth(MAX_CELL - 1).map_or(0, |(at, _)| at));
        cut.push('…');
    }
    cut
}

/// Names and values of an item, those left out that it does not have.
pub(super) fn known_pairs(item: &Value, fields: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let known = |(_, field): &&(&str, &str)| item.get(field).is_some_and(|value| !value.is_null());
    fields
        .iter()
        .filter(known)
        .map(|(label, field)| (*label, text(item, field)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_guests_are_tamed() {
        assert_eq!(line("a\u{1b}[2Jb\nc"), "a [2Jb c");
        let long = line(&"x".repeat(100));
        assert_eq!((long.chars().count(), long.ends_with('…')), (MAX_CELL, true));
        assert_eq!(line(&"x".repeat(MAX_CELL)), "x".repeat(MAX_CELL));
    }
}
