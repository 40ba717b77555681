//! A service document in a file, while it is being written. It may still hold the text `unset` where a trigger, component,
//! submit or manager is missing, so it is kept as a tree and not as a typed service; members that the tool does not know, and the
//! order of all members, survive every edit.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use wavs_types::{JsonTree, MAX_DOCUMENT_BYTES, WorkflowId};

use crate::failure::{Exit, Failure};

/// What stands for a missing part.
pub const UNSET: &str = "unset";

/// A document and the file it lives in.
#[derive(Debug)]
pub struct ServiceFile {
    path: PathBuf,
    tree: JsonTree,
}

/// A file that cannot be edited.
#[derive(Debug, thiserror::Error)]
pub enum ServiceFileError {
    /// There is no such file.
    #[error("there is no {path}; `wavs-cli service init --name NAME` makes one, or name another with --file", path = .0.display())]
    Missing(PathBuf),
    /// A new document would replace another one.
    #[error("{path} exists already; choose another place with --file, or remove it first", path = .0.display())]
    Exists(PathBuf),
    /// The file cannot be read or written.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is not a document.
    #[error("{path} is not a service document: {detail}", path = path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The document has no such workflow.
    #[error("{path} has no workflow `{id}`; there are {known}", path = path.display())]
    NoWorkflow {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        id: WorkflowId,
        /// The workflows it has.
        known: String,
    },
}

impl ServiceFile {
    /// Reads a document.
    ///
    /// # Errors
    /// When there is none, or it is not a JSON object.
    pub fn read(path: &Path) -> Result<Self, ServiceFileError> {
        let bytes = read_bytes(path)?;
        let shape = |detail| ServiceFileError::Shape {
            path: path.to_owned(),
            detail,
        };
        let tree: JsonTree = serde_json::from_slice(&bytes).map_err(|error| shape(error.to_string()))?;
        match tree {
            JsonTree::Object(_) => Ok(Self {
                path: path.to_owned(),
                tree,
            }),
            _ => Err(shape("expected an object".to_owned())),
        }
    }

    /// A new document without workflows and manager, not yet in its file.
    ///
    /// # Errors
    /// When the file exists.
    pub fn create(path: &Path, name: &str) -> Result<Self, ServiceFileError> {
        if path.exists() {
            return Err(ServiceFileError::Exists(path.to_owned()));
        }
        let text = |text: &str| JsonTree::Text(text.to_owned());
        let members = [
            ("name", text(name)),
            ("workflows", object()),
            ("status", text("active")),
            ("manager", text(UNSET)),
        ];
        let tree = JsonTree::Object(members.map(|(name, value)| (name.to_owned(), value)).into());
        Ok(Self {
            path: path.to_owned(),
            tree,
        })
    }

