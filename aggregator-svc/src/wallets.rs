//! Tells people how the posting accounts are: on the status board as soon as something changes, and to the API when asked.

use alloy::primitives::U256;
use tokio_util::sync::CancellationToken;
use wavs_ipc::contract::registry::{ChainAccount, ChainEndpoint};
use wavs_service::StatusBoard;

use crate::chain::{AccountState, Chains, EndpointHealth, Funds, Transactions};

/// Keeps the status board up to date until `stop`.
pub(crate) async fn report(status: StatusBoard, transactions: Transactions, stop: CancellationToken) {
    let mut news = transactions.news();
    loop {
        news.mark_unchanged();
        for account in transactions.accounts() {
            let part = format!("account on {}", account.chain);
            match alarm(&account) {
                Some(text) => status.degrade(part, text),
                None => status.recover(&part),
            }
            let balance = account.balance.map_or("unknown".to_owned(), coins);
            status.fact(
                format!("balance on {}", account.chain),
                format!("{balance} ({})", account.funds.name()),
            );
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = news.changed() => if changed.is_err() { return },
        }
    }
}

/// All chains with their accounts and endpoints.
pub(crate) fn views(chains: &Chains, transactions: &Transactions) -> Vec<ChainAccount> {
    let accounts = transactions.accounts();
    let view = |(chain, endpoints): (_, Vec<EndpointHealth>)| {
        let state = accounts.iter().find(|account| account.chain == chain);
        ChainAccount {
            chain,
            account: transactions.address().map(Into::into),
            balance: state.and_then(|state| state.balance).map(|wei| wei.to_string()),
            typical_cost: state.and_then(|state| state.usual_cost).map(|wei| wei.to_string()),
            funds: state.map_or(Funds::Unknown, |state| state.funds).name().to_owned(),
            pending: state.map_or(0, |state| state.pending),
            nonce_gap: state.map_or(0, |state| state.nonce_gap),
            endpoints: endpoints.into_iter().map(endpoint).collect(),
        }
    };
    chains.health().into_iter().map(view).collect()
}

fn endpoint(health: EndpointHealth) -> ChainEndpoint {
    ChainEndpoint {
        endpoint: health.endpoint,
        state: health.state.to_owned(),
        faults: health.faults,
        last_fault: health.last_fault,
        latency_us: health
            .latency
            .map(|latency| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)),
        head: health.head,
    }
}

/// What is wrong with an account, and what to do; nothing while its results can be posted.
fn alarm(account: &AccountState) -> Option<String> {
    let AccountState {
        chain,
        account: address,
        ..
    } = account;
    match account.funds {
        Funds::Unknown | Funds::Ok | Funds::Low => None,
        Funds::Critical => Some(format!(
            "the posting account {address} on {chain} has {} coins left, which is critical; send funds to it",
            account.balance.map_or("no".to_owned(), coins)
        )),
        Funds::Unfunded => Some(format!(
            "the posting account {address} on {chain} cannot pay for its transactions; send funds to it, posting resumes by itself"
        )),
    }
}

/// Wei as whole coins with six digits, cut and not rounded, so that it never shows more than there is.
fn coins(wei: U256) -> String {
    let micro = wei / U256::from(1_000_000_000_000_u64);
    let million = U256::from(1_000_000);
    format!("{}.{:0>6}", micro / million, (micro % million).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wei_are_shown_as_coins() {
        for (wei, text) in [
            (0_u128, "0.000000"),
            (999_999_999_999, "0.000000"),
            (1_500_000_000_000_000_000, "1.500000"),
            (42_000_001_000_000_000_000, "42.000001"),
        ] {
            assert_eq!(coins(U256::from(wei)), text);
        }
    }

    #[test]
    fn only_what_stops_posting_degrades_the_process() {
        let account = |funds| AccountState {
            chain: "evm:1".parse().unwrap(),
            account: Default::default(),
            balance: Some(U256::from(1)),
            usual_cost: None,
            funds,
            pending: 0,
            nonce_gap: 0,
        };
        assert_eq!(alarm(&account(Funds::Low)), None);
        assert!(
            alarm(&account(Funds::Critical))
                .unwrap()
                .contains("evm:1 has 0.000000 coins left")
        );
        assert!(alarm(&account(Funds::Unfunded)).unwrap().contains("send funds"));
    }
}
