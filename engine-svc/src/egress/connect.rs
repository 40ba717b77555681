//! Resolve once, check every address, connect to a checked one.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use url::Host;
use wasmtime_wasi_http::Error;

use super::destination::Destination;
use super::permit::GuestEgress;

/// A connection that carries HTTP.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Wire for T {}

/// Connects to `destination` if `egress` permits all of its addresses; with TLS when the scheme asks for it.
///
/// # Errors
/// The `wasi:http` error code that the guest shall see.
pub(super) async fn connect(
    egress: &GuestEgress,
    destination: &Destination,
    limit: Duration,
) -> Result<Box<dyn Wire>, Error> {
    timeout(limit, async {
        let stream = dial(&checked(egress, destination).await?).await?;
        if destination.scheme == "https" {
            secure(destination, stream).await
        } else {
            Ok(Box::new(stream) as Box<dyn Wire>)
        }
    })
    .await
    .map_err(|_| Error::ConnectionTimeout)?
}

async fn checked(egress: &GuestEgress, destination: &Destination) -> Result<Vec<SocketAddr>, Error> {
    let port = destination.port;
    let addresses = match &destination.host {
        Host::Ipv4(address) => vec![SocketAddr::from((*address, port))],
        Host::Ipv6(address) => vec![SocketAddr::from((*address, port))],
        Host::Domain(name) => egress
            .names
            .look_up(name, port)
            .await
            .map_err(|cause| Error::DnsError {
                rcode: Some(cause.to_string()),
                info_code: None,
            })?,
    };
    if addresses.is_empty() {
        return Err(Error::DestinationNotFound);
    }
    if !addresses
        .iter()
        .all(|address| egress.permits_address(destination, *address))
    {
        return Err(Error::DestinationIpProhibited);
    }
    Ok(addresses)
}

async fn dial(addresses: &[SocketAddr]) -> Result<TcpStream, Error> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Requests are small and wait for their answer; delaying packets only adds latency.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(cause) => last = cause,
        }
    }
    Err(match last.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => Error::DestinationIpUnroutable,
        _ => Error::Connect(last),
    })
}

async fn secure(destination: &Destination, stream: TcpStream) -> Result<Box<dyn Wire>, Error> {
    static CONFIG: LazyLock<Option<Arc<ClientConfig>>> = LazyLock::new(|| {
        let roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.into(),
        };
        // The provider is named, because a process in which two are linked has no default.
        let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .ok()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Some(Arc::new(config))
    });
    let config = CONFIG.clone().ok_or(Error::ConfigurationError)?;
    let name = match &destination.host {
        Host::Domain(name) => ServerName::try_from(name.clone()).map_err(Error::from)?,
        Host::Ipv4(address) => ServerName::from(std::net::IpAddr::V4(*address)),
        Host::Ipv6(address) => ServerName::from(std::net::IpAddr::V6(*address)),
    };
    let stream = TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(Error::Tls)?;
    Ok(Box::new(stream))
}