    /// Writes the document, all or nothing: a reader sees the old or the new one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self) -> Result<(), ServiceFileError> {
        let text = serde_json::to_string_pretty(&self.tree).map_err(std::io::Error::from);
        let written = text.and_then(|text| replace(&self.path, &format!("{text}\n")));
        written.map_err(|source| ServiceFileError::Io {
            action: "write",
            path: self.path.clone(),
            source,
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The document.
    #[must_use]
    pub fn tree(&self) -> &JsonTree {
        &self.tree
    }

    /// The whole document, for edits.
    pub fn root(&mut self) -> &mut JsonTree {
        &mut self.tree
    }

    /// The members of `workflows`.
    ///
    /// # Errors
    /// When they are not an object.
    pub fn workflows(&mut self) -> Result<&mut Vec<(String, JsonTree)>, ServiceFileError> {
        if get(&self.tree, "workflows").is_none() {
            set(&mut self.tree, "workflows", object());
        }
        match get_mut(&mut self.tree, "workflows") {
            Some(JsonTree::Object(members)) => Ok(members),
            _ => Err(ServiceFileError::Shape {
                path: self.path.clone(),
                detail: "`workflows` is not an object".to_owned(),
            }),
        }
    }

    /// One workflow.
    ///
    /// # Errors
    /// When there is none, or it is not an object.
    pub fn workflow(&mut self, id: &WorkflowId) -> Result<&mut JsonTree, ServiceFileError> {
        let path = self.path.clone();
        let members = self.workflows()?;
        let Some(index) = members.iter().position(|(name, _)| name == id.as_str()) else {
            let known = members
                .iter()
                .map(|(name, _)| name.as_str())
                .collect::<Vec<_>>()
                .join(", ");
            let known = if known.is_empty() { "none".to_owned() } else { known };
            return Err(ServiceFileError::NoWorkflow {
                path,
                id: id.clone(),
                known,
            });
        };
        match &mut members[index].1 {
            workflow @ JsonTree::Object(_) => Ok(workflow),
            _ => Err(ServiceFileError::Shape {
                path,
                detail: format!("workflow `{id}` is not an object"),
            }),
        }
    }
}

impl From<ServiceFileError> for Failure {
    fn from(error: ServiceFileError) -> Self {
        let (exit, code) = match &error {
            ServiceFileError::Missing(_) => (Exit::NotFound, "file-not-found"),
            ServiceFileError::NoWorkflow { .. } => (Exit::NotFound, "workflow-not-found"),
            ServiceFileError::Exists(_) => (Exit::Conflict, "file-exists"),
            ServiceFileError::Io { .. } => (Exit::Failed, "file"),
            ServiceFileError::Shape { .. } => (Exit::Failed, "invalid-service"),
        };
        Self::new(exit, code, error.to_string())
    }
}

/// The bytes of a document.
///
/// # Errors
/// When there is none, or it is larger than a document may be.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, ServiceFileError> {
    let bytes = std::fs::read(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => ServiceFileError::Missing(path.to_owned()),
        _ => ServiceFileError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        },
    })?;
    if bytes.len() > MAX_DOCUMENT_BYTES {
        let detail = format!("it has {} bytes, the limit is {MAX_DOCUMENT_BYTES}", bytes.len());
        return Err(ServiceFileError::Shape {
            path: path.to_owned(),
            detail,
        });
    }
    Ok(bytes)
}

/// Writes a file under another name beside it, and renames it when it is complete.
pub(crate) fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    // A link stays a link: the file that it leads to is replaced.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let write = || {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        if let Ok(metadata) = std::fs::metadata(&path) {
            file.set_permissions(metadata.permissions())?;
        }
        std::fs::rename(&temporary, &path)
    };
    write().inspect_err(|_| {
        // Best effort: the first error is the one to report.
        let _ = std::fs::remove_file(&temporary);
    })
}

/// An object without members.
#[must_use]
pub fn object() -> JsonTree {
    JsonTree::Object(Vec::new())
}

/// A member of an object.
#[must_use]
pub fn get<'a>(tree: &'a JsonTree, name: &str) -> Option<&'a JsonTree> {
    match tree {
        JsonTree::Object(members) => members
            .iter()
            .find(|(member, _)| member == name)
            .map(|(_, value)| value),
        _ => None,
    }
}

/// A member of an object, for edits.
pub fn get_mut<'a>(tree: &'a mut JsonTree, name: &str) -> Option<&'a mut JsonTree> {
    match tree {
        JsonTree::Object(members) => members
            .iter_mut()
            .find(|(member, _)| member == name)
            .map(|(_, value)| value),
        _ => None,
    }
}

/// Sets a member in its place, or appends it. What is not an object becomes one.
pub fn set(tree: &mut JsonTree, name: &str, value: JsonTree) {
    if let Some(member) = get_mut(tree, name) {
        *member = value;
        return;
    }
    if !matches!(tree, JsonTree::Object(_)) {
        *tree = object();
    }
    if let JsonTree::Object(members) = tree {
        members.push((name.to_owned(), value));
    }
}

/// Whether a part is missing.
#[must_use]
pub fn is_unset(tree: Option<&JsonTree>) -> bool {
    tree.is_none_or(|tree| matches!(tree, JsonTree::Text(text) if text == UNSET))
}

/// A value as a tree.
///
/// # Errors
/// When it does not serialise, which plain data always does.
pub fn tree_of(value: &impl Serialize) -> Result<JsonTree, Failure> {
    let parsed = serde_json::to_string(value).and_then(|text| serde_json::from_str(&text));
    parsed.map_err(|cause| Failure::failed("internal", format!("a value cannot be written as JSON: {cause}")))
}
