//! `wasi:keyvalue@0.2.0-draft2` for guests, over the durable store.
//!
//! What a guest did wrong (sizes, quota, overflow) is an error value to it; a failure of the disk ends the run as a fault
//! of the host, so that it is repeated rather than taken for the guest's answer.

use std::sync::Arc;

use wasmtime::component::Resource;

use super::fault::HostFault;
use super::state::GuestState;
use crate::bindings::operator::wasi::keyvalue::{atomics, batch, store};
use crate::kv::{KvError, MAX_KEY};

/// The host side of `store.bucket`.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Bucket {
    name: Arc<str>,
}

impl Bucket {
    /// The name may be as long as a call to the host can carry. Of one that is too long, no more is kept than it takes the
    /// store to refuse it.
    fn named(name: &str) -> Self {
        Self {
            name: name[..name.ceil_char_boundary(MAX_KEY + 1)].into(),
        }
    }
}

/// The host side of `atomics.cas`: a key, which the store has not refused, and the version that it had.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Cas {
    bucket: Arc<str>,
    key: String,
    version: Option<i64>,
}

type Reply<T> = wasmtime::Result<Result<T, store::Error>>;

impl store::Host for GuestState {
    async fn open(&mut self, identifier: String) -> Reply<Resource<Bucket>> {
        Ok(Ok(self.table.push(Bucket::named(&identifier))?))
    }
}

impl store::HostBucket for GuestState {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Reply<Option<Vec<u8>>> {
        let name = self.bucket(&bucket)?;
        reply(self.kv.get(&name, key).await)
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Reply<()> {
        let name = self.bucket(&bucket)?;
        reply(self.kv.set_many(&name, vec![(key, value)]).await)
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Reply<()> {
        let name = self.bucket(&bucket)?;
        reply(self.kv.delete_many(&name, vec![key]).await)
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Reply<bool> {
        let name = self.bucket(&bucket)?;
        reply(self.kv.version(&name, key).await.map(|version| version.is_some()))
    }

    async fn list_keys(&mut self, bucket: Resource<Bucket>, cursor: Option<String>) -> Reply<store::KeyResponse> {
        let name = self.bucket(&bucket)?;
        reply(self.kv.list(&name, cursor).await.map(|page| store::KeyResponse {
            keys: page.keys,
            cursor: page.next,
        }))
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for GuestState {
    async fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: i64) -> Reply<i64> {
        let name = self.bucket(&bucket)?;
        reply(self.kv.increment(&name, key, delta).await)
    }

    async fn swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> wasmtime::Result<Result<(), atomics::CasError>> {
        let Cas { bucket, key, version } = self.table.delete(cas)?;
        match reply(self.kv.swap(&bucket, key.clone(), version, value).await)? {
            Err(error) => Ok(Err(atomics::CasError::StoreError(error))),
            Ok(Ok(())) => Ok(Ok(())),
            Ok(Err(version)) => {
                let fresh = self.table.push(Cas { bucket, key, version })?;
                Ok(Err(atomics::CasError::CasFailed(fresh)))
            }
        }
    }
}

impl atomics::HostCas for GuestState {
    async fn new(&mut self, bucket: Resource<Bucket>, key: String) -> Reply<Resource<Cas>> {
        let bucket = self.bucket(&bucket)?;
        match reply(self.kv.version(&bucket, key.clone()).await)? {
            Err(error) => Ok(Err(error)),
            Ok(version) => Ok(Ok(self.table.push(Cas { bucket, key, version })?)),
        }
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Reply<Option<Vec<u8>>> {
        let (bucket, key) = {
            let cas = self.table.get(&cas)?;
            (cas.bucket.clone(), cas.key.clone())
        };
        match reply(self.kv.get_versioned(&bucket, key).await)? {
            Err(error) => Ok(Err(error)),
            Ok(found) => {
                self.table.get_mut(&cas)?.version = found.as_ref().map(|found| found.version);
                Ok(Ok(found.map(|found| found.value)))
            }
        }
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl batch::Host for GuestState {
    async fn get_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Reply<Vec<Option<(String, Vec<u8>)>>> {
        let name = self.bucket(&bucket)?;
        reply(self.kv.get_many(&name, keys).await)
    }

    async fn set_many(&mut self, bucket: Resource<Bucket>, entries: Vec<(String, Vec<u8>)>) -> Reply<()> {
        let name = self.bucket(&bucket)?;
        reply(self.kv.set_many(&name, entries).await)
    }

    async fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Reply<()> {
        let name = self.bucket(&bucket)?;
        reply(self.kv.delete_many(&name, keys).await)
    }
}

impl GuestState {
    fn bucket(&self, bucket: &Resource<Bucket>) -> wasmtime::Result<Arc<str>> {
        Ok(self.table.get(bucket)?.name.clone())
    }
}

fn reply<T>(result: Result<T, KvError>) -> Reply<T> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) if error.is_guest() => Ok(Err(store::Error::Other(error.to_string()))),
        Err(error) => Err(wasmtime::Error::new(HostFault(error.to_string()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_of_a_name_than_it_takes_to_refuse_it() {
        for name in [String::new(), "b".repeat(MAX_KEY), "ä".repeat(MAX_KEY / 2)] {
            assert_eq!(*Bucket::named(&name).name, *name);
        }
        for (before, unit) in [(0, "b"), (0, "ä"), (0, "€"), (0, "🦀"), (MAX_KEY - 1, "🦀")] {
            let name = "b".repeat(before) + &unit.repeat(2 * MAX_KEY);
            let kept = Bucket::named(&name).name.len();
            assert!((MAX_KEY + 1..=MAX_KEY + 4).contains(&kept), "{unit}: {kept}");
        }
    }
}
