//! The network identity: one Ed25519 key, made once and kept, so that addresses with its peer id stay valid.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use libp2p::identity::Keypair;
use wavs_service::{Fatal, Secret};

/// File in the state directory with the key in libp2p's protobuf form.
const FILE: &str = "identity.key";

/// The configured key (hex of libp2p's protobuf form, or of the 32 secret bytes), else the kept one, else a new one.
///
/// # Errors
/// When the configured key is none, or the file cannot be read or written.
pub fn load(configured: Option<&Secret>, state: &Path) -> anyhow::Result<Keypair> {
    if let Some(secret) = configured {
        return parse(secret.expose_secret()).ok_or_else(|| {
            let text =
                "p2p identity: expected the hex digits of an Ed25519 secret key (32 bytes) or of a libp2p key file";
            Fatal::config(text.to_owned()).into()
        });
    }
    let path = state.join(FILE);
    if let Ok(bytes) = std::fs::read(&path) {
        return Keypair::from_protobuf_encoding(&bytes)
            .with_context(|| format!("{} holds no key; delete it to get a new peer id", path.display()));
    }
    let keys = Keypair::generate_ed25519();
    let bytes = keys
        .to_protobuf_encoding()
        .context("cannot encode the new network key")?;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)
        .context("cannot make the state directory")?;
    // Written beside and moved into place: a crash leaves no half of a key.
    let draft = state.join(format!("{FILE}.new"));
    let mut file = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .with_context(|| format!("cannot write {}", draft.display()))?;
    file.write_all(&bytes)
        .and_then(|()| file.sync_all())
        .context("cannot write the new network key")?;
    std::fs::rename(&draft, &path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(keys)
}

fn parse(text: &str) -> Option<Keypair> {
    let bytes = hex::decode(text.trim().trim_start_matches("0x")).ok()?;
    if let Ok(mut secret) = <[u8; 32]>::try_from(bytes.as_slice()) {
        return Keypair::ed25519_from_bytes(&mut secret).ok();
    }
    Keypair::from_protobuf_encoding(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_survives_a_restart_and_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("p2p");
        let first = load(None, &state).unwrap().public().to_peer_id();
        assert_eq!(load(None, &state).unwrap().public().to_peer_id(), first);
        let mode = std::fs::metadata(state.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(state.join(FILE), b"junk").unwrap();
        assert!(load(None, &state).is_err());
    }

    #[test]
    fn a_key_may_be_given_in_two_forms() {
        let keys = Keypair::ed25519_from_bytes([7; 32]).unwrap();
        let id = keys.public().to_peer_id();
        let long = hex::encode(keys.to_protobuf_encoding().unwrap());
        for text in ["07".repeat(32), format!("0x{}\n", "07".repeat(32)), long] {
            assert_eq!(parse(&text).unwrap().public().to_peer_id(), id);
        }
        assert!(parse("07").is_none());
        assert!(parse("no hex").is_none());
    }
}
