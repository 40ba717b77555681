//! A socket that another user serves is not talked to. Alone in its file, because it changes the user of its whole process for a
//! moment.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use nix::unistd::{Uid, geteuid, seteuid};
use support::*;
use wavs_ipc::{ErrorCode, Retry};

/// `nobody` on every Linux.
const NOBODY: Uid = Uid::from_raw(65_534);

#[tokio::test]
async fn a_server_of_another_user_is_refused() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root can serve a socket as another user");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rpc.sock");
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).unwrap();
    seteuid(NOBODY).unwrap();
    let listener = UnixListener::bind(&path);
    seteuid(Uid::from_raw(0)).unwrap();
    let _listener = listener.unwrap();

    let error = echo(&client_of(&path), "secret").await.unwrap_err();
    assert_eq!(
        (error.code, error.retry),
        (ErrorCode::Denied, Retry::Backoff),
        "{error}"
    );
    assert!(error.detail.contains("65534"), "{error}");
}
