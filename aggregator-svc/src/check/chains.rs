//! Each endpoint of each chain: does it answer, for the right chain, at our time, and what does the posting account have there.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy::primitives::{U64, U256, utils::format_ether};
use alloy::rpc::client::{ClientBuilder, RpcClient};
use alloy::transports::ws::WsConnect;
use serde::Deserialize;
use serde_json::json;
use wavs_service::check::Finding;
use wavs_types::{ChainConfig, ChainKey, EvmAddress, EvmChainConfig, redacted_url};

/// Longest wait for one endpoint.
const PATIENCE: Duration = Duration::from_secs(10);
/// A head this far in the future means that our clock is late: signatures and schedules go by it.
const CLOCK_TOLERANCE_SECS: u64 = 30;
/// A head this old means that the endpoint or the chain stands still, or that our clock is early.
const OLD_HEAD_SECS: u64 = 600;

/// The endpoints that were found good, by chain.
#[derive(Default)]
pub(super) struct Endpoints(BTreeMap<ChainKey, RpcClient>);

/// The two fields of a block that matter here.
#[derive(Debug, Deserialize)]
struct Head {
    number: U64,
    timestamp: U64,
}

/// What a good endpoint said.
struct Answers {
    client: RpcClient,
    head: Head,
    balance: Option<U256>,
}

impl Endpoints {
    /// Looks at all at once.
    pub(super) async fn look(
        &mut self,
        chains: &BTreeMap<ChainKey, ChainConfig>,
        account: Option<EvmAddress>,
    ) -> Vec<Finding> {
        if chains.is_empty() {
            return vec![Finding::warning(
                "chains",
                "none is configured: add [default.chains.evm.<id>] to wavs.toml",
            )];
        }
        let looks = chains.iter().map(async |(key, config)| match config.as_evm() {
            Some(evm) => look(key, evm, account).await,
            None => (
                key,
                vec![Finding::warning(
                    format!("chain {key}"),
                    "is not looked at: it is no EVM chain",
                )],
                None,
            ),
        });
        let mut findings = Vec::new();
        for (key, found, client) in futures::future::join_all(looks).await {
            findings.extend(found);
            self.0.extend(client.map(|client| (key.clone(), client)));
        }
        findings
    }

    /// A good endpoint of a chain.
    pub(super) fn of(&self, chain: &ChainKey) -> Option<&RpcClient> {
        self.0.get(chain)
    }
}

/// One chain: a finding for each endpoint, one for the clock, one for the balance.
async fn look<'a>(
    key: &'a ChainKey,
    config: &EvmChainConfig,
    account: Option<EvmAddress>,
) -> (&'a ChainKey, Vec<Finding>, Option<RpcClient>) {
    let urls: Vec<_> = config.http_endpoint.iter().chain(&config.ws_endpoints).collect();
    let asked = urls.iter().map(|url| async move {
        let asking = ask(url, &config.chain_id, account);
        let answer = tokio::time::timeout(PATIENCE, asking).await;
        answer.unwrap_or_else(|_| Err(format!("no answer in {} s", PATIENCE.as_secs())))
    });
    let answers = futures::future::join_all(asked).await;
    let mut findings = Vec::new();
    let mut good = None;
    let usable = answers.iter().any(Result::is_ok);
    for (url, answer) in urls.into_iter().zip(answers) {
        let subject = format!("chain {key}, {}", redacted_url(url));
        match answer {
            Ok(answers) => {
                findings.push(Finding::good(subject, format!("block {}", answers.head.number)));
                good.get_or_insert(answers);
            }
            // Another endpoint takes its place.
            Err(error) if usable => findings.push(Finding::warning(subject, error)),
            Err(error) => findings.push(Finding::failed(subject, error)),
        }
    }
    if let Some(answers) = &good {
        findings.push(clock(key, answers.head.timestamp.to(), now()));
        findings.extend(
            answers
                .balance
                .map(|balance| funds(key, balance, config.min_balance_alert)),
        );
    }
    (key, findings, good.map(|answers| answers.client))
}

