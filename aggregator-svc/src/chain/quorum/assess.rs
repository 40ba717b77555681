//! One attempt: from a head to a verdict.

use std::time::Duration;

use alloy::primitives::{Address, Bytes, U256};
use alloy::sol_types::SolCall;
use futures::stream::{self, StreamExt, TryStreamExt};
use wavs_types::EvmAddress;

use super::gate::{OperatorView, distinct, signed_weight, smallest_subset};
use super::manager::{Facts, find_registry, read_facts};
use super::reference::{FALLBACKS, older, reference_block};
use super::{
    AssessRequest, Assessment, CollectedSignature, MAX_SIGNATURES, Quorum, QuorumRule, ReadyCall, Simulation, Snapshot,
    Verdict,
};
use crate::chain::contracts::{
    IWavsServiceHandler, IWavsServiceManager, NUMBER_INIT_CODE, SolEnvelope, SolSignatureData,
};
use crate::chain::endpoint::Fault;
use crate::chain::error::{BACKOFF_MAX, BACKOFF_MIN, ChainError};
use crate::chain::evm::{EvmChain, Rpc};
use crate::chain::revert::{Revert, RevertClass};
use crate::chain::transactions::FeeQuote;
use crate::chain::wire::{At, CallRequest, Head};

/// Signers validated at once while a culprit is looked for.
const SINGLES: usize = 16;
/// JSON-RPC code for parameters that the node does not understand.
const INVALID_PARAMS: i64 = -32602;
/// Shortest and longest wait for a block.
const BLOCK_WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(15));

/// Why an attempt stopped.
enum Stop {
    Fault(Fault),
    Chain(ChainError),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Judges `request` on the first endpoint that answers all reads.
pub(in crate::chain) async fn assess(chain: &EvmChain, request: &AssessRequest<'_>) -> Result<Assessment, ChainError> {
    let mut last = chain.pool.none_left();
    for rpc in chain.all() {
        if let Err(error) = chain.pool.verify(rpc.endpoint()).await {
            last = error;
            continue;
        }
        let attempt = Attempt::new(chain, &rpc, request);
        let mut result = attempt.run().await;
        if let Err(Stop::Fault(Fault::Rpc {
            code: INVALID_PARAMS, ..
        })) = &result
        {
            // Endpoints without EIP-1898 refuse block hashes; numbers pin as well, only not across a reorg.
            rpc.forget_hashes();
            result = attempt.run().await;
        }
        match result {
            Ok(assessment) => return Ok(assessment),
            Err(Stop::Fault(fault)) if fault.is_transport() => last = chain.pool.error("eth_call", fault),
            Err(Stop::Fault(fault)) => return Err(chain.pool.error("eth_call", fault)),
            Err(Stop::Chain(error)) => return Err(error),
        }
    }
    Err(last)
}

struct Attempt<'a> {
    chain: &'a EvmChain,
    rpc: &'a Rpc,
    request: &'a AssessRequest<'a>,
    signatures: Vec<CollectedSignature>,
    envelope: SolEnvelope,
}

/// How `validate` took a set, and what the handler would do with it.
struct Judged {
    refused: Option<Revert>,
    ready: ReadyCall,
}

impl<'a> Attempt<'a> {
    fn new(chain: &'a EvmChain, rpc: &'a Rpc, request: &'a AssessRequest<'a>) -> Self {
        let mut signatures: Vec<_> = request
            .signatures
            .iter()
            .copied()
            .filter(|s| !request.quarantined.contains(&s.signer))
            .collect();
        signatures.sort_by_key(|signature| signature.signer);
        signatures.dedup_by_key(|signature| signature.signer);
        signatures.truncate(MAX_SIGNATURES);
        let abi = request.envelope.to_abi();
        let envelope = SolEnvelope {
            eventId: abi.eventId,
            ordering: abi.ordering,
            payload: abi.payload,
        };
        Self {
            chain,
            rpc,
            request,
            signatures,
            envelope,
        }
    }

