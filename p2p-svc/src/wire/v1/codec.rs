//! The catch-up exchange: JSON, ended by closing the writing side.

use std::io;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::StreamProtocol;
use libp2p::request_response::Codec;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use wavs_types::ServiceId;

/// Largest request, in bytes.
const MAX_REQUEST: u64 = 1_024;
/// Largest response that is read, in bytes: a hundred messages of the largest size, and then some. A longer one is cut, and
/// so no JSON.
const MAX_RESPONSE: u64 = 8 * 1024 * 1024;

/// Asks for the submissions of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The service.
    pub service_id: ServiceId,
}

/// The submissions that a node keeps, each as its JSON text.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Missed {
    /// In no order that could be relied on. Texts, because a value of its own for each integer would cost many times the
    /// memory that the sender paid for.
    pub submissions: Vec<Box<RawValue>>,
}

/// The form of the exchange.
#[derive(Debug, Clone, Copy, Default)]
pub struct CatchUpCodec;

impl Codec for CatchUpCodec {
    type Protocol = StreamProtocol;
    type Request = Wanted;
    type Response = Missed;

    async fn read_request<T>(&mut self, _: &Self::Protocol, io: &mut T) -> io::Result<Wanted>
    where
        T: AsyncRead + Unpin + Send,
    {
        Ok(serde_json::from_slice(&read(io, MAX_REQUEST).await?)?)
    }

    async fn read_response<T>(&mut self, _: &Self::Protocol, io: &mut T) -> io::Result<Missed>
    where
        T: AsyncRead + Unpin + Send,
    {
        Ok(serde_json::from_slice(&read(io, MAX_RESPONSE).await?)?)
    }

    async fn write_request<T>(&mut self, _: &Self::Protocol, io: &mut T, wanted: Wanted) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&serde_json::to_vec(&wanted)?).await?;
        io.close().await
    }

    async fn write_response<T>(&mut self, _: &Self::Protocol, io: &mut T, missed: Missed) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&serde_json::to_vec(&missed)?).await?;
        io.close().await
    }
}

async fn read<T: AsyncRead + Unpin + Send>(io: &mut T, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io.take(limit).read_to_end(&mut bytes).await?;
    Ok(bytes)
}
