//! Every limit of the transport, with what happens when it is reached.

use std::time::Duration;

/// Largest encoded request or response, in bytes. The sender checks it: a larger request fails with `TooLarge` before
/// it is sent, a larger response is replaced by a `TooLarge` error. The connection survives both.
pub const MAX_PAYLOAD: usize = 4 * 1024 * 1024;

/// Largest frame that is read, in bytes. Only a peer that ignores [`MAX_PAYLOAD`] reaches it; its connection ends.
pub const MAX_FRAME: usize = 8 * 1024 * 1024;

/// Shortest deadline of a call; a shorter one is raised to it, so that an expired call still gets its typed answer.
pub const MIN_DEADLINE: Duration = Duration::from_millis(1);

/// Longest deadline of a call; a longer one is cut to it on both sides. A deadline of years would panic the timer
/// queue beneath the connection.
/// It leaves room for the longest run that a configuration permits (one hour) and its margin.
pub const MAX_DEADLINE: Duration = Duration::from_secs(70 * 60);

/// Connections that one socket serves at a time. A further one is refused with a code and closed.
pub const MAX_CONNECTIONS: usize = 64;

/// Refusals that are being written at a time. Beyond it a connection is closed without an answer.
pub const MAX_REFUSALS: usize = 16;

/// Requests in flight on one connection. A further one is answered `Busy`.
pub const MAX_IN_FLIGHT: usize = 256;

/// Handlers that run at a time over all connections of one socket, those included whose caller went away. A further
/// request is answered `Busy`.
pub const MAX_RUNNING: usize = 1_024;

/// Responses that wait for one connection's socket. When it is full, further handlers of that connection wait to hand
/// theirs over.
pub const RESPONSE_BUFFER: usize = 16;

/// Requests that wait for one client connection's socket. When it is full, further calls wait within their deadlines.
pub const REQUEST_BUFFER: usize = 64;

/// How long a peer may take for its half of the preamble; afterwards the connection is closed.
pub const PREAMBLE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a frame that has begun may take until it is complete, in either direction; afterwards the connection ends.
/// An idle connection may stay for ever.
pub const FRAME_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a stopping server waits for the handlers that run; afterwards they are left to the end of the process.
pub const STOP_GRACE: Duration = Duration::from_secs(10);

/// How long it then takes at most to tell the callers of those.
pub const LAST_ANSWER: Duration = Duration::from_millis(500);

/// Delay before the second attempt to connect; it doubles with each failure, with jitter.
pub const RECONNECT_FIRST: Duration = Duration::from_millis(20);

/// Longest delay between two attempts to connect. Attempts go on for as long as there are calls.
pub const RECONNECT_MAX: Duration = Duration::from_secs(2);

/// Bytes of a Unix socket path that Linux accepts (`sun_path` without the final zero). A longer one is an error.
pub const MAX_SOCKET_PATH: usize = 107;
