//! `wasi:sockets/ip-name-lookup`: as the library does it, but by the resolver that keeps services apart.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::vec;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use url::Host;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress, Network};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};

use super::state::GuestState;
use crate::egress::{Denial, ServiceResolver};

/// The name under which the library links its own.
const NAMES: &str = "wasi:sockets/ip-name-lookup@0.2.12";

type Store<'a> = StoreContextMut<'a, GuestState>;
type Found = Result<Vec<IpAddr>, ErrorCode>;

/// The addresses of a name, once they are known.
struct Addresses {
    found: Shared<BoxFuture<'static, Found>>,
    /// Those that the guest has not taken yet.
    rest: Option<vec::IntoIter<IpAddr>>,
    /// Looks them up although the guest does not wait.
    _task: AbortOnDropJoinHandle<()>,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Addresses {
    async fn ready(&mut self) {
        // The guest is told when it asks for the next address.
        let _ = self.found.clone().await;
    }
}

impl Addresses {
    fn next(&mut self) -> Result<Option<IpAddress>, ErrorCode> {
        if self.rest.is_none() {
            let found = self.found.clone().now_or_never().ok_or(ErrorCode::WouldBlock)?;
            self.rest = Some(found?.into_iter());
        }
        Ok(self.rest.as_mut().and_then(Iterator::next).map(IpAddress::from))
    }
}

/// Replaces the interface in a linker that allows it.
///
/// # Errors
/// When a type does not fit, which is a bug.
pub(crate) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut names = linker.instance(NAMES)?;
    names.resource(
        "resolve-address-stream",
        ResourceType::host::<Addresses>(),
        |mut store: Store<'_>, handle| {
            store.data_mut().table.delete(Resource::<Addresses>::new_own(handle))?;
            Ok(())
        },
    )?;
    names.func_wrap(
        "resolve-addresses",
        |mut store: Store<'_>, (network, name): (Resource<Network>, String)| {
            let state = store.data_mut();
            state.table.get(&network)?;
            let Some(resolver) = state.names.clone() else {
                state.denials.count(Denial::Name);
                return Ok((Err(ErrorCode::PermanentResolverFailure),));
            };
            let Ok(host) = parse(&name) else {
                return Ok((Err(ErrorCode::InvalidArgument),));
            };
            let found = look_up(resolver, host).boxed().shared();
            let task = spawn(found.clone().map(|_| ()));
            let addresses = Addresses {
                found,
                rest: None,
                _task: task,
            };
            Ok((Ok(state.table.push(addresses)?),))
        },
    )?;
    names.func_wrap(
        "[method]resolve-address-stream.resolve-next-address",
        |mut store: Store<'_>, (addresses,): (Resource<Addresses>,)| {
            Ok((store.data_mut().table.get_mut(&addresses)?.next(),))
        },
    )?;
    names.func_wrap(
        "[method]resolve-address-stream.subscribe",
        |mut store: Store<'_>, (addresses,): (Resource<Addresses>,)| -> wasmtime::Result<(Resource<DynPollable>,)> {
            Ok((subscribe(&mut store.data_mut().table, addresses)?,))
        },
    )
}

/// A name in A-labels, or an address, which may be an IPv6 one without brackets.
fn parse(name: &str) -> Result<Host, url::ParseError> {
    Host::parse(name).or_else(|cause| Ipv6Addr::from_str(name).map(Host::Ipv6).map_err(|_| cause))
}

async fn look_up(resolver: ServiceResolver, host: Host) -> Found {
    let name = match host {
        Host::Ipv4(address) => return Ok(vec![address.into()]),
        Host::Ipv6(address) => return Ok(vec![address.into()]),
        Host::Domain(name) => name,
    };
    let found = resolver.look_up(&name, 0).await.map_err(|cause| {
        tracing::debug!(target: "wavs_engine::egress", %name, %cause, "a guest's name cannot be looked up");
        ErrorCode::NameUnresolvable
    })?;
    Ok(found.into_iter().map(|address| address.ip().to_canonical()).collect())
}
