//! What guests print: stdout, stderr and `log` calls.
//!
//! Output becomes lines as it is written: control characters are escaped, long lines cut, and everything beyond the rate
//! or the size of one run is dropped and counted. Lines go to the node's log and to a bounded ring per service. Excess is
//! never an error to the guest.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lru::LruCache;
use ulid::Ulid;
use wavs_ipc::contract::engine_admin::GuestLogLine;
use wavs_ipc::contract::job::RunId;
use wavs_service::config::GuestLimits;
use wavs_types::{ComponentDigest, ServiceId, WorkflowId};

/// Lines that the ring of one service keeps, and their bytes; older ones are forgotten.
const RING_LINES: usize = 1_000;
const RING_BYTES: usize = 8 << 20;
/// Bytes of lines in one answer, far below what an answer between processes may have.
const ANSWER_BYTES: usize = 2 << 20;
/// Services that have a ring; the one that was silent for the longest time loses its ring.
const RINGS: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
    Log(tracing::Level),
}

impl Stream {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Log(tracing::Level::ERROR) => "error",
            Self::Log(tracing::Level::WARN) => "warn",
            Self::Log(tracing::Level::INFO) => "info",
            Self::Log(tracing::Level::DEBUG) => "debug",
            Self::Log(tracing::Level::TRACE) => "trace",
        }
    }
}

/// The last lines of each service.
#[derive(Debug)]
pub(crate) struct GuestLogs {
    rings: Mutex<LruCache<ServiceId, Ring>>,
}

#[derive(Debug, Default)]
struct Ring {
    next: u64,
    bytes: usize,
    lines: VecDeque<GuestLogLine>,
}

impl Default for GuestLogs {
    fn default() -> Self {
        Self {
            rings: Mutex::new(LruCache::new(RINGS)),
        }
    }
}

impl GuestLogs {
    /// Lines of a service after `after`, oldest first, at most `max`, and no more than [`ANSWER_BYTES`]; the rest is after them.
    pub(crate) fn read(&self, service: &ServiceId, after: u64, max: usize) -> Vec<GuestLogLine> {
        let rings = lock(&self.rings);
        let Some(ring) = rings.peek(service) else {
            return Vec::new();
        };
        let mut bytes = 0;
        ring.lines
            .iter()
            .filter(|line| line.seq > after)
            .take(max)
            .take_while(|line| {
                bytes += line.line.len();
                bytes <= ANSWER_BYTES
            })
            .cloned()
            .collect()
    }

    fn push(&self, service: ServiceId, workflow: &WorkflowId, stream: Stream, line: String) {
        let at_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        let mut rings = lock(&self.rings);
        let ring = rings.get_or_insert_mut(service, Ring::default);
        ring.bytes += line.len();
        while ring.lines.len() >= RING_LINES || ring.bytes > RING_BYTES {
            let Some(oldest) = ring.lines.pop_front() else { break };
            ring.bytes = ring.bytes.saturating_sub(oldest.line.len());
        }
        ring.next += 1;
        ring.lines.push_back(GuestLogLine {
            seq: ring.next,
            at_ms: u64::try_from(at_ms).unwrap_or(u64::MAX),
            workflow_id: workflow.clone(),
            stream: stream.as_str().to_owned(),
            line,
        });
    }
}

/// The output of one run.
#[derive(Debug)]
pub(crate) struct RunLog {
    logs: Arc<GuestLogs>,
    pub(crate) run: RunId,
    pub(crate) service: ServiceId,
    pub(crate) workflow: WorkflowId,
    pub(crate) component: ComponentDigest,
    limits: GuestLimits,
    state: Mutex<RunState>,
}

#[derive(Debug)]
struct RunState {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    bytes: usize,
    second: Instant,
    lines_in_second: u32,
    dropped: u64,
}

impl RunLog {
    pub(crate) fn new(
        logs: Arc<GuestLogs>,
        run: RunId,
        service: ServiceId,
        workflow: WorkflowId,
        component: ComponentDigest,
        limits: &GuestLimits,
    ) -> Self {
        let state = RunState {
            stdout: Vec::new(),
            stderr: Vec::new(),
            bytes: 0,
            second: Instant::now(),
            lines_in_second: 0,
            dropped: 0,
        };
        Self {
            logs,
            run,
            service,
            workflow,
            component,
            limits: *limits,
            state: Mutex::new(state),
        }
    }

