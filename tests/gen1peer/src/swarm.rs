//! The swarm of a deployed node: TCP, Noise, yamux; gossip signed by the node's key; catch-up as JSON.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::time::Duration;

use anyhow::{Result, anyhow};
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::gossipsub::{self, ConfigBuilder, Message, MessageAuthenticity, MessageId, ValidationMode};
use libp2p::request_response::{self, Codec, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{StreamProtocol, Swarm, SwarmBuilder, identify, noise, tcp, yamux};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Asks for the submissions of a service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    /// 64 lower-case hex digits.
    pub(crate) service_id: String,
}

/// What is kept for a service.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Response {
    /// The messages, each as it was said.
    pub(crate) submissions: Vec<Box<RawValue>>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Json;

impl Codec for Json {
    type Protocol = StreamProtocol;
    type Request = Request;
    type Response = Response;

    async fn read_request<T>(&mut self, _: &Self::Protocol, io: &mut T) -> io::Result<Request>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io, 1_024).await
    }

    async fn read_response<T>(&mut self, _: &Self::Protocol, io: &mut T) -> io::Result<Response>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io, 10 * 1_024 * 1_024).await
    }

    async fn write_request<T>(&mut self, _: &Self::Protocol, io: &mut T, request: Request) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &request).await
    }

    async fn write_response<T>(&mut self, _: &Self::Protocol, io: &mut T, response: Response) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &response).await
    }
}

async fn read<T: AsyncRead + Unpin + Send, V: for<'de> Deserialize<'de>>(io: &mut T, limit: u64) -> io::Result<V> {
    let mut bytes = Vec::new();
    io.take(limit).read_to_end(&mut bytes).await?;
    Ok(serde_json::from_slice(&bytes)?)
}

async fn write<T: AsyncWrite + Unpin + Send>(io: &mut T, value: &impl Serialize) -> io::Result<()> {
    io.write_all(&serde_json::to_vec(value)?).await?;
    io.close().await
}

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) gossip: gossipsub::Behaviour,
    pub(crate) catch_up: request_response::Behaviour<Json>,
    pub(crate) identify: identify::Behaviour,
}

/// A swarm with a fresh identity. `local` are the gossip parameters of the mode in which peers are found by multicast, else
/// those of the distributed table.
pub(crate) fn swarm(local: bool) -> Result<Swarm<Behaviour>> {
    let swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_behaviour(|keys| Ok(behaviour(keys, local)?))
        .map_err(|error| anyhow!("{error}"))?
        .build();
    Ok(swarm)
}

fn behaviour(keys: &libp2p::identity::Keypair, local: bool) -> Result<Behaviour> {
    let mut config = ConfigBuilder::default();
    config
        .validation_mode(ValidationMode::Strict)
        .message_id_fn(message_id)
        .flood_publish(true)
        .max_transmit_size(65_536);
    if local {
        config
            .heartbeat_interval(Duration::from_millis(100))
            .mesh_outbound_min(0)
            .mesh_n_low(0)
            .mesh_n(1)
            .mesh_n_high(2)
            .duplicate_cache_time(Duration::from_secs(30))
            .history_length(3)
            .history_gossip(2);
    } else {
        config
            .heartbeat_interval(Duration::from_secs(1))
            .mesh_n_low(4)
            .mesh_n(6)
            .mesh_n_high(12)
            .duplicate_cache_time(Duration::from_secs(60))
            .history_length(5)
            .history_gossip(3);
    }
    let config = config.build().map_err(|error| anyhow!("{error}"))?;
    let gossip = gossipsub::Behaviour::new(MessageAuthenticity::Signed(keys.clone()), config)
        .map_err(|error| anyhow!("{error}"))?;
    let exchange = request_response::Config::default().with_request_timeout(Duration::from_secs(30));
    let protocol = StreamProtocol::new("/wavs/catchup/1.0.0");
    Ok(Behaviour {
        gossip,
        catch_up: request_response::Behaviour::new([(protocol, ProtocolSupport::Full)], exchange),
        identify: identify::Behaviour::new(identify::Config::new("/wavs/1.0.0".to_owned(), keys.public())),
    })
}

fn message_id(message: &Message) -> MessageId {
    let mut hasher = DefaultHasher::new();
    message.data.hash(&mut hasher);
    message.source.hash(&mut hasher);
    message.topic.hash(&mut hasher);
    MessageId::from(hasher.finish().to_string())
}
