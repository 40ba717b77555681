//! Carries a request out.

use operator_kit::wasi::keyvalue::atomics::{Cas, CasError, increment, swap};
use operator_kit::wasi::keyvalue::batch::{delete_many, get_many, set_many};
use operator_kit::wasi::keyvalue::store::{Error, open};

use crate::protocol::{Reply, Request};

pub fn serve(request: Request) -> Result<Reply, String> {
    match request {
        Request::Write { bucket, key, value } => {
            open(&bucket)
                .and_then(|handle| handle.set(&key, &value))
                .map_err(refused)?;
            Ok(Reply::Write)
        }
        Request::Read { bucket, key } => {
            let value = open(&bucket).and_then(|handle| handle.get(&key)).map_err(refused)?;
            Ok(Reply::Read {
                value: value.ok_or_else(|| missing(&key, &bucket))?,
            })
        }
        Request::AtomicIncrement { bucket, key, delta } => {
            let value = open(&bucket)
                .and_then(|handle| increment(&handle, &key, delta))
                .map_err(refused)?;
            Ok(Reply::AtomicIncrement { value })
        }
        Request::AtomicSwap { bucket, key, value } => {
            let cas = open(&bucket)
                .and_then(|handle| Cas::new(&handle, &key))
                .map_err(refused)?;
            swap(cas, &value).map_err(|error| match error {
                CasError::StoreError(error) => refused(error),
                CasError::CasFailed(_) => format!("key {key} of bucket {bucket} was changed by another writer"),
            })?;
            Ok(Reply::AtomicSwap)
        }
        Request::AtomicRead { bucket, key } => {
            let cas = open(&bucket)
                .and_then(|handle| Cas::new(&handle, &key))
                .map_err(refused)?;
            let value = cas.current().map_err(refused)?;
            Ok(Reply::AtomicRead {
                value: value.ok_or_else(|| missing(&key, &bucket))?,
            })
        }
        Request::AtomicRace {
            bucket,
            key,
            other,
            value,
            refresh,
        } => {
            let handle = open(&bucket).map_err(refused)?;
            let cas = Cas::new(&handle, &key).map_err(refused)?;
            handle.set(&key, &other).map_err(refused)?;
            let refreshed = refresh.then(|| cas.current()).transpose().map_err(refused)?;
            match swap(cas, &value) {
                Ok(()) => Ok(Reply::AtomicRace {
                    failed: false,
                    seen: refreshed.flatten(),
                }),
                Err(CasError::StoreError(error)) => Err(refused(error)),
                Err(CasError::CasFailed(fresh)) => {
                    let seen = fresh.current().map_err(refused)?;
                    swap(fresh, &value).map_err(|error| format!("the fresh handle failed as well: {error:?}"))?;
                    Ok(Reply::AtomicRace { failed: true, seen })
                }
            }
        }
        Request::BatchRead { bucket, keys } => {
            let values = open(&bucket)
                .and_then(|handle| get_many(&handle, &keys))
                .map_err(refused)?;
            Ok(Reply::BatchRead {
                values: values.into_iter().flatten().collect(),
            })
        }
        Request::BatchWrite { bucket, values } => {
            let values: Vec<_> = values.into_iter().collect();
            open(&bucket)
                .and_then(|handle| set_many(&handle, &values))
                .map_err(refused)?;
            Ok(Reply::BatchWrite)
        }
        Request::BatchDelete { bucket, keys } => {
            open(&bucket)
                .and_then(|handle| delete_many(&handle, &keys))
                .map_err(refused)?;
            Ok(Reply::BatchDelete)
        }
        Request::ListKeys { bucket, cursor } => {
            let page = open(&bucket)
                .and_then(|handle| handle.list_keys(cursor.as_deref()))
                .map_err(refused)?;
            Ok(Reply::ListKeys {
                keys: page.keys,
                cursor: page.cursor,
            })
        }
    }
}

fn missing(key: &str, bucket: &str) -> String {
    format!("Missing key: {key} for bucket {bucket}")
}

fn refused(error: Error) -> String {
    format!("the store refused: {error:?}")
}
