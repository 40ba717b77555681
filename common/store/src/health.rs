//! Whether writes reach the disk, as the last commits tell. While they do not, nothing that rests on them may go on: whoever
//! acts on stored rows looks here first, and somebody tries a small write from time to time until one works again.

use rusqlite::ErrorCode;

/// How the last commit went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Health {
    /// Writes work.
    #[default]
    Working,
    /// The disk or the quota of the file system is used up. Passes by itself when there is room.
    Full,
    /// The file system refuses writes or flushes. Passes by itself if the file system recovers.
    Failing(String),
    /// The file is not a sound database any more. Stays so: only a backup helps.
    Damaged(String),
}

impl Health {
    /// What a failed commit says about the disk; nothing for a failure that is not the disk's.
    pub(crate) fn of(cause: &rusqlite::Error) -> Option<Self> {
        match cause.sqlite_error_code()? {
            ErrorCode::DiskFull => Some(Self::Full),
            ErrorCode::SystemIoFailure | ErrorCode::ReadOnly => Some(Self::Failing(cause.to_string())),
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Some(Self::Damaged(cause.to_string())),
            _ => None,
        }
    }

    /// Why nothing can be written, and what to do.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match self {
            Self::Working => None,
            Self::Full => Some("the disk is full: free some space, work goes on by itself".to_owned()),
            Self::Failing(cause) => Some(format!(
                "the disk does not take writes ({cause}): look at the kernel log; work goes on by itself when it does"
            )),
            Self::Damaged(cause) => Some(format!(
                "the database is damaged ({cause}): stop the process and restore the file from a backup"
            )),
        }
    }
}
