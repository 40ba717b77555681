//! Brings the transactions of one account to the nodes: in the order of their nonces, many in one request.
//!
//! Order matters because nodes keep few transactions whose predecessor they do not know, and so does number, because some take
//! no more than 16 of one account. The courier stores nothing and repeats nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy::primitives::Bytes;

use super::answer::Answer;
use super::inclusion::Inclusion;
use crate::chain::evm::{EvmChain, Rpc};
use crate::chain::gather::Gather;

/// What every node takes of one account: the limit that geth guarantees and that reth and erigon enforce by default.
const TAKEN_BY_ALL: u64 = 16;

/// How long less is sent after a node enforced a limit.
const LIMITED: Duration = Duration::from_secs(600);

/// The way of one account's transactions to the nodes.
#[derive(Default)]
pub(super) struct Courier {
    queue: Arc<Gather<u64, Bytes, Answer>>,
    /// Until when less is sent, because a node said that it takes no more.
    limited: Mutex<Option<Instant>>,
}

impl Courier {
    /// Sends a transaction to all endpoints. After a node enforced a limit, waits until the nonce is among the next
    /// [`TAKEN_BY_ALL`].
    pub(super) async fn send(&self, chain: &Arc<EvmChain>, inclusion: &Inclusion, nonce: u64, raw: Bytes) -> Answer {
        let floor = (nonce + 1).saturating_sub(TAKEN_BY_ALL);
        loop {
            if self.is_limited() {
                // The lowest nonces are always free to go, so the account cannot block itself.
                inclusion.wait_for(floor).await;
            }
            let chain = Arc::clone(chain);
            let deliver = move |raws| deliver(Arc::clone(&chain), raws);
            let Some(answer) = self.queue.answer(nonce, raw.clone(), deliver).await else {
                return Answer::Ambiguous("the request was given up".to_owned());
            };
            let Answer::Full(text) = answer else { return answer };
            if self.limit() {
                tracing::warn!(
                    fault = text,
                    limit = TAKEN_BY_ALL,
                    "a node takes no more pending transactions of the posting account; fewer are sent at once from now on"
                );
            }
            if inclusion.count().unwrap_or(0) >= floor {
                // It is its turn, and later ones hold its place until they leave the pool.
                return Answer::Ambiguous(text);
            }
        }
    }

    fn is_limited(&self) -> bool {
        let until = *self.limited.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| until > Instant::now())
    }

    /// Sends less from now on. True when this is news.
    fn limit(&self) -> bool {
        let news = !self.is_limited();
        *self.limited.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + LIMITED);
        news
    }
}

/// Hands `raws` to all endpoints. The best one's answers are waited for; others' only while an answer is not clear.
async fn deliver(chain: Arc<EvmChain>, raws: Vec<Bytes>) -> Vec<Answer> {
    let nowhere = || Answer::Ambiguous("no endpoint could be reached".to_owned());
    let mut answers: Vec<_> = raws.iter().map(|_| nowhere()).collect();
    let raws = Arc::new(raws);
    let send = |rpc: Rpc| {
        let (chain, raws) = (Arc::clone(&chain), Arc::clone(&raws));
        tokio::spawn(async move {
            chain.pool.verify(rpc.endpoint()).await.ok()?;
            Some(
                rpc.send_raws(&raws)
                    .await
                    .into_iter()
                    .map(Answer::of)
                    .collect::<Vec<_>>(),
            )
        })
    };
    let sent: Vec<_> = chain.all().into_iter().map(send).collect();
    for task in sent {
        // Tasks that are not waited for end with their request timeout.
        let Ok(Some(next)) = task.await else { continue };
        answers = answers
            .into_iter()
            .zip(next)
            .map(|(old, new)| old.better(new))
            .collect();
        if answers.iter().all(|answer| matches!(answer, Answer::Accepted)) {
            break;
        }
    }
    answers
}
