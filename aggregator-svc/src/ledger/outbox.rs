//! The transactions of this node as the API shows them; the transaction manager owns their rows.

use rusqlite::{Connection, Result, Row};
use wavs_ipc::contract::records::{MAX_ROWS, TransactionQuery, TransactionView};
use wavs_types::EventId;

use super::columns::parsed;
use super::select::{Select, integer};

/// Transactions that match, newest first.
pub fn list(conn: &Connection, query: &TransactionQuery) -> Result<Vec<TransactionView>> {
    Select::new(
        "SELECT tx.id, tx.chain, account, nonce, hash, kind, event_id, handler, tx.state, max_fee, priority_fee, gas, cost,
                (SELECT count(*) FROM tx AS older WHERE older.chain_id = tx.chain_id AND older.account = tx.account
                     AND older.nonce = tx.nonce AND older.id < tx.id),
                block_number, reason, created_ms
         FROM tx LEFT JOIN targets ON targets.id = CAST(substr(tx.target, 8) AS INTEGER) AND tx.target = 'target/' || targets.id
         WHERE 1",
    )
    .with("tx.chain = ?", query.chain.as_ref().map(|chain| chain.as_str().to_owned()))
    .with("tx.state = ?", query.state.clone())
    .with("tx.id < ?", query.before.map(integer))
    .rows(conn, "tx.id DESC", query.max, MAX_ROWS, view)
}

fn view(row: &Row<'_>) -> Result<TransactionView> {
    Ok(TransactionView {
        id: row.get(0)?,
        chain: parsed(row, 1)?,
        account: row.get(2)?,
        nonce: row.get(3)?,
        hash: row.get(4)?,
        kind: row.get(5)?,
        event_id: row.get::<_, Option<[u8; 20]>>(6)?.map(EventId::new),
        handler: row.get(7)?,
        state: row.get(8)?,
        max_fee: row.get(9)?,
        priority_fee: row.get(10)?,
        gas: row.get(11)?,
        cost: row.get(12)?,
        replacements: row.get(13)?,
        block: row.get(14)?,
        reason: row.get(15)?,
        created_at_ms: row.get(16)?,
    })
}
