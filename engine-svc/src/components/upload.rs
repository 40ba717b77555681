//! Taking over a file that the supervisor received.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Component as PathPart, Path};

use super::error::ComponentError;

/// Reads the file `name` in `directory` and removes it, whatever the result. Blocks.
///
/// # Errors
/// [`ComponentError::Upload`] when the name is not plain or the file is missing, too large or not a plain file.
pub(crate) fn take_over(directory: &Path, name: &str, max_bytes: u64) -> Result<Vec<u8>, ComponentError> {
    let error = |cause: String| ComponentError::Upload {
        name: name.to_owned(),
        cause,
    };
    let mut parts = Path::new(name).components();
    if !matches!((parts.next(), parts.next()), (Some(PathPart::Normal(_)), None)) {
        return Err(error("it is not a plain file name".into()));
    }
    let path = directory.join(name);
    let read = || {
        let kind = fs::symlink_metadata(&path).map_err(|cause| error(cause.to_string()))?;
        if !kind.is_file() {
            return Err(error("it is not a plain file".into()));
        }
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(max_bytes + 1).read_to_end(&mut bytes))
            .map_err(|cause| error(cause.to_string()))?;
        if bytes.len() as u64 > max_bytes {
            return Err(error(format!(
                "it is larger than {max_bytes} bytes, the limit of fetch.max_component_mb"
            )));
        }
        Ok(bytes)
    };
    let bytes = read();
    if let Err(cause) = fs::remove_file(&path)
        && cause.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %cause, "an upload cannot be removed; remove it by hand");
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_once_and_only_from_the_upload_directory() {
        let directory = tempfile::tempdir().unwrap();
        let uploads = directory.path().join("uploads");
        fs::create_dir(&uploads).unwrap();
        fs::write(directory.path().join("secret"), b"secret").unwrap();
        fs::write(uploads.join("good"), b"1234").unwrap();
        std::os::unix::fs::symlink(directory.path().join("secret"), uploads.join("link")).unwrap();
        for name in ["../secret", "", ".", "..", "a/b", "/etc/passwd", "missing", "link"] {
            assert!(
                matches!(take_over(&uploads, name, 10), Err(ComponentError::Upload { .. })),
                "{name}"
            );
        }
        assert!(directory.path().join("secret").exists());
        assert_eq!(take_over(&uploads, "good", 4).unwrap(), b"1234");
        assert!(!uploads.join("good").exists());
        fs::write(uploads.join("large"), b"12345").unwrap();
        assert!(take_over(&uploads, "large", 4).is_err());
        assert!(!uploads.join("large").exists());
    }
}
