//! Components that are ready to run.
//!
//! From source to code: mapped from the cache of compiled code, or else fetched and compiled there first; linked once per
//! world. Each step happens off the async threads and for one caller at a time; others wait for its result. What will not
//! change, such as a compile error, is remembered like a success.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::future::BoxFuture;
use lru::LruCache;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use wasmtime::Engine;
use wasmtime::component::Component;
use wavs_ipc::contract::engine::World;
use wavs_types::{ComponentDigest, ComponentSource};

use super::engine::{PoolSize, Variant, engine};
use super::linkers::{Linkers, Prepared};
use super::ticker::Ticker;
use crate::compiler::{Compiler, Lookup};
use crate::components::{ComponentError, Sources, blocking};
use crate::metrics::{CodeFrom, Metrics};

/// Linked forms of one compiled component that are kept: one per world.
const WORLDS: NonZeroUsize = NonZeroUsize::new(2).unwrap();

/// The library.
pub(crate) struct Library {
    sources: Sources,
    engines: Engines,
    compiler: Arc<Compiler>,
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
    /// In the order of [`Variant::ALL`].
    sets: [OnceCell<Arc<EngineSet>>; Variant::ALL.len()],
}

struct EngineSet {
    engine: Engine,
    linkers: Linkers,
}

impl Library {
    pub(crate) fn new(
        sources: Sources,
        compiler: Compiler,
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
                sets: Default::default(),
            },
            compiler: Arc::new(compiler),
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

    /// Compiles a component that was just stored, so that it is known to be one.
    ///
    /// # Errors
    /// Any [`ComponentError`]; a permanent one when it is none, or none that this node can run.
    pub(crate) async fn check(&self, digest: ComponentDigest) -> Result<(), ComponentError> {
        let entry = self.compiled.entry((digest, Variant::Epoch));
        let source = ComponentSource::Digest(digest);
        let compiled = entry.get_or_try_init(|| self.compiled_from(source, Variant::Epoch));
        compiled.await?.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// Forgets a component that was removed from the store. Runs that have it already go on.
    pub(crate) fn forget(&self, digest: &ComponentDigest) {
        self.prepared.forget(|(of, ..)| of == digest);
        self.compiled.forget(|(of, _)| of == digest);
    }

    /// Cancelled when nothing can be compiled any more, and when nothing can be downloaded.
    pub(crate) fn helpers(&self) -> [CancellationToken; 2] {
        [self.compiler.gone(), self.sources.gone()]
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
            let exports = blocking(move || set.linkers.prepare(&component, world)).await?;
            let metrics = self.metrics.clone();
            Ok(Arc::new(Prepared { exports, metrics }))
        })
    }

    async fn compiled_from(
        &self,
        source: ComponentSource,
        variant: Variant,
    ) -> Result<Result<Component, ComponentError>, ComponentError> {
        remember(self.code(source, variant).await)
    }

    /// From the cache on disk; what is not there is fetched and compiled.
    async fn code(&self, source: ComponentSource, variant: Variant) -> Result<Component, ComponentError> {
        let digest = source.digest();
        let set = self.engines.get(variant).await?;
        let mut replace = false;
        // Compiled code alone is not enough: a component that was removed from the store is gone.
        if self.sources.contains(digest).await? {
            match self.load(set.clone(), digest, variant).await? {
                Lookup::Code(component) => {
                    self.metrics.code(CodeFrom::Disk);
                    return Ok(component);
                }
                Lookup::Damaged => {
                    self.metrics.code(CodeFrom::Damaged);
                    tracing::error!(%digest, variant = variant.as_str(), "the compiled code on disk is damaged; it is compiled again");
                    replace = true;
                }
                Lookup::Misfit(cause) => return Err(ComponentError::TooLarge { digest, cause }),
                Lookup::Absent => {}
            }
        }
        self.sources.fetch(source).await?;
        let started = Instant::now();
        let compiled = self.compiler.compile(digest, variant, replace).await;
        let took = started.elapsed();
        self.metrics.compiled(took);
        tracing::info!(%digest, variant = variant.as_str(), seconds = took.as_secs_f64(), ok = compiled.is_ok(), "compiled a component");
        compiled?;
        match self.load(set, digest, variant).await? {
            Lookup::Code(component) => {
                self.metrics.code(CodeFrom::Compiler);
                Ok(component)
            }
            Lookup::Misfit(cause) => Err(ComponentError::TooLarge { digest, cause }),
            Lookup::Absent | Lookup::Damaged => Err(ComponentError::Compiler {
                digest,
                cause: "its code is gone or damaged right after it was stored; check engine.cache_dir and its disk"
                    .to_owned(),
            }),
        }
    }

    async fn load(
        &self,
        set: Arc<EngineSet>,
        digest: ComponentDigest,
        variant: Variant,
    ) -> Result<Lookup, ComponentError> {
        let compiler = self.compiler.clone();
        blocking(move || {
            compiler
                .cache()
                .load(&set.engine, &digest, variant)
                .map_err(|cause| ComponentError::Compiler {
                    digest,
                    cause: format!("its code cannot be read: {cause}; check engine.cache_dir"),
                })
        })
        .await
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

    /// Drops entries. What is being computed for one of them reaches those who wait, and is not kept.
    fn forget(&self, which: impl Fn(&K) -> bool) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = LruCache::new(cache.cap());
        while let Some((key, entry)) = cache.pop_lru() {
            if !which(&key) {
                kept.put(key, entry);
            }
        }
        *cache = kept;
    }
}

impl Engines {
    async fn get(&self, variant: Variant) -> Result<Arc<EngineSet>, ComponentError> {
        let size = self.size;
        let set = self.sets[variant.index()]
            .get_or_try_init(|| async {
                let set = blocking(move || {
                    let failed = |cause: wasmtime::Error| ComponentError::Engine(format!("{cause:#}"));
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
