//! Components that are ready to run.
//!
//! From source to code: bytes from the store or a download, compiled once per engine variant, linked once per world. Each
//! step happens off the async threads and for one caller at a time; others wait for its result. What will not change, such
//! as a compile error, is remembered like a success.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::future::BoxFuture;
use lru::LruCache;
use tokio::sync::{OnceCell, Semaphore};
use wasmtime::Engine;
use wasmtime::component::Component;
use wavs_ipc::contract::engine::World;
use wavs_types::{ComponentDigest, ComponentSource};

use super::engine::{PoolSize, Variant, engine};
use super::linkers::{Linkers, Prepared};
use super::ticker::Ticker;
use crate::components::{ComponentError, Sources, blocking};
use crate::metrics::Metrics;

/// Linked forms of one compiled component that are kept: one per world.
const WORLDS: NonZeroUsize = NonZeroUsize::new(2).unwrap();
/// Compilations at a time. Each of them uses all cores.
const COMPILERS: usize = 1;

/// The library.
pub(crate) struct Library {
    sources: Sources,
    engines: Engines,
    compilers: Arc<Semaphore>,
    compiled: Cache<(ComponentDigest, Variant), Component>,
    prepared: Cache<(ComponentDigest, Variant, World), Arc<Prepared>>,
    metrics: Arc<Metrics>,
}

type Remembered<T> = Arc<OnceCell<Result<T, ComponentError>>>;

/// A bounded memory of results, each computed by one caller.
struct Cache<K, T>(Mutex<LruCache<K, Remembered<T>>>);

/// The engines, made when first needed: few nodes ever meter.
struct Engines {
    size: PoolSize,
    ticker: Arc<Ticker>,
    epoch: OnceCell<Arc<EngineSet>>,
    metered: OnceCell<Arc<EngineSet>>,
}

struct EngineSet {
    engine: Engine,
    linkers: Linkers,
}

impl Library {
    pub(crate) fn new(
        sources: Sources,
        size: PoolSize,
        ticker: Arc<Ticker>,
        capacity: NonZeroUsize,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            sources,
            engines: Engines {
                size,
                ticker,
                epoch: OnceCell::new(),
                metered: OnceCell::new(),
            },
            compilers: Arc::new(Semaphore::new(COMPILERS)),
            compiled: Cache::new(capacity),
            prepared: Cache::new(capacity.saturating_mul(WORLDS)),
            metrics,
        }
    }

    /// The component of `source`, ready for runs in `world`.
    ///
    /// # Errors
    /// Any [`ComponentError`].
    pub(crate) async fn get(
        &self,
        source: ComponentSource,
        world: World,
        variant: Variant,
    ) -> Result<Arc<Prepared>, ComponentError> {
        let digest = source.digest();
        let entry = self.prepared.entry((digest, variant, world));
        self.metrics.component_cache(entry.initialized());
        entry
            .get_or_try_init(|| async { remember(self.prepare(source, world, variant).await) })
            .await?
            .clone()
    }

    /// Compiles `bytes`, which were just uploaded, so that they are known to be a component before they are stored.
    ///
    /// # Errors
    /// [`ComponentError::NotAComponent`] or [`ComponentError::Compile`].
    pub(crate) async fn check(&self, bytes: Vec<u8>) -> Result<(), ComponentError> {
        let digest = ComponentDigest::of(&bytes);
        let entry = self.compiled.entry((digest, Variant::Epoch));
        let compiled = entry.get_or_try_init(|| async { remember(self.compile(bytes, digest, Variant::Epoch).await) });
        compiled.await?.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// Boxed, because the compiler cannot see that nested futures over borrowed captures are `Send`.
    fn prepare(
        &self,
        source: ComponentSource,
        world: World,
        variant: Variant,
    ) -> BoxFuture<'_, Result<Arc<Prepared>, ComponentError>> {
        Box::pin(async move {
            let entry = self.compiled.entry((source.digest(), variant));
            let compiled = entry.get_or_try_init(|| self.compiled_from(source, variant));
            let component = compiled.await?.clone()?;
            let set = self.engines.get(variant).await?;
            blocking(move || set.linkers.prepare(&component, world).map(Arc::new)).await
        })
    }

    async fn compiled_from(
        &self,
        source: ComponentSource,
        variant: Variant,
    ) -> Result<Result<Component, ComponentError>, ComponentError> {
        let digest = source.digest();
        let bytes = self.sources.bytes(source).await?;
        remember(self.compile(bytes, digest, variant).await)
    }

    async fn compile(
        &self,
        bytes: Vec<u8>,
        digest: ComponentDigest,
        variant: Variant,
    ) -> Result<Component, ComponentError> {
        check_header(&bytes, digest)?;
        let set = self.engines.get(variant).await?;
        // The semaphore is never closed.
        let permit = self
            .compilers
            .clone()
            .acquire_owned()
            .await
            .map_err(|cause| ComponentError::Storage(cause.to_string()))?;
        let started = Instant::now();
        // The permit goes along, because compiling goes on after a caller that gives up.
        let compiled = blocking(move || {
            let _permit = permit;
            Component::from_binary(&set.engine, &bytes).map_err(|cause| ComponentError::Compile {
                digest,
                cause: format!("{cause:#}"),
            })
        })
        .await;
        let took = started.elapsed();
        self.metrics.compiled(took);
        tracing::info!(%digest, variant = variant.as_str(), seconds = took.as_secs_f64(), ok = compiled.is_ok(), "compiled a component");
        compiled
    }
}

impl<K: std::hash::Hash + Eq, T> Cache<K, T> {
    fn new(capacity: NonZeroUsize) -> Self {
        Self(Mutex::new(LruCache::new(capacity)))
    }

    fn entry(&self, key: K) -> Remembered<T> {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get_or_insert(key, Remembered::default).clone()
    }
}

impl Engines {
    async fn get(&self, variant: Variant) -> Result<Arc<EngineSet>, ComponentError> {
        let cell = match variant {
            Variant::Epoch => &self.epoch,
            Variant::Metered => &self.metered,
        };
        let size = self.size;
        let set = cell
            .get_or_try_init(|| async {
                let set = blocking(move || {
                    let failed = |cause: wasmtime::Error| {
                        ComponentError::Storage(format!("cannot make the WASM engine: {cause:#}"))
                    };
                    let engine = engine(variant, size).map_err(failed)?;
                    let linkers = Linkers::new(&engine).map_err(failed)?;
                    Ok(Arc::new(EngineSet { engine, linkers }))
                })
                .await?;
                self.ticker.add(&set.engine);
                Ok(set)
            })
            .await?;
        Ok(set.clone())
    }
}

/// A permanent failure is a result like any other; after the others the next caller tries again.
fn remember<T>(result: Result<T, ComponentError>) -> Result<Result<T, ComponentError>, ComponentError> {
    match result {
        Err(cause) if !cause.is_permanent() => Err(cause),
        result => Ok(result),
    }
}

/// Tells core modules and other files from components, before a compiler looks at them.
fn check_header(bytes: &[u8], digest: ComponentDigest) -> Result<(), ComponentError> {
    let not = |cause: &str| {
        Err(ComponentError::NotAComponent {
            digest,
            cause: cause.to_owned(),
        })
    };
    match bytes {
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => Ok(()),
        [0, b'a', b's', b'm', _, _, 0, 0, ..] => not("it is a core module"),
        [0, b'a', b's', b'm', ..] => not("its WASM layer is unknown"),
        _ => not("it does not begin like a WASM file"),
    }
}
