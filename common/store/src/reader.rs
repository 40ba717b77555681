//! Queries on a small pool of read-only connections, off the async threads.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::database::open_read_only;
use crate::error::StoreError;

/// Queries that run at once; further ones wait for their turn. SQLite readers never block the writer.
const CONNECTIONS: usize = 4;

/// Runs read-only queries. Clones share the pool.
#[derive(Clone)]
pub struct Reader {
    pool: Arc<Pool>,
}

struct Pool {
    path: PathBuf,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Reader {
    pub(crate) fn new(path: PathBuf) -> Self {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        Self {
            pool: Arc::new(Pool {
                path,
                permits,
                idle: Mutex::new(Vec::with_capacity(CONNECTIONS)),
            }),
        }
    }

    /// Runs `query` and returns its answer. It sees every write that was answered before this call.
    /// Needs a tokio runtime. A query that was started runs to its end even if the caller goes away.
    ///
    /// # Errors
    /// What `query` returns; [`StoreError::Panicked`] when it panics; an opening error of the connection.
    pub async fn read<T, E, F>(&self, query: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let permit = Arc::clone(&self.pool.permits)
            .acquire_owned()
            .await
            .map_err(|_| StoreError::Closed)?;
        let pool = Arc::clone(&self.pool);
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let connection = pool.take()?;
            let answer = query(&connection);
            pool.put(connection);
            answer
        });
        match work.await {
            Ok(answer) => answer,
            Err(cause) if cause.is_panic() => Err(StoreError::Panicked.into()),
            Err(_) => Err(StoreError::Closed.into()),
        }
    }
}

impl Pool {
    fn take(&self) -> Result<Connection, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| open_read_only(&self.path), Ok)
    }

    fn put(&self, connection: Connection) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection);
    }
}
