//! The key-value store as one run sees it: each write at once, or all of them with the success of the run.

use super::ServiceKv;
use super::marks::Mark;
use super::ops::{KvError, Page, Versioned, check_batch};
use super::transaction::KvTransaction;

/// The store of one run.
pub(crate) enum GuestKv {
    /// A write that returned to the guest is stored.
    Immediate(ServiceKv),
    /// Writes are stored by [`GuestKv::commit`]. Absent after that.
    Transactional(Option<Box<KvTransaction>>),
}

impl GuestKv {
    /// A store whose writes wait for the end of the run that `mark` names.
    pub(crate) fn transactional(kv: ServiceKv, mark: Mark) -> Self {
        Self::Transactional(Some(Box::new(KvTransaction::new(kv, mark))))
    }

    /// The result of an earlier attempt at the same run, whose writes were committed.
    pub(crate) async fn finished(&self) -> Result<Option<Vec<u8>>, KvError> {
        match self {
            Self::Transactional(Some(own)) => own.finished().await,
            _ => Ok(None),
        }
    }

    /// Whether writes wait for [`GuestKv::commit`]; also true after that, and for a run without any.
    pub(crate) fn is_transactional(&self) -> bool {
        matches!(self, Self::Transactional(_))
    }

    /// Stores what was kept back, with the result of the run.
    ///
    /// # Errors
    /// [`KvError::Conflict`] when another run was faster; then nothing is stored.
    pub(crate) async fn commit(&mut self, result: Vec<u8>) -> Result<(), KvError> {
        match self {
            Self::Transactional(own) => match own.take() {
                Some(own) => own.commit(result).await,
                None => Ok(()),
            },
            Self::Immediate(_) => Ok(()),
        }
    }

    pub(crate) async fn get(&mut self, bucket: &str, key: String) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.get_versioned(bucket, key).await?.map(|found| found.value))
    }

    pub(crate) async fn get_versioned(&mut self, bucket: &str, key: String) -> Result<Option<Versioned>, KvError> {
        match self {
            Self::Immediate(kv) => kv.get_versioned(bucket, key).await,
            Self::Transactional(own) => open(own)?.get(bucket, key).await,
        }
    }

    pub(crate) async fn version(&mut self, bucket: &str, key: String) -> Result<Option<i64>, KvError> {
        match self {
            Self::Immediate(kv) => kv.version(bucket, key).await,
            Self::Transactional(own) => open(own)?.version(bucket, key).await,
        }
    }

    pub(crate) async fn list(&mut self, bucket: &str, from: Option<String>) -> Result<Page, KvError> {
        match self {
            Self::Immediate(kv) => kv.list(bucket, from).await,
            Self::Transactional(own) => open(own)?.list(bucket, from).await,
        }
    }

    pub(crate) async fn get_many(
        &mut self,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, KvError> {
        check_batch(keys.len())?;
        match self {
            Self::Immediate(kv) => kv.get_many(bucket, keys).await,
            Self::Transactional(own) => open(own)?.get_many(bucket, keys).await,
        }
    }

    pub(crate) async fn set_many(&mut self, bucket: &str, entries: Vec<(String, Vec<u8>)>) -> Result<(), KvError> {
        check_batch(entries.len())?;
        match self {
            Self::Immediate(kv) => kv.set_many(bucket, entries).await,
            Self::Transactional(own) => open(own)?.set_many(bucket, entries),
        }
    }

    pub(crate) async fn delete_many(&mut self, bucket: &str, keys: Vec<String>) -> Result<(), KvError> {
        check_batch(keys.len())?;
        match self {
            Self::Immediate(kv) => kv.delete_many(bucket, keys).await,
            Self::Transactional(own) => open(own)?.delete_many(bucket, keys),
        }
    }

    pub(crate) async fn increment(&mut self, bucket: &str, key: String, delta: i64) -> Result<i64, KvError> {
        match self {
            Self::Immediate(kv) => kv.increment(bucket, key, delta).await,
            Self::Transactional(own) => open(own)?.increment(bucket, key, delta).await,
        }
    }

    /// Stores `value` if the key is still at `pinned`; otherwise returns the version found.
    pub(crate) async fn swap(
        &mut self,
        bucket: &str,
        key: String,
        pinned: Option<i64>,
        value: Vec<u8>,
    ) -> Result<Result<(), Option<i64>>, KvError> {
        match self {
            Self::Immediate(kv) => kv.swap(bucket, key, pinned, value).await,
            Self::Transactional(own) => open(own)?.swap(bucket, key, pinned, value).await,
        }
    }
}

fn open(own: &mut Option<Box<KvTransaction>>) -> Result<&mut KvTransaction, KvError> {
    own.as_deref_mut()
        .ok_or_else(|| KvError::Storage("the run is committed already; this is a bug".to_owned()))
}
