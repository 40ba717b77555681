//! A web server for what a node downloads: fixed pages on a port of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

type Pages = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Web {
    base: String,
    pages: Pages,
    task: JoinHandle<()>,
}

impl Web {
    /// Starts a server without pages: everything is a 404.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen")?;
        let base = format!("http://{}", listener.local_addr()?);
        let pages = Pages::default();
        let task = tokio::spawn(accept(listener, pages.clone()));
        Ok(Self { base, pages, task })
    }

    /// Serves `body` at `path` and answers its URL.
    pub fn put(&self, path: &str, body: impl Into<Vec<u8>>) -> String {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.insert(path.to_owned(), body.into());
        self.url(path)
    }

    /// The URL of a path, whether it is served or not.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, pages: Pages) {
    while let Ok((stream, _)) = listener.accept().await {
        let pages = pages.clone();
        tokio::spawn(async move {
            // A client that goes away has what it wanted.
            let _ = answer(stream, &pages).await;
        });
    }
}

/// One request, one answer, and the connection ends.
async fn answer(stream: TcpStream, pages: &Pages) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first).await?;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    let page = pages.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
    let (status, body) = match page {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", Vec::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.flush().await
}
