//! The address policy for libraries that make their own requests: a forward proxy on loopback (RFC 9110, section 3.7).
//!
//! It connects where [`Fetcher`] would: protected connections are tunnelled (`CONNECT`, RFC 9110, section 9.3.6) and
//! not looked into; unprotected requests are passed on to this machine alone. Each connection is for one target, which is checked
//! before it is made.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use url::Url;

use crate::error::FetchError;
use crate::fetcher::{CONNECT_TIMEOUT, Fetcher};

/// Connections at a time; further ones wait.
const CONNECTIONS: usize = 32;
/// Bytes of the head of a request.
const MAX_HEAD: usize = 32 << 10;
/// Header fields of a request.
const MAX_FIELDS: usize = 64;
/// Time for the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// A proxy for one download. It ends when it is dropped, and its connections with it.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    gate: Arc<Gate>,
    serving: JoinHandle<()>,
}

/// What all connections share.
#[derive(Debug)]
struct Gate {
    fetcher: Fetcher,
    /// What is downloaded, for errors.
    uri: String,
    /// The first connection that was refused.
    refusal: Mutex<Option<FetchError>>,
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    url: Url,
    /// What the target is sent first; absent for a tunnel.
    head: Option<Vec<u8>>,
}

impl Proxy {
    /// Starts a proxy under the policy of `fetcher`. `uri` is what it is for, in errors.
    ///
    /// # Errors
    /// When the system gives no port.
    pub async fn start(fetcher: Fetcher, uri: String) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let gate = Arc::new(Gate {
            fetcher,
            uri,
            refusal: Mutex::default(),
        });
        let serving = tokio::spawn(serve(listener, gate.clone()));
        Ok(Self { port, gate, serving })
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What a client is configured with.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}:{}", Ipv4Addr::LOCALHOST, self.port)
    }

    /// Why the first refused connection was refused, once.
    #[must_use]
    pub fn refusal(&self) -> Option<FetchError> {
        self.gate.refusal().take()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, gate: Arc<Gate>) {
    let mut connections = JoinSet::new();
    loop {
        if connections.len() >= CONNECTIONS {
            connections.join_next().await;
        }
        // An error here is one of a single connection, or of a process without descriptors, whose client gives up in time.
        match listener.accept().await {
            Ok((client, _)) => {
                let gate = gate.clone();
                connections.spawn(async move { gate.handle(client).await });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

impl Gate {
    async fn handle(&self, mut client: TcpStream) -> io::Result<()> {
        let (head, rest) = timeout(HEAD_TIME, read_head(&mut client)).await??;
        let Some(wanted) = parse(&head) else {
            return answer(&mut client, "400 Bad Request").await;
        };
        let mut target = match self.connect(&wanted).await {
            Ok(target) => target,
            Err(cause) => {
                self.refusal().get_or_insert(cause);
                return answer(&mut client, "403 Forbidden").await;
            }
        };
        match &wanted.head {
            Some(head) => target.write_all(head).await?,
            None => client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?,
        }
        target.write_all(&rest).await?;
        copy_bidirectional(&mut client, &mut target).await.map(drop)
    }

    /// A connection to one of the checked addresses of the target.
    async fn connect(&self, wanted: &Wanted) -> Result<TcpStream, FetchError> {
        let (host, addresses) = self.fetcher.addresses(&self.uri, &wanted.url, false).await?;
        if wanted.head.is_some() && !addresses.iter().all(|address| address.ip().is_loopback()) {
            return Err(FetchError::Redirect {
                uri: self.uri.clone(),
                cause: format!("it leads to {host} without protection"),
            });
        }
        let mut last = None;
        for address in addresses {
            match connect(address).await {
                Ok(target) => return Ok(target),
                Err(cause) => last = Some(cause),
            }
        }
        Err(FetchError::Transfer {
            uri: self.uri.clone(),
            cause: match last {
                Some(cause) => format!("cannot connect to {host}: {cause}"),
                None => format!("{host} has no address"),
            },
        })
    }

    fn refusal(&self) -> std::sync::MutexGuard<'_, Option<FetchError>> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await?
}

async fn answer(client: &mut TcpStream, status: &str) -> io::Result<()> {
    let response = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    client.write_all(response.as_bytes()).await?;
    client.shutdown().await
}

/// The head of a request, up to the empty line, and what came behind it.
async fn read_head(client: &mut TcpStream) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            let rest = bytes.split_off(at + 4);
            return Ok((bytes, rest));
        }
        if bytes.len() > MAX_HEAD {
            return Err(io::Error::other("the head of a request is too long"));
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// What the head of a request asks for; nothing if it is no request to a proxy.
fn parse(head: &[u8]) -> Option<Wanted> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    if !request.parse(head).ok()?.is_complete() {
        return None;
    }
    let (method, target) = (request.method?, request.path?);
    if method == "CONNECT" {
        let url = Url::parse(&format!("https://{target}/")).ok()?;
        // Nothing but a host and a port.
        let plain = url.path() == "/" && url.query().is_none() && url.username().is_empty() && url.password().is_none();
        return plain.then_some(Wanted { url, head: None });
    }
    let url = Url::parse(target).ok().filter(|url| url.scheme() == "http")?;
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut passed = format!("{method} {}{query} HTTP/1.1\r\n", url.path()).into_bytes();
    for field in request.headers.iter() {
        let own = ["connection", "keep-alive", "proxy-authorization", "proxy-connection"];
        if !own.iter().any(|name| field.name.eq_ignore_ascii_case(name)) {
            passed.extend_from_slice(field.name.as_bytes());
            passed.extend_from_slice(b": ");
            passed.extend_from_slice(field.value);
            passed.extend_from_slice(b"\r\n");
        }
    }
    // One request for each connection: the next one may be for another host.
    passed.extend_from_slice(b"connection: close\r\n\r\n");
    Some(Wanted {
        url,
        head: Some(passed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(head: &str) -> Option<Wanted> {
        parse(head.as_bytes())
    }

    #[test]
    fn a_tunnel_is_for_a_host_and_a_port_and_nothing_else() {
        let tunnel = wanted("CONNECT ghcr.io:443 HTTP/1.1\r\nhost: ghcr.io:443\r\n\r\n").unwrap();
        assert_eq!((tunnel.url.as_str(), tunnel.head), ("https://ghcr.io/", None));
        for target in ["user@ghcr.io:443", "ghcr.io:443/path", "ghcr.io:99999", "", "/"] {
            assert_eq!(wanted(&format!("CONNECT {target} HTTP/1.1\r\n\r\n")), None, "{target}");
        }
    }

    #[test]
    fn a_request_is_passed_on_without_what_is_for_the_proxy() {
        let request = "GET http://localhost:80/v2/?n=1 HTTP/1.1\r\nHost: localhost\r\nProxy-Authorization: x\r\nConnection: keep-alive\r\nAccept: */*\r\n\r\n";
        let wanted = wanted(request).unwrap();
        assert_eq!(wanted.url.as_str(), "http://localhost/v2/?n=1");
        assert_eq!(
            String::from_utf8(wanted.head.unwrap()).unwrap(),
            "GET /v2/?n=1 HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nconnection: close\r\n\r\n"
        );
    }

    #[test]
    fn what_is_no_request_to_a_proxy_is_refused() {
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET https://ghcr.io/ HTTP/1.1\r\n\r\n",
            "GET ftp://ghcr.io/ HTTP/1.1\r\n\r\n",
            "nonsense\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert_eq!(wanted(head), None, "{head}");
        }
    }
}
