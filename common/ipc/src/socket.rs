//! Unix sockets: bind with tight permissions, take over an inherited one, connect.
//!
//! The directory of a socket belongs to its user alone (0700), the socket is 0600, and both hold from the moment they
//! exist. A socket file without a server behind it is a leftover and is replaced; one with a server is an error.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use interprocess::local_socket::traits::tokio::Stream as _;
use interprocess::local_socket::{GenericFilePath, ListenerOptions, Name, ToFsName};
use interprocess::os::unix::local_socket::ListenerOptionsExt;
use interprocess::os::unix::uds_local_socket::Listener as BlockingListener;
use nix::sys::socket::{UnixAddr, getsockname, getsockopt, sockopt};

use crate::bounds::MAX_SOCKET_PATH;

/// A listening socket.
pub use interprocess::os::unix::uds_local_socket::tokio::Listener;
/// A connection.
pub use interprocess::os::unix::uds_local_socket::tokio::Stream;

/// Why a socket is not there.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The kernel does not take such a long path.
    #[error(
        "the socket path {path} has {length} bytes, more than the {MAX_SOCKET_PATH} that Linux allows; use a shorter data directory"
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// The directory could not be made.
    #[error("cannot create the socket directory {path}; create it or choose another data directory")]
    CreateDirectory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can put files beside the socket.
    #[error("the socket directory {path} has mode {mode:03o}; take write access from group and others (chmod go-w)")]
    OpenDirectory {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A server answers on the path.
    #[error("{path} is served already; stop the other process or choose another data directory")]
    AlreadyServed {
        /// The path.
        path: PathBuf,
    },
    /// Something else has the name.
    #[error("{path} exists and is not a socket; move it away")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The bind itself failed.
    #[error("cannot bind the socket {path}")]
    Bind {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The inherited descriptor is something else.
    #[error("the inherited descriptor is not a listening Unix socket; pass sockets by the LISTEN_FDS protocol")]
    Inherit {
        /// Why.
        source: io::Error,
    },
}

/// Binds `path` and listens. The file is removed when the listener is dropped.
///
/// # Errors
/// When the path, its directory or the bind is not in order, see [`SocketError`]. Needs a tokio runtime.
pub fn bind(path: &Path) -> Result<Listener, SocketError> {
    let listener = bind_blocking(path)?;
    Listener::try_from(listener).map_err(|source| SocketError::Bind {
        path: path.into(),
        source,
    })
}

/// Binds `path` and listens, for a child process that inherits the descriptor. The file stays.
///
/// # Errors
/// As [`bind`].
pub fn bind_fd(path: &Path) -> Result<OwnedFd, SocketError> {
    let mut listener = bind_blocking(path)?;
    interprocess::local_socket::traits::Listener::do_not_reclaim_name_on_drop(&mut listener);
    Ok(listener.into())
}

/// Takes over a socket that the parent process bound. Its file stays when the listener is dropped.
///
/// # Errors
/// When `fd` is not a listening Unix socket. Needs a tokio runtime.
pub fn inherit(fd: OwnedFd) -> Result<Listener, SocketError> {
    use std::os::fd::AsRawFd;
    let invalid = |source: io::Error| SocketError::Inherit { source };
    getsockname::<UnixAddr>(fd.as_raw_fd()).map_err(|errno| invalid(errno.into()))?;
    if !getsockopt(&fd, sockopt::AcceptConn).map_err(|errno| invalid(errno.into()))? {
        return Err(invalid(io::ErrorKind::InvalidInput.into()));
    }
    Listener::try_from(fd).map_err(invalid)
}

/// Connects to `path`.
pub(crate) async fn connect(path: &Path) -> io::Result<Stream> {
    check_length(path).map_err(io::Error::other)?;
    Stream::connect(name(path)?).await
}

fn bind_blocking(path: &Path) -> Result<BlockingListener, SocketError> {
    check_length(path)?;
    if let Some(directory) = path.parent() {
        check_directory(directory)?;
    }
    remove_leftover(path)?;
    let failed = |source| SocketError::Bind {
        path: path.into(),
        source,
    };
    let options = ListenerOptions::new().name(name(path).map_err(failed)?).mode(0o600);
    options.create_sync_as::<BlockingListener>().map_err(failed)
}

fn name(path: &Path) -> io::Result<Name<'_>> {
    path.to_fs_name::<GenericFilePath>()
}

fn check_length(path: &Path) -> Result<(), SocketError> {
    let length = path.as_os_str().as_bytes().len();
    if length > MAX_SOCKET_PATH {
        return Err(SocketError::PathTooLong {
            path: path.into(),
            length,
        });
    }
    Ok(())
}

fn check_directory(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::CreateDirectory {
        path: path.into(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed)?;
    let mode = path.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(SocketError::OpenDirectory {
            path: path.into(),
            mode,
        });
    }
    Ok(())
}

fn remove_leftover(path: &Path) -> Result<(), SocketError> {
    let Ok(metadata) = path.symlink_metadata() else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(SocketError::NotASocket { path: path.into() });
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|source| SocketError::Bind {
                path: path.into(),
                source,
            })
        }
        _ => Err(SocketError::AlreadyServed { path: path.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_and_its_directory_are_private_and_a_leftover_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("engine/rpc.sock");
        drop(bind_fd(&path).unwrap());
        assert!(path.exists(), "the leftover of a dead server");
        let listener = bind(&path).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert!(matches!(bind(&path), Err(SocketError::AlreadyServed { .. })));
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn bad_places_are_refused_with_their_reason() {
        let directory = tempfile::tempdir().unwrap();
        let long = directory.path().join("x".repeat(MAX_SOCKET_PATH));
        assert!(matches!(bind(&long), Err(SocketError::PathTooLong { length, .. }) if length > MAX_SOCKET_PATH));
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(bind(&file), Err(SocketError::NotASocket { .. })));
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(
            bind(&directory.path().join("s")),
            Err(SocketError::OpenDirectory { mode: 0o770, .. })
        ));
    }

    #[tokio::test]
    async fn only_a_listening_unix_socket_is_inherited() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = inherit(bind_fd(&path).unwrap()).unwrap();
        drop(listener);
        assert!(path.exists(), "the parent owns the file");
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(matches!(inherit(one.into()), Err(SocketError::Inherit { .. })));
        let file = std::fs::File::open(directory.path()).unwrap();
        assert!(matches!(inherit(file.into()), Err(SocketError::Inherit { .. })));
    }
}
