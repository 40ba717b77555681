//! The download host: takes requests, downloads, and stores what has the right digest.
//!
//! It sees no guest. What it is asked comes from service documents; it ends when engine-svc does, and its workers with it.

use std::io::{self, BufReader};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::LocalSet;
use wavs_fetch::FetchError;
use wavs_service::sandbox::{Profile, Strictness, lock_down};
use wavs_service::telemetry;

use super::package::Package;
use super::protocol::{Outcome, Place, Request, Setup};
use super::sink::Sink;
use crate::components::{ContentStore, blocking};
use crate::helper::{self, Numbered, cut};

/// Downloads at a time, each of which may hold a file in memory or a worker. Further ones wait; they are read at once
/// nevertheless, so that engine-svc never waits for the pipe, and bounded by those who ask.
const DOWNLOADS: usize = 32;

/// What all downloads share.
struct Host {
    setup: Setup,
    store: Arc<ContentStore>,
}

/// Serves stdin until it ends.
pub(crate) fn run(components: &Path) -> ExitCode {
    match serve(components) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("error: the download host ended: {cause}");
            ExitCode::FAILURE
        }
    }
}

fn serve(components: &Path) -> io::Result<()> {
    helper::outlive_stops()?;
    let mut requests = BufReader::new(io::stdin());
    let Some(setup) = helper::read::<Setup>(&mut requests)? else {
        return Ok(());
    };
    telemetry::install_lines(&["warn".to_owned()], setup.log);
    let profile = Profile::internet()
        .writes(components)
        .writes(Path::new("/dev/null"))
        .runs(&std::env::current_exe()?);
    // The kernel was found to be good enough, or accepted as it is, by engine-svc.
    lock_down(&profile, Strictness::Available, "engine").map_err(io::Error::other)?;
    let host = Host {
        setup,
        store: ContentStore::at(components.to_owned()).into(),
    };
    let (sender, receiver) = mpsc::unbounded_channel();
    thread::Builder::new().name("requests".into()).spawn(move || {
        while let Ok(Some(request)) = helper::read::<Numbered<Request>>(&mut requests) {
            if sender.send(request).is_err() {
                return;
            }
        }
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Workers die with the thread that started them, so all is done by this one.
    LocalSet::new().block_on(&runtime, answer(Rc::new(host), receiver));
    Ok(())
}

async fn answer(host: Rc<Host>, mut requests: mpsc::UnboundedReceiver<Numbered<Request>>) {
    let turns = Arc::new(Semaphore::new(DOWNLOADS));
    while let Some(Numbered { id, body }) = requests.recv().await {
        let (host, turns) = (host.clone(), turns.clone());
        tokio::task::spawn_local(async move {
            let _turn = turns.acquire().await;
            let body = host.download(&body).await;
            // When nobody reads any more, the requests end too.
            let _ = helper::write(&mut io::stdout().lock(), &Numbered { id, body });
        });
    }
}

impl Host {
    async fn download(&self, request: &Request) -> Outcome {
        let sink = match self.fetch(request).await {
            Ok(sink) => sink,
            Err(FetchError::Sink { cause, .. }) => return Outcome::NotStored(cause.to_string()),
            Err(cause) => return Outcome::Failed(cut(&cause.to_string())),
        };
        let found = sink.digest();
        if found != request.digest {
            return Outcome::WrongDigest(found);
        }
        let store = self.store.clone();
        let kept = blocking(move || Ok(sink.keep(&store))).await;
        match kept {
            Ok(Ok(())) => Outcome::Stored,
            Ok(Err(cause)) => Outcome::NotStored(cause.to_string()),
            Err(cause) => Outcome::Failed(cause.to_string()),
        }
    }

    async fn fetch(&self, request: &Request) -> Result<Sink, FetchError> {
        let Setup { fetcher, limits, .. } = &self.setup;
        let open = || std::future::ready(Sink::create(self.store.reserve()));
        match &request.place {
            Place::Uri(uri) => fetcher.fetch_into(uri, *limits, open).await,
            Place::Package { registry, package } => {
                let uri = request.place.name();
                let mut sink = open().await.map_err(|cause| FetchError::Sink {
                    uri: uri.clone(),
                    cause,
                })?;
                let package = Package {
                    registry,
                    name: package,
                    digest: &request.digest,
                    uri,
                };
                package.fetch(fetcher, *limits, &mut sink).await?;
                sink.flush().await.map_err(|cause| FetchError::Sink {
                    uri: package.uri.clone(),
                    cause,
                })?;
                Ok(sink)
            }
        }
    }
}
