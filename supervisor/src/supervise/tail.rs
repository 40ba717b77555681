//! The end of the log of the processes, kept in memory for `GET /v1/logs`. Bounded by lines and by bytes: the oldest go first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// Lines that are kept.
const LINES: usize = 5_000;
/// Bytes that are kept.
const BYTES: usize = 4 * 1024 * 1024;

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Ascending by one; a gap at the beginning means that older lines are gone.
    pub seq: u64,
    /// Who wrote it.
    pub process: &'static str,
    /// What was written: one JSON object, or plain text of a panic.
    pub text: String,
}

/// The last lines. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Tail(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<Line>,
    bytes: usize,
    next: u64,
}

/// Severity from the worst on, as the processes write it.
const LEVELS: [&str; 5] = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];

impl Tail {
    pub(super) fn push(&self, process: &'static str, line: &[u8]) {
        let text = String::from_utf8_lossy(line).into_owned();
        let mut kept = self.lock();
        let seq = kept.next;
        kept.next += 1;
        kept.bytes += text.len();
        kept.lines.push_back(Line { seq, process, text });
        while kept.lines.len() > LINES || kept.bytes > BYTES {
            let Some(oldest) = kept.lines.pop_front() else { break };
            kept.bytes -= oldest.text.len();
        }
    }

    /// The last `max` lines from `since` on, of `process` if given, at least as severe as `level` if given; oldest first. A line that is
    /// no JSON has no level and counts as an error, because only a process in trouble writes one.
    #[must_use]
    pub fn lines(&self, process: Option<&str>, level: Option<&str>, since: u64, max: usize) -> Vec<Line> {
        let rank = |level: &str| LEVELS.iter().position(|known| known.eq_ignore_ascii_case(level));
        let most = level.and_then(rank).unwrap_or(LEVELS.len());
        let severe = |line: &Line| {
            let event: Option<Value> = serde_json::from_str(&line.text).ok();
            let level = event
                .as_ref()
                .and_then(|event| event.get("level"))
                .and_then(Value::as_str);
            level.and_then(rank).unwrap_or(0) <= most
        };
        let kept = self.lock();
        let wanted = kept.lines.iter().rev().take_while(|line| line.seq >= since);
        let mut lines: Vec<_> = wanted
            .filter(|line| process.is_none_or(|process| process == line.process) && severe(line))
            .take(max)
            .cloned()
            .collect();
        lines.reverse();
        lines
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_process_level_and_number() {
        let tail = Tail::default();
        tail.push("engine-svc", br#"{"level":"INFO","message":"a"}"#);
        tail.push("p2p-svc", br#"{"level":"WARN","message":"b"}"#);
        tail.push("engine-svc", b"thread panicked");
        tail.push("engine-svc", br#"{"level":"DEBUG","message":"c"}"#);
        let seqs = |process, level, since, max| {
            let lines = tail.lines(process, level, since, max);
            lines.into_iter().map(|line| line.seq).collect::<Vec<_>>()
        };
        assert_eq!(seqs(None, None, 0, 100), [0, 1, 2, 3]);
        assert_eq!(seqs(Some("engine-svc"), None, 0, 100), [0, 2, 3]);
        assert_eq!(seqs(None, Some("warn"), 0, 100), [1, 2]);
        assert_eq!(seqs(None, Some("info"), 1, 100), [1, 2]);
        assert_eq!(seqs(None, None, 0, 2), [2, 3], "the newest");
    }

    #[test]
    fn the_oldest_lines_go_first() {
        let tail = Tail::default();
        for _ in 0..LINES + 10 {
            tail.push("engine-svc", b"{}");
        }
        assert_eq!(tail.lines(None, None, 0, usize::MAX).first().unwrap().seq, 10);
        let large = vec![b'x'; BYTES / 2];
        for _ in 0..3 {
            tail.push("engine-svc", &large);
        }
        assert_eq!(tail.lines(None, None, 0, usize::MAX).len(), 2);
    }
}
