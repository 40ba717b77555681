//! What survives a restart: our records until they are retired or too old, those of others until then too, the bodies
//! behind them, and the peers that were met. One SQLite file, one writer.
//!
//! Everything here can be lost: other operators and aggregator-svc offer it again. A new store has a new id, by which
//! aggregator-svc notices.

mod bodies;
mod bridged;
mod peers;
mod records;
mod schema;

use std::path::Path;

use tokio::sync::watch;
use wavs_ipc::contract::gossip::{InboxCursor, InboxItem};
use wavs_store::{Database, Durability, StoreError, Transaction};
use wavs_types::{B256, EventId, ServiceId, SignedRecord};

use crate::wire::v1::Heard;

pub use bridged::Outgoing;
pub use peers::KnownPeer;
pub use records::{Held, SHORT_ID, Window};

/// The open store. Clones share it.
#[derive(Clone)]
pub struct Store {
    database: Database,
    id: u128,
    /// Counted up when something new came into the inbox.
    arrived: watch::Sender<u64>,
    /// Counted up when there is something new at all.
    news: watch::Sender<u64>,
}

impl Store {
    /// Opens or creates the store at `path`.
    ///
    /// # Errors
    /// When the file cannot be opened or was written by a newer version.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Database::open(path, schema::MIGRATIONS)?;
        let id = database
            .writer()
            .write(Durability::Process, |tx| {
                records::store_id(tx).map_err(StoreError::from)
            })
            .await?;
        Ok(Self {
            database,
            id,
            arrived: watch::Sender::new(0),
            news: watch::Sender::new(0),
        })
    }

    /// Drawn when the store was made.
    #[must_use]
    pub fn id(&self) -> u128 {
        self.id
    }

    /// Follows the inbox.
    #[must_use]
    pub fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrived.subscribe()
    }

    /// Follows all that is stored, ours and others'.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Keeps a record of our own with its body. A repeat changes nothing.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn publish(
        &self,
        record: SignedRecord,
        body: Vec<u8>,
        now_ms: u64,
        ttl_ms: u64,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            records::insert(tx, &record, true, now_ms, ttl_ms)?;
            if !body.is_empty() {
                bodies::insert(
                    tx,
                    &record.record().service_id,
                    record.record().event_id(),
                    &body,
                    now_ms + ttl_ms,
                )?;
            }
            Ok(())
        })
        .await?;
        self.news.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Keeps records of others, each with the life in milliseconds that its service gives it. Answers how many are new.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn receive(&self, received: Vec<(SignedRecord, u64)>, now_ms: u64) -> Result<usize, StoreError> {
        let new = self
            .write(move |tx| {
                let mut new = 0;
                for (record, ttl_ms) in &received {
                    new += usize::from(records::insert(tx, record, false, now_ms, *ttl_ms)?);
                }
                Ok(new)
            })
            .await?;
        if new > 0 {
            self.arrived.send_modify(|count| *count += 1);
            self.news.send_modify(|count| *count += 1);
        }
        Ok(new)
    }

    /// Keeps submissions of generation 1, each with the life in milliseconds that its service gives it. Answers how many are
    /// new.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn bridge(&self, heard: Vec<(Heard, u64)>, now_ms: u64) -> Result<usize, StoreError> {
        let new = self
            .write(move |tx| {
                let mut new = 0;
                for (heard, ttl_ms) in &heard {
                    new += usize::from(bridged::insert(tx, heard, now_ms, *ttl_ms)?);
                }
                Ok(new)
            })
            .await?;
        if new > 0 {
            self.arrived.send_modify(|count| *count += 1);
        }
        Ok(new)
    }

    /// Attestations after `after` that were issued since `since_ms` and whose body is here, oldest first: our own, and with
    /// `relay` those of others that did not come by the bridge themselves. At most `max`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn outgoing(
        &self,
        after: u64,
        since_ms: u64,
        relay: bool,
        max: usize,
    ) -> Result<Vec<Outgoing>, StoreError> {
        self.read(move |conn| bridged::outgoing(conn, after, since_ms, relay, max))
            .await
    }

    /// Attestations of others for an event that [`Self::outgoing`] passed because their body was not here yet.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn relayed(&self, service: ServiceId, event: EventId) -> Result<Vec<Outgoing>, StoreError> {
        self.read(move |conn| bridged::relayed(conn, &service, &event)).await
    }

    /// The inbox after `after`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn inbox(&self, after: InboxCursor, max: u32) -> Result<Vec<InboxItem>, StoreError> {
        let after = if after.store == self.id { after.seq } else { 0 };
        self.read(move |conn| records::inbox(conn, after, max)).await
    }

    /// Notes that aggregator-svc has everything up to `upto`.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn ack(&self, upto: InboxCursor) -> Result<(), StoreError> {
        if upto.store != self.id {
            return Ok(());
        }
        self.write(move |tx| records::ack(tx, upto.seq)).await
    }

    /// Forgets the attestations and bodies of events that are over, and remembers that they are.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn retire(&self, service: ServiceId, events: Vec<EventId>, until_ms: u64) -> Result<(), StoreError> {
        self.write(move |tx| {
            events
                .iter()
                .try_for_each(|event| records::retire(tx, &service, event, until_ms))
        })
        .await
    }

    /// The events that are over, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn retired(&self) -> Result<Vec<(ServiceId, EventId)>, StoreError> {
        self.read(records::retired).await
    }

    /// Takes a record out.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn remove(&self, id: B256) -> Result<(), StoreError> {
        self.write(move |tx| records::remove(tx, &id)).await
    }

    /// Drops what is too old.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn sweep(&self, now_ms: u64) -> Result<(), StoreError> {
        self.write(move |tx| {
            records::sweep(tx, now_ms)?;
            bodies::trim(tx)
        })
        .await
    }

    /// Names of the records that are held for a service, newest first: of at most `max`, issued before `before_ms`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn held(&self, service: ServiceId, before_ms: u64, max: usize) -> Result<Held, StoreError> {
        self.read(move |conn| records::held(conn, &service, before_ms, max))
            .await
    }

    /// Records of a window that the asker does not have, newest first, and whether there are more.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn missing(&self, window: Window) -> Result<(Vec<Vec<u8>>, bool), StoreError> {
        self.read(move |conn| records::missing(conn, &window)).await
    }

    /// A body.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn body(&self, digest: B256) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(move |conn| bodies::load(conn, &digest)).await
    }

    /// Keeps a body that was fetched.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn keep_body(&self, service: ServiceId, body: Vec<u8>, expires_ms: u64) -> Result<(), StoreError> {
        self.write(move |tx| bodies::insert(tx, &service, None, &body, expires_ms))
            .await
    }

    /// The peers that were met, latest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn known_peers(&self) -> Result<Vec<KnownPeer>, StoreError> {
        self.read(peers::all).await
    }

    /// Remembers that a peer was reached at an address.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn met(&self, peer: KnownPeer, now_ms: u64) -> Result<(), StoreError> {
        self.write(move |tx| peers::met(tx, &peer, now_ms)).await
    }

    async fn write<T, F>(&self, change: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let change = move |tx: &Transaction<'_>| change(tx).map_err(StoreError::from);
        self.database.writer().write(Durability::Process, change).await
    }

    async fn read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        F: FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.database
            .reader()
            .read(move |conn| query(conn).map_err(StoreError::from))
            .await
    }
}

#[cfg(test)]
mod tests;
