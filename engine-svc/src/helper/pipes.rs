//! A helper that was just started.

use std::io;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The process and its standard streams.
pub(crate) struct Pipes {
    pub(super) child: Child,
    pub(super) requests: ChildStdin,
    pub(super) answers: ChildStdout,
}

impl Pipes {
    /// Starts the program.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (requests, answers) = pipes.ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self {
            child,
            requests,
            answers,
        })
    }

    /// Where requests go.
    pub(crate) fn requests(&mut self) -> &mut ChildStdin {
        &mut self.requests
    }
}
