//! `/v1/signers`: the services' signing keys, public side only, and the steps that an operator takes for them. Whatever
//! changes something is for the admin socket alone.

use std::str::FromStr;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wavs_ipc::contract::registry::{HistoryCursor, HistoryRow, RegistrationView, SignerView};
use wavs_types::{B256, EventId, EvmAddress, ServiceId};

use super::service_ref;
use crate::http::api::{Api, LIFECYCLE, READ};
use crate::http::body::JsonBody;
use crate::http::page::{self, Page};
use crate::http::problem::Problem;
use crate::http::time::rfc3339_ms;

/// Query of the history.
#[derive(Debug, Default, Deserialize)]
pub struct Form {
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Body of an acceptance.
#[derive(Debug, Default, Deserialize)]
pub struct Accept {
    /// Only this service; none: all.
    #[serde(default)]
    service_id: Option<String>,
}

/// A part of the history of what was signed.
#[derive(Debug, Deserialize)]
pub struct History {
    items: Vec<Item>,
}

/// One signature, as it is exported and imported.
#[derive(Debug, Serialize, Deserialize)]
pub struct Item {
    signer: EvmAddress,
    event_id: EventId,
    digest: B256,
    /// Hex of 65 bytes.
    signature: String,
    /// Microseconds since the Unix epoch.
    signed_at_us: u64,
}

/// `<signer>-<event id>`.
struct Cursor(HistoryCursor);

/// All keys, ascending by index.
pub async fn list(State(api): State<Api>) -> Result<Json<Page<Value>>, Problem> {
    let signers = api
        .registry(READ, async |client, context| client.signers(context).await)
        .await?;
    Ok(Json(Page {
        items: signers.iter().map(view).collect(),
        next_cursor: None,
    }))
}

/// Gives a service a new key.
pub async fn rotate(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let id: ServiceId = service_ref::parse("service id", &id)?;
    let signer = api
        .registry(LIFECYCLE, async |client, context| {
            client.rotate_signer(context, id).await
        })
        .await
        .map_err(|error| error.or_missing("service-not-found", service_ref::unknown(id)))?;
    Ok(Json(json!({
        "service_id": id.to_string(),
        "hd_index": signer.hd_index,
        "evm_address": checksummed(signer.address),
    })))
}

/// Lets keys sign although they have weight on chain and no history here.
pub async fn accept_empty_history(
    State(api): State<Api>,
    JsonBody(body): JsonBody<Accept>,
) -> Result<Json<Value>, Problem> {
    let id: Option<ServiceId> = page::optional("service_id", body.service_id.as_deref())?;
    let accepted = api
        .registry(READ, async |client, context| {
            client.accept_empty_history(context, id).await
        })
        .await
        .map_err(|error| error.or_missing("service-not-found", id.map(service_ref::unknown).unwrap_or_default()))?;
    let accepted: Vec<_> = accepted.iter().map(ToString::to_string).collect();
    Ok(Json(json!({ "accepted": accepted })))
}

/// A page of everything that was ever signed.
pub async fn export(State(api): State<Api>, Query(form): Query<Form>) -> Result<Json<Page<Item>>, Problem> {
    let limit = page::limit(form.limit)?;
    let after: Option<Cursor> = page::optional("cursor", form.cursor.as_deref())?;
    let after = after.map(|cursor| cursor.0);
    let rows = api
        .registry(READ, async |client, context| {
            client.export_history(context, after, limit + 1).await
        })
        .await?;
    let items = rows.into_iter().map(Item::from).collect();
    Ok(Json(Page::cut(items, limit, |item: &Item| {
        format!("{}-{}", item.signer, item.event_id)
    })))
}

/// Takes history of another node over: all of it, or none.
pub async fn import(State(api): State<Api>, JsonBody(body): JsonBody<History>) -> Result<Json<Value>, Problem> {
    let rows = body.items.into_iter().map(Item::row).collect::<Result<Vec<_>, _>>()?;
    let new = api
        .registry(LIFECYCLE, async |client, context| {
            client.import_history(context, rows).await
        })
        .await?;
    Ok(Json(json!({ "new": new })))
}

impl Item {
    fn row(self) -> Result<HistoryRow, Problem> {
        let signature = hex::decode(self.signature.trim_start_matches("0x"))
            .map_err(|cause| Problem::parameter(format!("the signature for event {}: {cause}", self.event_id)))?;
        Ok(HistoryRow {
            signer: self.signer.into_array(),
            event_id: self.event_id,
            digest: self.digest.0,
            signature,
            signed_at_us: self.signed_at_us,
        })
    }
}

impl From<HistoryRow> for Item {
    fn from(row: HistoryRow) -> Self {
        Self {
            signer: EvmAddress::from(row.signer),
            event_id: row.event_id,
            digest: B256::from(row.digest),
            signature: hex::encode(row.signature),
            signed_at_us: row.signed_at_us,
        }
    }
}

impl FromStr for Cursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "it is not a next_cursor of this list";
        let (signer, event_id) = text.split_once('-').ok_or(wrong)?;
        let signer: EvmAddress = signer.parse().map_err(|_| wrong)?;
        Ok(Self(HistoryCursor {
            signer: signer.into_array(),
            event_id: event_id.parse().map_err(|_| wrong)?,
        }))
    }
}

fn checksummed(address: [u8; 20]) -> String {
    EvmAddress::from(address).to_checksum(None)
}

fn registration_of(found: &RegistrationView) -> Value {
    json!({
        "status": found.status,
        "operator": found.operator.map(checksummed),
        "weight": found.weight,
    })
}

fn view(signer: &SignerView) -> Value {
    let registration = signer.registration.as_ref().map(registration_of);
    let mirrors: Vec<_> = signer
        .mirrors
        .iter()
        .map(|mirror| {
            json!({
                "chain": mirror.chain.to_string(),
                "manager": checksummed(mirror.manager).to_lowercase(),
                "registration": mirror.registration.as_ref().map(registration_of),
                "registration_error": mirror.error,
            })
        })
        .collect();
    let former: Vec<_> = signer
        .former
        .iter()
        .map(|(hd_index, address)| json!({"hd_index": hd_index, "evm_address": checksummed(*address)}))
        .collect();
    json!({
        "service_id": signer.service_id.to_string(),
        "name": signer.name,
        "hd_index": signer.hd_index,
        "evm_address": checksummed(signer.address),
        "state": signer.state,
        "history": signer.history,
        "refusal": signer.refusal,
        "registration": registration,
        "registration_error": signer.error,
        "target_managers": mirrors,
        "checked_at": signer.checked_at_ms.map(rfc3339_ms),
        "former": former,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_what_a_page_ends_with() {
        let item = Item {
            signer: EvmAddress::repeat_byte(0xab),
            event_id: EventId::new([7; 20]),
            digest: B256::ZERO,
            signature: String::new(),
            signed_at_us: 0,
        };
        let page = Page::cut(vec![item], 0, |item| format!("{}-{}", item.signer, item.event_id));
        assert!(page.next_cursor.is_none());
        let text = format!("{}-{}", EvmAddress::repeat_byte(0xab), EventId::new([7; 20]));
        let Cursor(cursor) = text.parse().ok().unwrap();
        assert_eq!((cursor.signer, cursor.event_id), ([0xab; 20], EventId::new([7; 20])));
        assert!("0xab".parse::<Cursor>().is_err());
    }
}
