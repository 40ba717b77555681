//! A peer that speaks the protocols of the network and obeys none of its rules: no limit, no checks, any bytes.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity, ValidationMode};
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, Swarm, SwarmBuilder, identify, noise, tcp, yamux};
use wavs_p2p::wire::v2::{self, Answer, ExchangeCodec, Question};
use wavs_types::ServiceId;

/// Nothing here takes so long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages that wait for a victim who is slow to take them.
const QUEUE: usize = 20_000;

#[derive(NetworkBehaviour)]
struct Behaviour {
    gossip: gossipsub::Behaviour,
    exchange: request_response::Behaviour<ExchangeCodec>,
    identify: identify::Behaviour,
}

/// A hostile peer, connected to one victim.
pub struct Hostile {
    swarm: Swarm<Behaviour>,
    topic: IdentTopic,
    /// What the victim and others said on the topic, and this peer has not looked at yet.
    pub heard: Vec<Vec<u8>>,
    /// The victim has closed the connection.
    pub turned_away: bool,
}

impl Hostile {
    /// Connects to a victim under a new identity, and waits until it is heard there.
    ///
    /// # Errors
    /// When the victim does not let it in.
    pub async fn connect(victim: &Multiaddr, service: &ServiceId) -> Result<Self> {
        let mut peer = Self::dial(victim, service)?;
        let heard = async {
            while !peer.turned_away {
                if let Some(BehaviourEvent::Gossip(gossipsub::Event::Subscribed { .. })) = peer.next().await {
                    return Ok(());
                }
            }
            anyhow::bail!("it was turned away at once")
        };
        tokio::time::timeout(PATIENCE, heard)
            .await
            .context("nobody answers")??;
        Ok(peer)
    }

    /// Begins to connect under a new identity.
    ///
    /// # Errors
    /// When the address is none.
    pub fn dial(victim: &Multiaddr, service: &ServiceId) -> Result<Self> {
        let gossip = gossipsub::ConfigBuilder::default()
            .protocol_id_prefix(v2::GOSSIP)
            .validation_mode(ValidationMode::Anonymous)
            .max_transmit_size(16 * 1024 * 1024)
            .connection_handler_queue_len(QUEUE)
            .message_id_fn(|message| wavs_types::record_id(&message.data).to_vec().into())
            .build()?;
        let gossip = gossipsub::Behaviour::new(MessageAuthenticity::Anonymous, gossip).map_err(anyhow::Error::msg)?;
        let exchange = request_response::Config::default().with_request_timeout(PATIENCE);
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(
                tcp::Config::default().nodelay(true),
                noise::Config::new,
                yamux::Config::default,
            )?
            .with_behaviour(|keys| Behaviour {
                gossip,
                exchange: request_response::Behaviour::new([(v2::EXCHANGE, ProtocolSupport::Full)], exchange),
                identify: identify::Behaviour::new(identify::Config::new(v2::NETWORK.to_owned(), keys.public())),
            })?
            .with_swarm_config(|config| config.with_idle_connection_timeout(PATIENCE))
            .build();
        let topic = v2::topic(service);
        swarm.behaviour_mut().gossip.subscribe(&topic)?;
        swarm.dial(victim.clone())?;
        Ok(Self {
            swarm,
            topic,
            heard: Vec::new(),
            turned_away: false,
        })
    }

    /// Says any bytes on the topic. False when they could not even be queued.
    pub fn say(&mut self, bytes: Vec<u8>) -> bool {
        let topic = self.topic.hash();
        self.swarm.behaviour_mut().gossip.publish(topic, bytes).is_ok()
    }

    /// Moves what is queued, for as long as `until` takes.
    pub async fn run<T>(&mut self, until: impl Future<Output = T>) -> T {
        let mut until = std::pin::pin!(until);
        loop {
            tokio::select! {
                value = &mut until => return value,
                _ = self.next() => {}
            }
        }
    }

    /// Waits until so many records were heard.
    pub async fn hears(&mut self, count: usize) -> Result<()> {
        let heard = async {
            while self.heard.len() < count && !self.turned_away {
                self.next().await;
            }
        };
        tokio::time::timeout(PATIENCE, heard)
            .await
            .context("nothing is heard")?;
        anyhow::ensure!(self.heard.len() >= count, "it was turned away");
        Ok(())
    }

    /// Waits until the victim closes the connection.
    pub async fn is_turned_away(&mut self) -> Result<()> {
        let closed = async {
            while !self.turned_away {
                self.next().await;
            }
        };
        tokio::time::timeout(PATIENCE, closed).await.context("it may stay")
    }

    /// Asks the victim something; none when it does not answer.
    pub async fn ask(&mut self, question: Question) -> Option<Answer> {
        let victim = *self.swarm.connected_peers().next()?;
        self.swarm.behaviour_mut().exchange.send_request(&victim, question);
        loop {
            match self.next().await {
                Some(BehaviourEvent::Exchange(request_response::Event::Message {
                    message: request_response::Message::Response { response, .. },
                    ..
                })) => return Some(response),
                Some(BehaviourEvent::Exchange(request_response::Event::OutboundFailure { .. })) => return None,
                _ if self.turned_away => return None,
                _ => {}
            }
        }
    }

    async fn next(&mut self) -> Option<BehaviourEvent> {
        match self.swarm.select_next_some().await {
            SwarmEvent::ConnectionClosed { num_established: 0, .. } | SwarmEvent::OutgoingConnectionError { .. } => {
                self.turned_away = true;
                None
            }
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Message { message, .. })) => {
                self.heard.push(message.data);
                None
            }
            SwarmEvent::Behaviour(event) => Some(event),
            _ => None,
        }
    }
}
