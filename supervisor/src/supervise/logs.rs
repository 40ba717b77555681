//! The log lines of the children on their way to the supervisor's own stderr.
//!
//! Children write one JSON object per line. Lines pass a bounded queue to one writer; when it is full because stderr is
//! slow, further lines are dropped and counted, so that a chatty child can neither block itself nor the supervisor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;

use super::tail::Tail;

/// Lines that wait for the writer; further ones are dropped and counted.
const QUEUE_LINES: usize = 1024;
/// Longest line in bytes; the rest of a longer one is discarded.
const MAX_LINE: usize = 16 * 1024;

/// Members of an event that are no fields of it.
const STANDARD: [&str; 6] = ["timestamp", "level", "target", "fields", "span", "spans"];

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// As the children wrote them.
    Json,
    /// For people.
    Text,
}

/// The way into the log; cheap to clone.
#[derive(Debug, Clone)]
pub struct LogSink {
    lines: mpsc::Sender<Vec<u8>>,
    format: LogFormat,
    tail: Tail,
}

/// Lines of one child that were dropped.
#[derive(Debug, Clone, Default)]
pub struct Dropped(Arc<AtomicU64>);

impl Dropped {
    /// Lines dropped so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A sink, and the writer that empties it into `output` until all sinks are gone.
pub fn channel<W: AsyncWrite + Unpin>(output: W, format: LogFormat) -> (LogSink, impl Future<Output = ()>) {
    let (lines, queue) = mpsc::channel(QUEUE_LINES);
    let tail = Tail::default();
    (LogSink { lines, format, tail }, write_all(queue, output))
}

async fn write_all<W: AsyncWrite + Unpin>(mut queue: mpsc::Receiver<Vec<u8>>, mut output: W) {
    while let Some(line) = queue.recv().await {
        // A log that cannot be written has nobody left to be told.
        let _ = output.write_all(&line).await;
        if queue.is_empty() {
            let _ = output.flush().await;
        }
    }
    let _ = output.flush().await;
}

impl LogSink {
    /// The end of what passed, also of lines that could not be written.
    #[must_use]
    pub fn tail(&self) -> Tail {
        self.tail.clone()
    }

    /// Forwards what `process` writes to `stderr` until it closes it.
    pub async fn forward(self, process: &'static str, stderr: impl AsyncRead + Unpin, dropped: Dropped) {
        let mut reader = BufReader::new(stderr);
        while let Some(line) = next_line(&mut reader).await {
            self.tail.push(process, &line);
            let rendered = self.render(process, &line);
            if self.lines.try_send(rendered).is_err() {
                dropped.0.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn render(&self, process: &str, line: &[u8]) -> Vec<u8> {
        let parsed = match self.format {
            LogFormat::Json => None,
            LogFormat::Text => serde_json::from_slice::<Value>(line).ok().filter(Value::is_object),
        };
        let mut text = match (parsed, self.format) {
            (Some(event), _) => human(process, &event),
            (None, LogFormat::Json) if line.first() == Some(&b'{') => String::from_utf8_lossy(line).into_owned(),
            // A panic or an allocation failure is plain text in every format; keep the stream parseable.
            (None, LogFormat::Json) => {
                serde_json::json!({"process": process, "message": String::from_utf8_lossy(line)}).to_string()
            }
            (None, LogFormat::Text) => {
                format!("{process}: {}", escape(&String::from_utf8_lossy(line)))
            }
        };
        text.push('\n');
        text.into_bytes()
    }
}

/// The next line without its end, cut to [`MAX_LINE`]; `None` at the end of the stream.
async fn next_line(reader: &mut (impl AsyncBufRead + Unpin)) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let read = reader.take(MAX_LINE as u64).read_until(b'\n', &mut line).await.ok()?;
    if read == 0 {
        return None;
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else {
        discard_line(reader).await;
    }
    Some(line)
}

async fn discard_line(reader: &mut (impl AsyncBufRead + Unpin)) {
    while let Ok(chunk) = reader.fill_buf().await {
        if chunk.is_empty() {
            return;
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(chunk.len(), |at| at + 1);
        reader.consume(used);
        if end.is_some() {
            return;
        }
    }
}

/// One JSON event as a line for people: time, level, process, target, message, fields.
fn human(process: &str, event: &Value) -> String {
    let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut line = format!(
        "{} {:>5} {process} {}:",
        text("timestamp"),
        text("level"),
        text("target")
    );
    // Fields are beside the standard members, or in a member of their own.
    let beside = event
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| !STANDARD.contains(&key.as_str()));
    let inside = event.get("fields").and_then(Value::as_object).into_iter().flatten();
    let (message, others): (Vec<_>, Vec<_>) = beside.chain(inside).partition(|(key, _)| *key == "message");
    for (_, value) in message {
        line.push(' ');
        line.push_str(&plain(value));
    }
    for (key, value) in others {
        line.push_str(&format!(" {key}={}", plain(value)));
    }
    line
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), escape)
}

/// Control characters of a log line would act on the terminal.
fn escape(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect()
            } else {
                vec![c]
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn forwarded(input: &[u8], format: LogFormat) -> String {
        let mut output = Vec::new();
        let (sink, writer) = channel(&mut output, format);
        tokio::join!(sink.forward("engine-svc", input, Dropped::default()), writer);
        String::from_utf8(output).unwrap()
    }

    #[tokio::test]
    async fn lines_are_rendered_for_their_reader() {
        let input = b"{\"timestamp\":\"T\",\"level\":\"INFO\",\"target\":\"t\",\"fields\":{\"message\":\"hi\",\"n\":1}}\noops \x1b[2J\n";
        assert_eq!(
            forwarded(input, LogFormat::Text).await,
            "T  INFO engine-svc t: hi n=1\nengine-svc: oops \\u{1b}[2J\n"
        );
        let json = forwarded(input, LogFormat::Json).await;
        assert!(
            json.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()),
            "{json}"
        );
    }

    #[tokio::test]
    async fn a_long_line_is_cut_and_the_next_one_is_whole() {
        let mut input = vec![b'x'; MAX_LINE * 3];
        input.extend_from_slice(b"\nnext\n");
        let output = forwarded(&input, LogFormat::Text).await;
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].len(), MAX_LINE + "engine-svc: ".len());
        assert_eq!(lines[1], "engine-svc: next");
    }

    #[tokio::test]
    async fn a_flood_is_dropped_and_counted() {
        let dropped = Dropped::default();
        let input: Vec<u8> = b"line\n".repeat(QUEUE_LINES + 10);
        let (sink, _writer) = channel(tokio::io::sink(), LogFormat::Text);
        sink.forward("engine-svc", &input[..], dropped.clone()).await;
        assert_eq!(dropped.count(), 10);
    }
}