    /// Takes bytes of stdout or stderr; whole lines are passed on, the rest waits for its end.
    pub(crate) fn write(&self, stream: Stream, bytes: &[u8]) {
        let mut lines = Vec::new();
        {
            let mut state = lock(&self.state);
            for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                let (piece, ended) = piece.strip_suffix(b"\n").map_or((piece, false), |piece| (piece, true));
                let buffer = state.buffer(stream);
                // One byte more than a line may have marks it as cut.
                let room = self.limits.log_line.saturating_add(1).saturating_sub(buffer.len());
                buffer.extend_from_slice(&piece[..piece.len().min(room)]);
                if ended {
                    let line = std::mem::take(buffer);
                    lines.extend(state.admit(&line, &self.limits));
                }
            }
        }
        for line in lines {
            self.emit(stream, line);
        }
    }

    /// Takes one message of `log`.
    pub(crate) fn message(&self, level: tracing::Level, message: &str) {
        let mut lines = message.lines();
        for line in lines.by_ref().take(self.limits.log_lines_per_second as usize) {
            let admitted = lock(&self.state).admit(line.as_bytes(), &self.limits);
            if let Some(line) = admitted {
                self.emit(Stream::Log(level), line);
            }
        }
        lock(&self.state).dropped += lines.count() as u64;
    }

    /// Passes on unfinished lines and says how many were dropped.
    pub(crate) fn finish(&self) {
        let mut lines = Vec::new();
        let dropped = {
            let mut state = lock(&self.state);
            for stream in [Stream::Stdout, Stream::Stderr] {
                let line = std::mem::take(state.buffer(stream));
                if !line.is_empty() {
                    lines.extend(state.admit(&line, &self.limits).map(|line| (stream, line)));
                }
            }
            std::mem::take(&mut state.dropped)
        };
        for (stream, line) in lines {
            self.emit(stream, line);
        }
        if dropped > 0 {
            self.emit(
                Stream::Log(tracing::Level::WARN),
                format!(
                    "{dropped} further lines were dropped: engine.log_lines_per_second of this node allows a run {}, and engine.log_kb_per_run {} bytes in all",
                    self.limits.log_lines_per_second, self.limits.log_bytes
                ),
            );
        }
    }

    fn emit(&self, stream: Stream, line: String) {
        macro_rules! event {
            ($level:expr) => {
                tracing::event!(
                    target: "guest",
                    $level,
                    service_id = %self.service,
                    workflow_id = %self.workflow,
                    component = %self.component,
                    job_id = %Ulid::from(self.run.job),
                    attempt = self.run.attempt,
                    stream = stream.as_str(),
                    "{line}"
                )
            };
        }
        match stream {
            Stream::Stdout | Stream::Log(tracing::Level::INFO) => event!(tracing::Level::INFO),
            Stream::Stderr | Stream::Log(tracing::Level::WARN) => event!(tracing::Level::WARN),
            Stream::Log(tracing::Level::ERROR) => event!(tracing::Level::ERROR),
            Stream::Log(tracing::Level::DEBUG) => event!(tracing::Level::DEBUG),
            Stream::Log(tracing::Level::TRACE) => event!(tracing::Level::TRACE),
        }
        self.logs.push(self.service, &self.workflow, stream, line);
    }
}

impl RunState {
    fn buffer(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stderr => &mut self.stderr,
            Stream::Stdout | Stream::Log(_) => &mut self.stdout,
        }
    }

    /// Counts a line as it will be kept; absent when it is one too many.
    fn admit(&mut self, line: &[u8], limits: &GuestLimits) -> Option<String> {
        if self.second.elapsed() >= Duration::from_secs(1) {
            self.second = Instant::now();
            self.lines_in_second = 0;
        }
        if self.lines_in_second >= limits.log_lines_per_second || self.bytes >= limits.log_bytes {
            self.dropped += 1;
            return None;
        }
        let line = printable(line, limits.log_line);
        if self.bytes + line.len() > limits.log_bytes {
            self.dropped += 1;
            return None;
        }
        self.lines_in_second += 1;
        self.bytes += line.len();
        Some(line)
    }
}

/// Text without control characters, so that a guest cannot forge lines or steer a terminal, and with at most `most` bytes
/// before the mark of what was cut.
pub(crate) fn printable(bytes: &[u8], most: usize) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(most)]);
    let mut cut = bytes.len() > most;
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        let end = line.len();
        if character.is_control() && character != '\t' {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
        if line.len() > most {
            line.truncate(end);
            cut = true;
            break;
        }
    }
    if cut {
        line.push('…');
    }
    line
}