    async fn run(&self) -> Result<Assessment, Stop> {
        let head = self.rpc.head().await?;
        self.chain.saw(&head);
        let at = self.rpc.pin(&head);
        if let Some(assessment) = self.guess(&head, at).await? {
            return Ok(assessment);
        }
        self.full(&head, at).await
    }

    /// Assumes that manager, weights and numbering are as a moment ago and checks that in the same round of requests.
    async fn guess(&self, head: &Head, at: At) -> Result<Option<Assessment>, Stop> {
        let Some((manager, facts)) = self.chain.managers.guess(self.request.handler) else {
            return Ok(None);
        };
        let Some(views) = facts.views(self.signatures.iter().map(|s| s.signer)) else {
            return Ok(None);
        };
        let number = head.number.to::<u64>();
        let Some(block) = reference_block(number, self.chain.config.reference_block_lag) else {
            return Ok(None);
        };
        let quorum = facts.quorum(signed_weight(&views));
        if !quorum.passes() {
            return Ok(None);
        }
        let subset = smallest_subset(&views, &quorum);
        let (contract_number, named, judged) = futures::join!(
            self.contract_number(head, at),
            self.manager(head, at),
            self.judge(manager, &subset, block, head, at),
        );
        let (contract_number, judged) = (contract_number?, judged?);
        if contract_number != number || named? != manager || judged.refused.is_some() {
            self.chain.managers.forget(self.request.handler);
            return Ok(None);
        }
        let snapshot = Snapshot {
            number,
            hash: head.hash,
            contract_number,
        };
        Ok(Some(Assessment {
            verdict: Verdict::Sufficient,
            snapshot,
            manager,
            quorum,
            evicted: Vec::new(),
            ready: Some(judged.ready),
            retry_after: BACKOFF_MIN,
        }))
    }

    /// Reads everything anew.
    async fn full(&self, head: &Head, at: At) -> Result<Assessment, Stop> {
        let number = head.number.to::<u64>();
        let (contract_number, manager) = futures::join!(self.contract_number(head, at), self.manager(head, at));
        let (contract_number, manager) = (contract_number?, manager?);
        let snapshot = Snapshot {
            number,
            hash: head.hash,
            contract_number,
        };
        let Some(block) = reference_block(contract_number, self.chain.config.reference_block_lag) else {
            let quorum = Quorum {
                signed: U256::ZERO,
                total: None,
                share: None,
                absolute: None,
                rule: QuorumRule::Floor,
            };
            return Ok(self.verdict(Verdict::WaitForBlock, snapshot, manager, quorum, Vec::new()));
        };
        let registry = match self.chain.managers.registry(manager) {
            Some(registry) => registry,
            None => find_registry(self.rpc, manager, at)
                .await?
                .ok_or_else(|| self.no_code(manager))?,
        };
        let signers: Vec<_> = self.signatures.iter().map(|s| s.signer).collect();
        let facts = read_facts(self.rpc, manager, registry, block, &signers, at).await?;
        self.chain
            .managers
            .keep(self.request.handler, manager, facts.clone(), contract_number == number);
        let views = facts.views(signers.into_iter()).unwrap_or_default();
        self.decide(snapshot, manager, &facts, views, block, head, at).await
    }

