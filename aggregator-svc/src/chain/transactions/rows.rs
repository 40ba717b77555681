//! Operations on the `tx` table. Each runs inside a transaction of the caller.

use std::time::{SystemTime, UNIX_EPOCH};

use alloy::primitives::{Address, B256, Bytes, U256};
use rusqlite::{OptionalExtension, Row as SqlRow, Transaction, named_params, types::Type};
use wavs_types::ChainKey;

use super::fees::Bid;
use super::raw::{Draft, Signed};
use crate::chain::wire::Receipt;

/// A day in milliseconds.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Delivers an event.
    Call,
    /// Only uses up a nonce.
    Cancel,
}

/// State of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Stored,
    Mined,
    Final,
    Reverted,
    Replaced,
    Dropped,
}

/// One signed transaction.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) chain: ChainKey,
    pub(super) nonce: u64,
    pub(super) target: String,
    pub(super) kind: Kind,
    pub(super) bid: Bid,
    pub(super) raw: Bytes,
    pub(super) hash: B256,
    pub(super) judged_at: u64,
    pub(super) state: State,
    pub(super) block_number: u64,
    pub(super) block_hash: B256,
    pub(super) cost: U256,
    pub(super) reason: Option<String>,
    pub(super) account: Account,
}

/// The account that nonces are counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Account {
    pub(super) chain_id: u64,
    pub(super) address: Address,
}

/// What a new row says besides the transaction.
#[derive(Debug, Clone)]
pub(super) struct Purpose {
    pub(super) chain: ChainKey,
    pub(super) target: String,
    pub(super) kind: Kind,
    pub(super) judged_at: u64,
}

const COLUMNS: &str = "id, chain, nonce, target, kind, max_fee, priority_fee, raw, hash, judged_at, state, block_number, block_hash, cost, reason, chain_id, account";

/// The first nonce that neither the chain (which has taken all below `floor`) nor an unfinished row has.
pub(super) fn next_nonce(tx: &Transaction<'_>, account: Account, floor: u64) -> rusqlite::Result<u64> {
    let highest: Option<i64> = tx
        .prepare_cached(
            "SELECT max(nonce) FROM tx WHERE chain_id = ?1 AND account = ?2 AND state IN ('stored', 'mined')",
        )?
        .query_row((signed(account.chain_id), account.address.as_slice()), |row| row.get(0))?;
    Ok(highest.map_or(floor, |nonce| floor.max(unsigned(nonce) + 1)))
}

/// Stores a signed transaction.
pub(super) fn insert(
    tx: &Transaction<'_>,
    account: Account,
    purpose: &Purpose,
    draft: &Draft,
    signed_tx: &Signed,
) -> rusqlite::Result<Row> {
    tx.prepare_cached(
        "INSERT INTO tx (chain, chain_id, account, nonce, target, kind, max_fee, priority_fee, gas, raw, hash, judged_at, state, created_ms)
         VALUES (:chain, :chain_id, :account, :nonce, :target, :kind, :max_fee, :priority_fee, :gas, :raw, :hash, :judged_at, 'stored', :now)",
    )?
    .execute(named_params! {
        ":chain": purpose.chain.as_str(),
        ":chain_id": signed(account.chain_id),
        ":account": account.address.as_slice(),
        ":nonce": signed(draft.nonce),
        ":target": purpose.target,
        ":kind": purpose.kind.name(),
        ":max_fee": draft.bid.max_fee.to_string(),
        ":priority_fee": draft.bid.priority.map(|fee| fee.to_string()),
        ":gas": signed(draft.gas),
        ":raw": signed_tx.raw.as_ref(),
        ":hash": signed_tx.hash.as_slice(),
        ":judged_at": signed(purpose.judged_at),
        ":now": now_ms(),
    })?;
    Ok(Row {
        id: tx.last_insert_rowid(),
        chain: purpose.chain.clone(),
        nonce: draft.nonce,
        target: purpose.target.clone(),
        kind: purpose.kind,
        bid: draft.bid,
        raw: signed_tx.raw.clone(),
        hash: signed_tx.hash,
        judged_at: purpose.judged_at,
        state: State::Stored,
        block_number: 0,
        block_hash: B256::ZERO,
        cost: U256::ZERO,
        reason: None,
        account,
    })
}

/// All versions with the nonce of the newest transaction of a target, oldest first.
pub(super) fn newest_of_target(tx: &Transaction<'_>, target: &str) -> rusqlite::Result<Vec<Row>> {
    let place: Option<(i64, Vec<u8>, i64)> = tx
        .prepare_cached("SELECT chain_id, account, nonce FROM tx WHERE target = ?1 ORDER BY id DESC LIMIT 1")?
        .query_row([target], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some(place) = place else { return Ok(Vec::new()) };
    tx.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM tx WHERE chain_id = ?1 AND account = ?2 AND nonce = ?3 AND target = ?4 ORDER BY id"
    ))?
    .query_map((place.0, place.1, place.2, target), row_of)?
    .collect()
}

/// All unfinished rows of an account, by nonce, then oldest first.
pub(super) fn unfinished(tx: &Transaction<'_>, address: Address) -> rusqlite::Result<Vec<Row>> {
    tx.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM tx WHERE account = ?1 AND state IN ('stored', 'mined') ORDER BY chain_id, nonce, id"
    ))?
    .query_map([address.as_slice()], row_of)?
    .collect()
}

