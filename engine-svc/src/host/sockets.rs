//! Making sockets for guests: as the library does it, but only so many at a time.
//!
//! Each socket is a descriptor of this process, of which there are fewer than the handles that a guest may hold.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily};
use wasmtime_wasi::p2::bindings::sockets::{network, tcp, tcp_create_socket, udp_create_socket};
use wasmtime_wasi::p2::{Network, SocketError, SocketResult, TcpSocket, UdpSocket};
use wasmtime_wasi::sockets::WasiSocketsView;

use super::state::GuestState;

/// The name under which the library links its own.
const TCP: &str = "wasi:sockets/tcp@0.2.12";

impl tcp_create_socket::Host for GuestState {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        self.admit_socket()?;
        tcp_create_socket::Host::create_tcp_socket(&mut self.sockets(), family)
    }
}

impl udp_create_socket::Host for GuestState {
    async fn create_udp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        self.admit_socket()?;
        udp_create_socket::Host::create_udp_socket(&mut self.sockets(), family).await
    }
}

/// Replaces the function that makes a socket of each connection from outside, in a linker that allows it.
///
/// # Errors
/// When a type does not fit, which is a bug.
pub(crate) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    linker.instance(TCP)?.func_wrap(
        "[method]tcp-socket.accept",
        |mut store: StoreContextMut<'_, GuestState>, (listener,): (Resource<TcpSocket>,)| {
            let state = store.data_mut();
            let accepted = match state.admit_socket() {
                Ok(()) => tcp::HostTcpSocket::accept(&mut state.sockets(), listener),
                Err(refused) => Err(refused),
            };
            Ok((match accepted {
                Ok(accepted) => Ok(accepted),
                Err(cause) => Err(network::Host::convert_error_code(&mut state.sockets(), cause)?),
            },))
        },
    )
}

// The two interfaces above report errors by way of this one.
impl network::Host for GuestState {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        network::Host::convert_error_code(&mut self.sockets(), error)
    }

    fn network_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        network::Host::network_error_code(&mut self.sockets(), error)
    }
}

impl network::HostNetwork for GuestState {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        network::HostNetwork::drop(&mut self.sockets(), network)
    }
}

impl GuestState {
    /// Refuses a socket beyond `engine.sockets` with `new-socket-limit`, which the guest may handle.
    fn admit_socket(&mut self) -> Result<(), SocketError> {
        let open = self.count::<TcpSocket>() + self.count::<UdpSocket>();
        if open < self.limits.sockets && self.admit_descriptor() {
            Ok(())
        } else {
            Err(ErrorCode::NewSocketLimit.into())
        }
    }
}
