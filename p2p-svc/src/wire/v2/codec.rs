//! Questions and answers on a stream: the side that writes closes it, the side that reads has a limit.

use std::io;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::StreamProtocol;
use libp2p::request_response::Codec;

use super::{Answer, Question};

/// Largest question: its hellos or short ids.
const MAX_QUESTION: u64 = 512 * 1024;
/// Largest answer: one body, or a batch of records.
const MAX_ANSWER: u64 = 4 * 1024 * 1024;

/// The form of the exchange.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExchangeCodec;

impl Codec for ExchangeCodec {
    type Protocol = StreamProtocol;
    type Request = Question;
    type Response = Answer;

    async fn read_request<T>(&mut self, _: &Self::Protocol, io: &mut T) -> io::Result<Question>
    where
        T: AsyncRead + Unpin + Send,
    {
        Question::decode(&read(io, MAX_QUESTION).await?).ok_or_else(|| malformed("question"))
    }

    async fn read_response<T>(&mut self, _: &Self::Protocol, io: &mut T) -> io::Result<Answer>
    where
        T: AsyncRead + Unpin + Send,
    {
        Answer::decode(&read(io, MAX_ANSWER).await?).ok_or_else(|| malformed("answer"))
    }

    async fn write_request<T>(&mut self, _: &Self::Protocol, io: &mut T, question: Question) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&question.encode()).await?;
        io.close().await
    }

    async fn write_response<T>(&mut self, _: &Self::Protocol, io: &mut T, answer: Answer) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&answer.encode()).await?;
        io.close().await
    }
}

async fn read<T: AsyncRead + Unpin + Send>(io: &mut T, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io.take(limit + 1).read_to_end(&mut bytes).await?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too large"));
    }
    Ok(bytes)
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the bytes are no {what}"))
}
