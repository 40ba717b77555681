//! What every command gets: the configuration and the place for its result.

use std::io;

use serde::Serialize;

use crate::config::Config;
use crate::failure::{Exit, Failure};
use crate::node::Node;
use crate::output::{Output, Style};

/// One run of a command.
pub struct Session<'a> {
    /// The configuration.
    pub config: Config,
    /// Where the result goes.
    pub output: Output<'a>,
}

impl Session<'_> {
    /// A client of the configured node.
    ///
    /// # Errors
    /// When the token cannot be read.
    pub fn node(&self) -> Result<Node, Failure> {
        Node::new(&self.config)
    }

    /// Prints the result: as JSON, or as text.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn result(&mut self, value: &impl Serialize, text: impl FnOnce(Style) -> String) -> Result<(), Failure> {
        self.output.result(value, text).map_err(Failure::from)
    }
}

impl From<io::Error> for Failure {
    /// A reader that has seen enough, as in `… | head -1`, is no failure worth a word.
    fn from(error: io::Error) -> Self {
        let text = match error.kind() {
            io::ErrorKind::BrokenPipe => String::new(),
            _ => format!("cannot write the result to stdout: {error}"),
        };
        Self::new(Exit::Failed, "stdout", text)
    }
}
