//! `signers …`: the keys that the node signs with, and moving the history of what they signed.
//!
//! History travels as JSON, one signature per line, so that neither side ever holds all of it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::deploy::text;
use super::services::items;
use crate::failure::Failure;
use crate::node::Node;
use crate::output::lines;
use crate::service_ref::ServiceRef;
use crate::session::Session;

/// Signatures of one request; well below the node's limit for a JSON body.
const CHUNK: usize = 1_000;
/// Signatures of one page, the most that the node gives.
const PAGE: &str = "500";

/// What can be asked and done. All but `list` need the admin socket.
#[derive(Debug, Subcommand)]
pub(crate) enum SignersCommand {
    /// List the signing keys with their registration on chain
    List,
    /// Give a service a new signing key, which then has to be registered with its manager
    Rotate {
        /// Service id, or CHAIN/ADDRESS of its manager
        service: ServiceRef,
    },
    /// Sign with keys that have weight on chain although this node does not know what they signed before
    AcceptEmptyHistory {
        /// Only this service: its id, or CHAIN/ADDRESS of its manager
        #[arg(long)]
        service: Option<ServiceRef>,
    },
    /// Write everything that the node ever signed to a file
    Export {
        /// The file, which must not exist
        file: PathBuf,
    },
    /// Take over what another node signed, before this one signs with the same keys
    Import {
        /// A file that `signers export` wrote
        file: PathBuf,
    },
}

impl SignersCommand {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let node = session.node()?;
        match self {
            Self::List => list(&node, session).await,
            Self::Rotate { service } => rotate(&service, &node, session).await,
            Self::AcceptEmptyHistory { service } => accept(service.as_ref(), &node, session).await,
            Self::Export { file } => export(&file, &node, session).await,
            Self::Import { file } => import(&file, &node, session).await,
        }
    }
}

async fn list(node: &Node, session: &mut Session<'_>) -> Result<(), Failure> {
    let page = node.get(&["v1", "signers"], &[]).await?;
    session.result(&page, |style| {
        let mut table = style.table(&[
            "index",
            "address",
            "service",
            "state",
            "history",
            "registration",
            "weight",
        ]);
        for item in items(&page) {
            let registration = item.get("registration").unwrap_or(&Value::Null);
            let own = |name: &str| text(item, name);
            let found = |name: &str| text(registration, name);
            table.add_row(vec![
                own("hd_index"),
                own("evm_address"),
                own("service_id"),
                own("state"),
                own("history"),
                found("status"),
                found("weight"),
            ]);
        }
        lines(&table)
    })
}

async fn rotate(service: &ServiceRef, node: &Node, session: &mut Session<'_>) -> Result<(), Failure> {
    let id = service.id().to_string();
    let answer = node
        .send_json(Method::POST, &["v1", "signers", &id, "rotate"], &json!({}))
        .await?
        .json()?;
    session.result(&answer, |_| {
        format!(
            "The service signs with {} (index {}) from now on. Register it with the service manager.",
            text(&answer, "evm_address"),
            text(&answer, "hd_index")
        )
    })
}

async fn accept(service: Option<&ServiceRef>, node: &Node, session: &mut Session<'_>) -> Result<(), Failure> {
    let body = json!({"service_id": service.map(|service| service.id().to_string())});
    let answer = node
        .send_json(Method::POST, &["v1", "signers", "accept-empty-history"], &body)
        .await?
        .json()?;
    session.result(&answer, |_| {
        let accepted = answer.get("accepted").and_then(Value::as_array).map_or(0, Vec::len);
        format!("{accepted} keys sign now that did not before.")
    })
}

async fn export(path: &Path, node: &Node, session: &mut Session<'_>) -> Result<(), Failure> {
    let file = File::create_new(path).map_err(|cause| unusable("create", path, &cause))?;
    let mut file = BufWriter::new(file);
    let (mut rows, mut cursor) = (0_u64, None);
    loop {
        let mut query = vec![("limit", PAGE.to_owned())];
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page = node.get(&["v1", "signers", "history"], &query).await?;
        for item in items(&page) {
            writeln!(file, "{item}").map_err(|cause| unusable("write", path, &cause))?;
            rows += 1;
        }
        cursor = page.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    file.into_inner()
        .map_err(std::io::IntoInnerError::into_error)
        .and_then(|file| file.sync_all())
        .map_err(|cause| unusable("write", path, &cause))?;
    session.result(&json!({"rows": rows, "file": path}), |_| {
        format!("{rows} signatures are in {}.", path.display())
    })
}

async fn import(path: &Path, node: &Node, session: &mut Session<'_>) -> Result<(), Failure> {
    let file = File::open(path).map_err(|cause| unusable("open", path, &cause))?;
    let (mut rows, mut new) = (0_u64, 0_u64);
    let mut chunk: Vec<Value> = Vec::with_capacity(CHUNK);
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let line = line.map_err(|cause| unusable("read", path, &cause))?;
        let item = serde_json::from_str(&line).map_err(|cause| {
            Failure::usage(format!(
                "line {number} of {} is not a signature: {cause}",
                path.display()
            ))
        })?;
        chunk.push(item);
        rows += 1;
        if chunk.len() == CHUNK {
            new += send(&mut chunk, node).await?;
        }
    }
    if !chunk.is_empty() {
        new += send(&mut chunk, node).await?;
    }
    session.result(&json!({"rows": rows, "new": new}), |_| {
        format!("{rows} signatures are known to the node, {new} of them since now.")
    })
}

async fn send(chunk: &mut Vec<Value>, node: &Node) -> Result<u64, Failure> {
    let body = json!({"items": std::mem::take(chunk)});
    let answer = node
        .send_json(Method::POST, &["v1", "signers", "history"], &body)
        .await?
        .json()?;
    Ok(answer.get("new").and_then(Value::as_u64).unwrap_or_default())
}

fn unusable(what: &str, path: &Path, cause: &std::io::Error) -> Failure {
    Failure::failed("history-file", format!("cannot {what} {}: {cause}", path.display()))
}
