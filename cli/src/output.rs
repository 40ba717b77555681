//! Everything that a command prints: the result on stdout, as JSON or as text for people. Notes about it go to the log on
//! stderr, so that stdout can be piped. With `--json` stdout gets exactly one value, the result or the problem.

use std::io::{self, Write};

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde::Serialize;

/// Where and how results are printed.
pub struct Output<'a> {
    out: &'a mut dyn Write,
    style: Style,
}

/// How results look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// One JSON value instead of text.
    pub json: bool,
    /// No result at all.
    pub quiet: bool,
    /// Escape sequences for colours are welcome.
    pub colour: bool,
}

/// What a word in a table means for the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Good,
    Busy,
    Bad,
    Plain,
}

impl<'a> Output<'a> {
    /// Prints to `out`.
    pub fn new(out: &'a mut dyn Write, style: Style) -> Self {
        Self { out, style }
    }

    /// Prints a result: `value` as pretty JSON, or what `text` makes for people.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn result(&mut self, value: &impl Serialize, text: impl FnOnce(Style) -> String) -> io::Result<()> {
        if self.style.quiet {
            return Ok(());
        }
        let text = if self.style.json {
            serde_json::to_string_pretty(value)?
        } else {
            text(self.style)
        };
        let end = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        write!(self.out, "{text}{end}")?;
        self.out.flush()
    }

    /// Prints a failure in place of a result, if it is to be JSON.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn problem(&mut self, problem: &impl Serialize) -> io::Result<()> {
        if !self.style.json {
            return Ok(());
        }
        writeln!(self.out, "{}", serde_json::to_string_pretty(problem)?)?;
        self.out.flush()
    }
}

impl Style {
    /// A table with a header row.
    #[must_use]
    pub fn table(self, header: &[&str]) -> Table {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        if self.colour {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table.set_header(
            header
                .iter()
                .map(|name| Cell::new(name.to_uppercase()).add_attribute(Attribute::Bold)),
        );
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table
    }

    /// Names and values below each other.
    #[must_use]
    pub fn pairs(self, pairs: &[(&str, String)]) -> String {
        let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
        let line = |(name, value): &(&str, String)| {
            let name = format!("{:<width$}", format!("{name}:"));
            let name = console::style(name).bold().force_styling(self.colour);
            format!("{name}{value}\n")
        };
        pairs.iter().map(line).collect()
    }

    /// A state, coloured by what it means.
    #[must_use]
    pub fn state(self, word: &str) -> Cell {
        let colour = match mood(word) {
            Mood::Good => Color::Green,
            Mood::Busy => Color::Yellow,
            Mood::Bad => Color::Red,
            Mood::Plain => return Cell::new(word),
        };
        Cell::new(word).fg(colour)
    }
}

/// The text of a table without blanks at the ends of lines.
#[must_use]
pub fn lines(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn mood(word: &str) -> Mood {
    match word {
        "active" | "running" | "healthy" | "ready" | "final" | "landed" | "mined" | "ok" | "connected" => Mood::Good,
        "pending" | "paused" | "updating" | "degraded" | "starting" | "stopping" | "backoff" | "deleting" => Mood::Busy,
        "failed"
        | "failing"
        | "blocked"
        | "unhealthy"
        | "expired"
        | "not ready"
        | "disconnected"
        | "reverted"
        | "guest_fault"
        | "limit"
        | "component_fault"
        | "host_fault"
        | "ambiguous"
        | "refused"
        | "update-failed"
        | "component-quarantined" => Mood::Bad,
        _ => Mood::Plain,
    }
}