async fn ask(url: &str, chain_id: &str, account: Option<EvmAddress>) -> Result<Answers, String> {
    // What the library says of an endpoint may repeat its address with the key in it.
    let failed = |what: &str| format!("{what}; check the address, the key in it, and the way there");
    let client = if url.starts_with("ws") {
        let connected = ClientBuilder::default()
            .ws(WsConnect::new(url).with_max_retries(0))
            .await;
        connected.map_err(|_| failed("cannot be connected to"))?
    } else {
        let url = url.parse().map_err(|_| "is no address".to_owned())?;
        ClientBuilder::default().http(url)
    };
    let id: U64 = client
        .request_noparams("eth_chainId")
        .await
        .map_err(|_| failed("does not answer eth_chainId"))?;
    if id.to_string() != chain_id {
        return Err(format!(
            "serves chain {id} instead of {chain_id}; correct the address or the id"
        ));
    }
    let head: Head = client
        .request("eth_getBlockByNumber", ("latest", false))
        .await
        .map_err(|_| failed("does not tell its latest block"))?;
    let balance = match account {
        Some(account) => Some(
            client
                .request("eth_getBalance", json!([account, "latest"]))
                .await
                .map_err(|_| failed("does not tell a balance"))?,
        ),
        None => None,
    };
    Ok(Answers { client, head, balance })
}

fn clock(key: &ChainKey, head_secs: u64, now_secs: u64) -> Finding {
    let subject = format!("clock against {key}");
    if head_secs > now_secs + CLOCK_TOLERANCE_SECS {
        let late = head_secs - now_secs;
        return Finding::failed(
            subject,
            format!("this machine's clock is {late} s late; synchronise it (NTP)"),
        );
    }
    let age = now_secs.saturating_sub(head_secs);
    if age > OLD_HEAD_SECS {
        let detail = format!(
            "the latest block is {age} s old: the chain is idle, its endpoint stands still, or this clock is early"
        );
        return Finding::warning(subject, detail);
    }
    Finding::good(subject, format!("the latest block is {age} s old"))
}

fn funds(key: &ChainKey, balance: U256, least: Option<f64>) -> Finding {
    let subject = format!("balance on {key}");
    let coins = format_ether(balance);
    if balance.is_zero() {
        return Finding::failed(subject, "0: the posting account cannot pay for a transaction; fund it");
    }
    match least {
        Some(least) if coins.parse::<f64>().is_ok_and(|coins| coins < least) => Finding::warning(
            subject,
            format!("{coins}, below min_balance_alert = {least}; fund the posting account"),
        ),
        _ => Finding::good(subject, coins),
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

#[cfg(test)]
mod tests {
    use wavs_service::check::Verdict;

    use super::*;

    #[test]
    fn the_clock_is_judged_by_the_latest_block() {
        let key = "evm:1".parse().unwrap();
        for (head, now, verdict) in [
            (1_000, 1_000, Verdict::Good),
            (1_030, 1_000, Verdict::Good),
            (1_031, 1_000, Verdict::Failed),
            (1_000, 1_600, Verdict::Good),
            (1_000, 1_601, Verdict::Warning),
        ] {
            assert_eq!(clock(&key, head, now).verdict, verdict, "{head} {now}");
        }
    }

    #[test]
    fn an_empty_account_cannot_post() {
        let key = "evm:1".parse().unwrap();
        let coin = U256::from(10).pow(U256::from(18));
        for (balance, least, verdict) in [
            (U256::ZERO, None, Verdict::Failed),
            (coin, None, Verdict::Good),
            (coin, Some(1.0), Verdict::Good),
            (coin, Some(1.5), Verdict::Warning),
        ] {
            assert_eq!(funds(&key, balance, least).verdict, verdict, "{balance} {least:?}");
        }
    }
}