/// The data under these locks is never left half-changed, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longest line, and lines in a second, of these runs.
    const LINE: usize = 1 << 10;
    const LINES: u32 = 50;

    fn run(logs: &Arc<GuestLogs>) -> RunLog {
        let limits = GuestLimits {
            log_line: LINE,
            log_lines_per_second: LINES,
            ..GuestLimits::default()
        };
        RunLog::new(
            logs.clone(),
            RunId { job: 1, attempt: 1 },
            ServiceId::new([1; 32]),
            "default".parse().unwrap(),
            ComponentDigest::new([2; 32]),
            &limits,
        )
    }

    fn lines(logs: &GuestLogs) -> Vec<(String, String)> {
        logs.read(&ServiceId::new([1; 32]), 0, usize::MAX)
            .into_iter()
            .map(|line| (line.stream, line.line))
            .collect()
    }

    #[test]
    fn writes_are_joined_into_lines_and_split_at_line_ends() {
        let logs = Arc::new(GuestLogs::default());
        let log = run(&logs);
        log.write(Stream::Stdout, b"one\ntw");
        log.write(Stream::Stderr, b"err");
        log.write(Stream::Stdout, b"o\n\x1b[31mthree");
        log.message(tracing::Level::WARN, "four\nfive");
        log.finish();
        let pairs = lines(&logs);
        let expect = [
            ("stdout", "one"),
            ("stdout", "two"),
            ("warn", "four"),
            ("warn", "five"),
            ("stdout", "\\u{1b}[31mthree"),
            ("stderr", "err"),
        ];
        assert_eq!(pairs, expect.map(|(stream, line)| (stream.to_owned(), line.to_owned())));
    }

    #[test]
    fn a_flood_is_cut_counted_and_harmless() {
        let logs = Arc::new(GuestLogs::default());
        let log = run(&logs);
        log.write(Stream::Stdout, &vec![b'x'; LINE * 4]);
        log.write(Stream::Stdout, b"\n");
        for _ in 0..10 * LINES {
            log.write(Stream::Stderr, b"flood\n");
        }
        log.finish();
        let pairs = lines(&logs);
        assert_eq!(pairs[0].1.len(), LINE + '…'.len_utf8());
        assert!(
            pairs
                .last()
                .unwrap()
                .1
                .contains("further lines were dropped: engine.log_lines_per_second of this node allows a run 50"),
            "{:?}",
            pairs.last()
        );
        assert!(pairs.len() <= 2 * LINES as usize + 2);
    }

    #[test]
    fn what_counts_is_the_line_that_is_kept() {
        let logs = Arc::new(GuestLogs::default());
        let log = run(&logs);
        log.message(tracing::Level::INFO, &"\u{1}".repeat(LINE));
        let flood = "x\n".repeat(1_000);
        log.message(tracing::Level::INFO, &flood);
        log.finish();
        let pairs = lines(&logs);
        assert!(
            pairs[0].1.len() <= LINE + '…'.len_utf8() && pairs[0].1.ends_with("\\u{1}…"),
            "{}",
            pairs[0].1.len()
        );
        let dropped = 1_001 - u64::from(LINES);
        assert!(
            pairs.last().unwrap().1.starts_with(&format!("{dropped} further lines")),
            "{:?}",
            pairs.last()
        );
    }

    #[test]
    fn an_answer_has_room_for_some_of_the_longest_lines() {
        let logs = GuestLogs::default();
        let service = ServiceId::new([1; 32]);
        for _ in 0..RING_LINES {
            logs.push(
                service,
                &"default".parse().unwrap(),
                Stream::Stdout,
                "x".repeat(RING_BYTES / RING_LINES),
            );
        }
        let (mut seen, mut after) = (0, 0);
        while let Some(last) = logs.read(&service, after, usize::MAX).last() {
            let page = logs.read(&service, after, usize::MAX);
            assert!(page.iter().map(|line| line.line.len()).sum::<usize>() <= ANSWER_BYTES);
            seen += page.len();
            after = last.seq;
        }
        assert_eq!(seen, RING_LINES);
    }

    #[test]
    fn long_lines_leave_room_for_fewer() {
        let logs = GuestLogs::default();
        let service = ServiceId::new([1; 32]);
        for n in 0..RING_LINES {
            let line = format!("{n} {}", "x".repeat(64 << 10));
            logs.push(service, &"default".parse().unwrap(), Stream::Stdout, line);
        }
        let rings = lock(&logs.rings);
        let ring = rings.peek(&service).unwrap();
        let bytes: usize = ring.lines.iter().map(|line| line.line.len()).sum();
        assert!(ring.bytes == bytes && bytes <= RING_BYTES && ring.lines.len() > 100);
        assert!(ring.lines.back().unwrap().line.starts_with("999 "));
    }

    #[test]
    fn the_ring_forgets_the_oldest_and_pages_by_position() {
        let logs = GuestLogs::default();
        let service = ServiceId::new([1; 32]);
        for n in 0..RING_LINES + 5 {
            logs.push(service, &"default".parse().unwrap(), Stream::Stdout, n.to_string());
        }
        let all = logs.read(&service, 0, usize::MAX);
        assert_eq!((all.len(), all[0].line.as_str()), (RING_LINES, "5"));
        let page = logs.read(&service, all[1].seq, 2);
        assert_eq!(
            page.iter().map(|line| line.line.as_str()).collect::<Vec<_>>(),
            ["7", "8"]
        );
    }
}
