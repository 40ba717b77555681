//! `/v1/transactions`: what this node signed for chains, newest first.

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use wavs_ipc::contract::records::{MAX_ROWS, TransactionQuery, TransactionView};

use super::quorums::address_text;
use crate::http::api::{Api, READ};
use crate::http::page::{self, Page};
use crate::http::problem::Problem;
use crate::http::time::rfc3339_ms;

/// Query of the list.
#[derive(Debug, Default, Deserialize)]
pub struct Filter {
    chain: Option<String>,
    state: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// A page of transactions.
pub async fn list(State(api): State<Api>, Query(filter): Query<Filter>) -> Result<Json<Page<Value>>, Problem> {
    let limit = page::limit(filter.limit)?.min(MAX_ROWS - 1);
    let query = TransactionQuery {
        chain: page::optional("chain", filter.chain.as_deref())?,
        state: filter.state,
        before: page::position(filter.cursor.as_deref())?,
        max: limit + 1,
    };
    let transactions = api
        .records(READ, async |client, context| client.transactions(context, query).await)
        .await?;
    Ok(Json(Page::cut(transactions, limit, |tx| tx.id.to_string()).map(view)))
}

fn view(tx: TransactionView) -> Value {
    json!({
        "chain": tx.chain.as_str(),
        "hash": format!("0x{}", hex::encode(tx.hash)),
        "from": address_text(tx.account),
        "nonce": tx.nonce,
        "kind": tx.kind,
        "event_id": tx.event_id.map(|id| id.to_string()),
        "handler": tx.handler,
        "state": tx.state,
        "max_fee_per_gas": tx.max_fee,
        "max_priority_fee_per_gas": tx.priority_fee,
        "gas_limit": tx.gas.to_string(),
        "cost": tx.cost,
        "replacements": tx.replacements,
        "receipt_block": tx.block,
        "reason": tx.reason,
        "created_at": rfc3339_ms(tx.created_at_ms),
    })
}
