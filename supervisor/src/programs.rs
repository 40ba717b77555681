//! Where the programs of the other processes are: beside this one, else in the PATH.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A program that is nowhere.
#[derive(Debug, thiserror::Error)]
#[error("cannot find the program {name}; install all programs of the node side by side. Looked for {}", list(.searched))]
pub struct ProgramMissing {
    name: &'static str,
    searched: Vec<PathBuf>,
}

/// Finds `name` in `beside`, else in the directories of `path` (the form of the variable PATH).
///
/// # Errors
/// When no executable file of that name is there.
pub fn find(
    name: &'static str,
    beside: Option<&Path>,
    path: Option<&std::ffi::OsStr>,
) -> Result<PathBuf, ProgramMissing> {
    let directories = beside
        .map(Path::to_owned)
        .into_iter()
        .chain(path.into_iter().flat_map(std::env::split_paths));
    let mut searched = Vec::new();
    for directory in directories.filter(|directory| directory.is_absolute()) {
        let candidate = directory.join(name);
        if is_executable(&candidate) {
            return Ok(candidate);
        }
        searched.push(candidate);
    }
    Err(ProgramMissing { name, searched })
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn list(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_beside_wins_and_a_missing_one_names_the_places() {
        let (beside, path) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let missing = find("wavs-x", Some(beside.path()), Some(path.path().as_os_str()))
            .unwrap_err()
            .to_string();
        assert!(
            missing.contains(&beside.path().join("wavs-x").display().to_string()),
            "{missing}"
        );
        assert!(
            missing.contains(&path.path().join("wavs-x").display().to_string()),
            "{missing}"
        );
        for directory in [path.path(), beside.path()] {
            let program = directory.join("wavs-x");
            std::fs::write(&program, "").unwrap();
            assert_ne!(
                find("wavs-x", Some(directory), None).ok(),
                Some(program.clone()),
                "it is not executable"
            );
            std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
            assert_eq!(
                find("wavs-x", Some(beside.path()), Some(path.path().as_os_str())).unwrap(),
                program
            );
        }
    }
}