/// Nonces of unfinished rows of an account, ascending.
pub(super) fn unfinished_nonces(tx: &Transaction<'_>, account: Account) -> rusqlite::Result<Vec<u64>> {
    tx.prepare_cached(
        "SELECT DISTINCT nonce FROM tx WHERE chain_id = ?1 AND account = ?2 AND state IN ('stored', 'mined') ORDER BY nonce",
    )?
    .query_map((signed(account.chain_id), account.address.as_slice()), |row| row.get::<_, i64>(0).map(unsigned))?
    .collect()
}

/// The highest nonce that was ever given to a transaction of an account.
pub(super) fn highest_nonce(tx: &Transaction<'_>, account: Account) -> rusqlite::Result<Option<u64>> {
    tx.prepare_cached("SELECT max(nonce) FROM tx WHERE chain_id = ?1 AND account = ?2")?
        .query_row((signed(account.chain_id), account.address.as_slice()), |row| {
            Ok(row.get::<_, Option<i64>>(0)?.map(unsigned))
        })
}

/// Wei spent and reserved by an account within the last day.
pub(super) fn spent_today(tx: &Transaction<'_>, account: Account) -> rusqlite::Result<U256> {
    let mut statement = tx.prepare_cached(
        "SELECT cost, max_fee, gas FROM tx
         WHERE chain_id = ?1 AND account = ?2 AND created_ms > ?3 AND state IN ('stored', 'mined', 'final', 'reverted')",
    )?;
    let mut rows = statement.query((signed(account.chain_id), account.address.as_slice(), now_ms() - DAY_MS))?;
    let mut sum = U256::ZERO;
    while let Some(row) = rows.next()? {
        let cost: Option<String> = row.get(0)?;
        let spent = match cost {
            Some(cost) => parse(0, &cost)?,
            None => parse::<U256>(1, &row.get::<_, String>(1)?)? * U256::from(unsigned(row.get(2)?)),
        };
        sum = sum.saturating_add(spent);
    }
    Ok(sum)
}

/// Records that one version is in a block; the others of its nonce are replaced by it.
pub(super) fn mined(
    tx: &Transaction<'_>,
    versions: &[i64],
    id: i64,
    receipt: &Receipt,
    state: State,
    reason: Option<&str>,
) -> rusqlite::Result<()> {
    for other in versions.iter().filter(|other| **other != id) {
        set_state(tx, *other, State::Replaced, None)?;
        wavs_store::fault::point("tx.replaced");
    }
    tx.prepare_cached(
        "UPDATE tx SET state = ?2, block_number = ?3, block_hash = ?4, cost = ?5, reason = ?6 WHERE id = ?1",
    )?
    .execute((
        id,
        state.name(),
        signed(receipt.block_number.to()),
        receipt.block_hash.as_slice(),
        receipt.cost().to_string(),
        reason,
    ))?;
    Ok(())
}

/// Moves one row to another state.
pub(super) fn set_state(tx: &Transaction<'_>, id: i64, state: State, reason: Option<&str>) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE tx SET state = ?2, reason = coalesce(?3, reason) WHERE id = ?1")?
        .execute((id, state.name(), reason))?;
    Ok(())
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Cancel => "cancel",
        }
    }
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Mined => "mined",
            Self::Final => "final",
            Self::Reverted => "reverted",
            Self::Replaced => "replaced",
            Self::Dropped => "dropped",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        let all = [
            Self::Stored,
            Self::Mined,
            Self::Final,
            Self::Reverted,
            Self::Replaced,
            Self::Dropped,
        ];
        all.into_iter().find(|state| state.name() == name)
    }
}

fn row_of(row: &SqlRow<'_>) -> rusqlite::Result<Row> {
    let state: String = row.get(10)?;
    let priority: Option<String> = row.get(6)?;
    Ok(Row {
        id: row.get(0)?,
        chain: parse(1, &row.get::<_, String>(1)?)?,
        nonce: unsigned(row.get(2)?),
        target: row.get(3)?,
        kind: if row.get::<_, String>(4)? == Kind::Call.name() {
            Kind::Call
        } else {
            Kind::Cancel
        },
        bid: Bid {
            max_fee: parse(5, &row.get::<_, String>(5)?)?,
            priority: priority.map(|fee| parse(6, &fee)).transpose()?,
        },
        raw: row.get::<_, Vec<u8>>(7)?.into(),
        hash: hash(row.get(8)?),
        judged_at: unsigned(row.get(9)?),
        state: State::parse(&state).ok_or_else(|| invalid(10, &state))?,
        block_number: row.get::<_, Option<i64>>(11)?.map_or(0, unsigned),
        block_hash: hash(row.get::<_, Option<Vec<u8>>>(12)?.unwrap_or_default()),
        cost: row
            .get::<_, Option<String>>(13)?
            .map_or(Ok(U256::ZERO), |cost| parse(13, &cost))?,
        reason: row.get(14)?,
        account: Account {
            chain_id: unsigned(row.get(15)?),
            address: Address::try_from(row.get::<_, Vec<u8>>(16)?.as_slice()).unwrap_or_default(),
        },
    })
}

fn parse<T: std::str::FromStr>(column: usize, text: &str) -> rusqlite::Result<T> {
    text.parse().map_err(|_| invalid(column, text))
}

fn invalid(column: usize, text: &str) -> rusqlite::Error {
    let cause = format!("`{text}` is no value of this column");
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, cause.into())
}

fn hash(bytes: Vec<u8>) -> B256 {
    B256::try_from(bytes.as_slice()).unwrap_or_default()
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// SQLite integers are signed; chain ids, nonces and heights above 2^63 do not occur.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
