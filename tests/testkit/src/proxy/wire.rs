//! The bytes of one connection: passed on to the relay and back, delayed, cut or spoiled.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::{Fault, Shared, relay};

/// Bytes that are on their way at once in each direction; the sender waits beyond it.
const BUFFER: usize = 64 * 1024;
/// What garbage is made of: neither HTTP, nor a WebSocket frame, nor UTF-8.
const GARBAGE: u8 = 0xff;

/// How the bytes stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// As a peer closes a connection.
    Closed,
    /// As a host that lost its state answers.
    Reset,
}

/// Serves a connection until it ends.
pub(super) async fn serve(mut client: TcpStream, fault: watch::Receiver<Fault>, shared: &Arc<Shared>) {
    // Small answers must not wait for each other: what is measured behind a proxy should be the node.
    let _ = client.set_nodelay(true);
    let (near, far) = tokio::io::duplex(BUFFER);
    let relay = relay::serve(far, fault.clone(), shared.clone());
    let (from_relay, to_relay) = tokio::io::split(near);
    let (from_client, to_client) = client.split();
    let end = tokio::select! {
        () = reset(fault.clone()) => { shared.strike(); End::Reset }
        end = down(from_relay, to_client, fault.clone(), shared) => end,
        () = up(from_client, to_relay, fault, shared) => End::Closed,
        // Its last bytes are still to be passed down.
        () = async { relay.await; std::future::pending().await } => End::Closed,
    };
    if end == End::Reset {
        let _ = client.set_zero_linger();
    }
}

/// Returns when the connection is to be reset.
async fn reset(mut fault: watch::Receiver<Fault>) {
    if fault.wait_for(|fault| *fault == Fault::Drop).await.is_err() {
        // A fault of one connection does not change any more.
        std::future::pending::<()>().await;
    }
}

/// From the client to the chain; ends only when the connection is broken, because answers may follow the last request.
async fn up(
    mut client: impl AsyncRead + Unpin,
    mut relay: impl AsyncWrite + Unpin,
    fault: watch::Receiver<Fault>,
    shared: &Shared,
) {
    let mut buffer = vec![0; BUFFER];
    let mut swallows = false;
    loop {
        let read = match client.read(&mut buffer).await {
            Ok(0) if swallows => return,
            Ok(0) => break,
            Ok(read) => read,
            Err(_) => return,
        };
        swallows |= *fault.borrow() == Fault::HalfOpen;
        if swallows {
            shared.strike();
        } else if relay.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    let _ = relay.shutdown().await;
    std::future::pending::<()>().await;
}

/// From the chain to the client.
async fn down(
    mut relay: impl AsyncRead + Unpin,
    mut client: impl AsyncWrite + Unpin,
    mut fault: watch::Receiver<Fault>,
    shared: &Shared,
) -> End {
    let mut buffer = vec![0; BUFFER];
    let mut swallows = false;
    loop {
        let Ok(read @ 1..) = relay.read(&mut buffer).await else {
            if swallows {
                // A half-open connection never learns that the other side is gone.
                std::future::pending::<()>().await;
            }
            return End::Closed;
        };
        let bytes = &mut buffer[..read];
        let now = fault.borrow_and_update().clone();
        swallows |= now == Fault::HalfOpen;
        if swallows {
            shared.strike();
            continue;
        }
        let written = match now {
            Fault::Delay(delay) => {
                shared.strike();
                // Later bytes wait behind these, as on a slow line; a change of the fault frees them.
                let _ = tokio::time::timeout(delay, fault.changed()).await;
                client.write_all(bytes).await
            }
            Fault::Garbage => {
                shared.strike();
                bytes.fill(GARBAGE);
                client.write_all(bytes).await
            }
            Fault::Truncate => {
                shared.strike();
                let written = client.write_all(&bytes[..read / 2]).await;
                let _ = client.flush().await;
                return written.map_or(End::Closed, |()| End::Reset);
            }
            _ => client.write_all(bytes).await,
        };
        if written.is_err() {
            return End::Closed;
        }
    }
}