    /// Looks for a set that the manager accepts, dropping signers that it refuses.
    #[allow(clippy::too_many_arguments)]
    async fn decide(
        &self,
        snapshot: Snapshot,
        manager: Address,
        facts: &Facts,
        mut views: Vec<OperatorView>,
        mut block: u32,
        head: &Head,
        at: At,
    ) -> Result<Assessment, Stop> {
        let mut evicted = Vec::new();
        let mut fallbacks = FALLBACKS.iter();
        let first_block = block;
        let mut all = false;
        loop {
            let quorum = facts.quorum(signed_weight(&views));
            if quorum.nobody() {
                return Ok(self.verdict(Verdict::NoOperators, snapshot, manager, quorum, evicted));
            }
            if !quorum.passes() {
                return Ok(self.verdict(Verdict::BelowQuorum, snapshot, manager, quorum, evicted));
            }
            let subset = if all {
                all_weighted(&views)
            } else {
                smallest_subset(&views, &quorum)
            };
            let judged = self.judge(manager, &subset, block, head, at).await?;
            let Some(revert) = judged.refused else {
                let mut assessment = self.verdict(Verdict::Sufficient, snapshot, manager, quorum, evicted);
                assessment.ready = Some(judged.ready);
                return Ok(assessment);
            };
            let verdict = match revert.class() {
                // The local rule was too lenient: let every weight count once before giving up.
                RevertClass::BelowQuorum if !all && subset.len() < views.len() => {
                    all = true;
                    continue;
                }
                RevertClass::BelowQuorum => Verdict::BelowQuorum,
                RevertClass::NoOperators => Verdict::NoOperators,
                RevertClass::ReferenceBlock => match fallbacks.find_map(|distance| older(first_block, *distance)) {
                    Some(next) => {
                        block = next;
                        continue;
                    }
                    None => Verdict::WaitForBlock,
                },
                RevertClass::BadSigner => {
                    let culprits = self.culprits(manager, &subset, block, at).await?;
                    if culprits.is_empty() {
                        Verdict::ManagerFault(revert)
                    } else {
                        views.retain(|view| !culprits.contains(&view.signer));
                        evicted.extend(culprits);
                        continue;
                    }
                }
                RevertClass::Bug => Verdict::Malformed(revert),
                RevertClass::Inconsistent => Verdict::RegistryInconsistent(revert),
                RevertClass::Other => Verdict::ManagerFault(revert),
            };
            self.chain.managers.forget(self.request.handler);
            return Ok(self.verdict(verdict, snapshot, manager, quorum, evicted));
        }
    }

    /// Asks the manager and, at the same time, what the handler would do.
    async fn judge(
        &self,
        manager: Address,
        subset: &[OperatorView],
        block: u32,
        head: &Head,
        at: At,
    ) -> Result<Judged, Fault> {
        let data = self.signature_data(subset, block);
        let handle = IWavsServiceHandler::handleSignedEnvelopeCall {
            envelope: self.envelope.clone(),
            signatureData: data.clone(),
        };
        let input = Bytes::from(handle.abi_encode());
        let (refused, simulation, fees) = futures::try_join!(
            self.validate(manager, data, at),
            self.simulate(input.clone(), at),
            FeeQuote::read(self.chain, self.rpc, head),
        )?;
        let ready = ReadyCall {
            chain: self.chain.key.clone(),
            handler: self.request.handler,
            input,
            reference_block: block,
            signers: subset.iter().map(|view| view.signer).collect(),
            simulation,
            judged_at: head.number.to(),
            fees,
        };
        Ok(Judged { refused, ready })
    }

    /// `validate`: `None` when the manager accepts.
    async fn validate(&self, manager: Address, data: SolSignatureData, at: At) -> Result<Option<Revert>, Fault> {
        let call = IWavsServiceManager::validateCall {
            envelope: self.envelope.clone(),
            signatureData: data,
        };
        let request = CallRequest {
            from: None,
            to: Some(manager),
            data: call.abi_encode().into(),
        };
        match self.rpc.call(&request, at).await {
            Ok(_) => Ok(None),
            Err(Fault::Revert(revert)) => Ok(Some(revert)),
            Err(fault) => Err(fault),
        }
    }

    async fn simulate(&self, input: Bytes, at: At) -> Result<Simulation, Fault> {
        let Some(poster) = self.request.poster else {
            return Ok(Simulation::NotRun);
        };
        let request = CallRequest {
            from: Some(poster),
            to: Some(self.request.handler),
            data: input,
        };
        match self.rpc.estimate(&request, at).await {
            Ok(gas) => Ok(Simulation::Passed { gas }),
            Err(Fault::Revert(revert)) => Ok(Simulation::Reverted(revert)),
            Err(fault) => Err(fault),
        }
    }

    /// Those signers of a refused set that are refused alone as well.
    async fn culprits(
        &self,
        manager: Address,
        subset: &[OperatorView],
        block: u32,
        at: At,
    ) -> Result<Vec<Address>, Fault> {
        stream::iter(subset.iter().copied())
            .map(|view| async move {
                let refused = self.validate(manager, self.signature_data(&[view], block), at).await?;
                let bad = refused.is_some_and(|revert| revert.class() == RevertClass::BadSigner);
                Ok::<_, Fault>(bad.then_some(view.signer))
            })
            .buffer_unordered(SINGLES)
            .try_filter_map(|culprit| async move { Ok(culprit) })
            .try_collect()
            .await
    }

