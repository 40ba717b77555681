//! Landlock: which files a process reaches, which other processes it may signal, and where it connects.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, PathFdError, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::profile::{Network, Profile};

/// The newest interface whose rules are asked for; an older kernel enforces what it knows of them.
const NEWEST: ABI = ABI::V6;

/// Directories whose programs and libraries a child needs: the loader is executed too.
const LIBRARIES: [&str; 4] = ["/usr/lib", "/usr/lib64", "/lib", "/lib64"];

/// Why files cannot be restricted.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A path that the process needs cannot be opened.
    #[error("cannot open {path}: {source}", path = path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// What the operating system said.
        source: PathFdError,
    },
    /// The kernel refuses a rule.
    #[error(transparent)]
    Rules(#[from] RulesetError),
}

/// Restricts this thread and all that it starts.
///
/// # Errors
/// When a path of the profile that must exist does not, or the kernel refuses a rule.
pub(super) fn restrict(profile: &Profile) -> Result<Option<&'static str>, FilesError> {
    let read = AccessFs::from_read(NEWEST) & !AccessFs::Execute;
    let write = AccessFs::from_all(NEWEST) & !AccessFs::Execute & !special();
    let take = read | AccessFs::RemoveFile;
    let run = BitFlags::from(AccessFs::Execute) | AccessFs::ReadFile;
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?;
    if let Network::Port(_) = profile.network {
        rules = rules.handle_access(AccessNet::from_all(NEWEST))?;
    }
    let mut rules = rules.create()?;
    if let Network::Port(port) = profile.network {
        rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    for path in &profile.reads {
        rules = allow(rules, path, read)?;
    }
    for path in &profile.takes {
        rules = allow(rules, path, take)?;
    }
    for path in &profile.writes {
        rules = add(rules, path, open(path)?, write)?;
    }
    if !profile.runs.is_empty() {
        for path in LIBRARIES {
            rules = allow(rules, Path::new(path), run | AccessFs::ReadDir)?;
        }
        for path in &profile.runs {
            rules = add(rules, path, open(path)?, run)?;
        }
    }
    Ok(describe(&rules.restrict_self()?))
}

/// Files that are no data: devices and sockets.
fn special() -> BitFlags<AccessFs> {
    AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeSock | AccessFs::MakeFifo
}

/// A path that must be there.
fn open(path: &Path) -> Result<PathFd, FilesError> {
    PathFd::new(path).map_err(|source| FilesError::Path {
        path: path.to_owned(),
        source,
    })
}

/// Adds a rule for a path that may be missing.
fn allow(rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, FilesError> {
    match PathFd::new(path) {
        Ok(file) => add(rules, path, file, access),
        Err(_) => Ok(rules),
    }
}

/// Adds a rule. Rights that only directories have are left out for files.
fn add(
    rules: RulesetCreated,
    path: &Path,
    file: PathFd,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, FilesError> {
    let file_rights = AccessFs::from_file(NEWEST);
    let access = if path.is_dir() { access } else { access & file_rights };
    Ok(rules.add_rule(PathBeneath::new(file, access))?)
}

/// What is in force; nothing where the kernel has no Landlock.
fn describe(status: &RestrictionStatus) -> Option<&'static str> {
    (status.ruleset != RulesetStatus::NotEnforced).then_some("landlock")
}