    /// The block number as contracts see it.
    async fn contract_number(&self, head: &Head, at: At) -> Result<u64, Stop> {
        let pinned = self.chain.pinned.at(head.hash);
        pinned
            .contract_number
            .get_or_try_init(|| self.read_contract_number(at))
            .await
            .copied()
    }

    /// The manager that the handler names.
    async fn manager(&self, head: &Head, at: At) -> Result<Address, Stop> {
        let manager = self.chain.pinned.at(head.hash).manager(self.request.handler);
        manager.get_or_try_init(|| self.read_manager(at)).await.copied()
    }

    async fn read_contract_number(&self, at: At) -> Result<u64, Stop> {
        let request = CallRequest {
            from: None,
            to: None,
            data: Bytes::from_static(&NUMBER_INIT_CODE),
        };
        let bytes = self.rpc.call(&request, at).await?;
        let number = U256::try_from_be_slice(&bytes).and_then(|number| u64::try_from(number).ok());
        Ok(number.ok_or_else(|| Fault::Shape(format!("block number of {} bytes", bytes.len())))?)
    }

    async fn read_manager(&self, at: At) -> Result<Address, Stop> {
        let handler = self.request.handler;
        match self
            .rpc
            .read(handler, &IWavsServiceHandler::getServiceManagerCall {}, at)
            .await
        {
            Ok(manager) if manager.is_zero() => Err(Stop::Chain(ChainError::NoManager {
                chain: self.chain.key.clone(),
                handler,
            })),
            Ok(manager) => Ok(manager),
            Err(Fault::Revert(revert)) if self.rpc.code_is_empty(handler, at).await? => {
                tracing::debug!(%handler, %revert, "no code at the handler");
                Err(self.no_code(handler))
            }
            Err(Fault::Revert(revert)) => Err(Stop::Chain(ChainError::Reverted {
                chain: self.chain.key.clone(),
                call: format!("getServiceManager() of handler {handler}"),
                revert,
            })),
            Err(Fault::Shape(detail)) => Err(Stop::Chain(ChainError::Malformed {
                chain: self.chain.key.clone(),
                what: format!("getServiceManager() of handler {handler}"),
                detail,
            })),
            Err(fault) => Err(fault.into()),
        }
    }

    fn no_code(&self, address: EvmAddress) -> Stop {
        Stop::Chain(ChainError::NoCode {
            chain: self.chain.key.clone(),
            address,
        })
    }

    fn signature_data(&self, subset: &[OperatorView], block: u32) -> SolSignatureData {
        let of = |view: &OperatorView| self.signatures.iter().find(|s| s.signer == view.signer);
        let (signers, signatures) = subset
            .iter()
            .filter_map(of)
            .map(|s| (s.signer, Bytes::copy_from_slice(&s.signature)))
            .unzip();
        SolSignatureData {
            signers,
            signatures,
            referenceBlock: block,
        }
    }

    fn verdict(
        &self,
        verdict: Verdict,
        snapshot: Snapshot,
        manager: Address,
        quorum: Quorum,
        evicted: Vec<Address>,
    ) -> Assessment {
        let retry_after = match verdict {
            Verdict::WaitForBlock => self.chain.block_time().clamp(BLOCK_WAIT.0, BLOCK_WAIT.1),
            Verdict::Sufficient | Verdict::ManagerFault(_) => BACKOFF_MIN,
            _ => BACKOFF_MAX,
        };
        Assessment {
            verdict,
            snapshot,
            manager,
            quorum,
            evicted,
            ready: None,
            retry_after,
        }
    }
}

/// Every distinct weighted operator, ascending by signer.
fn all_weighted(views: &[OperatorView]) -> Vec<OperatorView> {
    let mut all = distinct(views);
    all.sort_by_key(|view| view.signer);
    all
}
