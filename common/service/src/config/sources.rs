//! What the loader looks at beside its arguments, as data, so that tests need no global state.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// The surroundings of the process.
#[derive(Clone, Default)]
pub struct Sources {
    /// Environment variables. Names or values that are not text are left out.
    pub variables: BTreeMap<String, String>,
    /// Where relative paths of variables and flags start, and where the first file is looked for.
    pub current_dir: PathBuf,
}

impl Sources {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            variables: std::env::vars_os().filter_map(text).collect(),
            current_dir: std::env::current_dir().unwrap_or_default(),
        }
    }

    /// A variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    pub(crate) fn home(&self) -> Option<PathBuf> {
        self.variable("HOME").map(PathBuf::from)
    }

    /// `text` with `~` expanded, relative to `base`.
    pub(crate) fn path(&self, text: &str, base: &Path) -> PathBuf {
        match (text.strip_prefix('~'), self.home()) {
            (Some(""), Some(home)) => home,
            (Some(rest), Some(home)) if rest.starts_with('/') => home.join(&rest[1..]),
            _ => base.join(text),
        }
    }

    /// Where `wavs.toml` may be, in order.
    pub(crate) fn file_candidates(&self, home_flag: Option<&str>) -> Vec<PathBuf> {
        let explicit = home_flag
            .or_else(|| self.variable("WAVS_HOME"))
            .map(|home| self.path(home, &self.current_dir));
        let home = self.home();
        // On this system the configuration directory of the OS is the XDG one, so it is named once.
        let mut directories = explicit
            .into_iter()
            .chain([self.current_dir.clone()])
            .collect::<Vec<_>>();
        directories.extend(home.as_ref().map(|home| home.join(".wavs")));
        directories.extend(
            self.variable("XDG_CONFIG_HOME")
                .map(|directory| Path::new(directory).join("wavs")),
        );
        directories.extend(home.as_ref().map(|home| home.join(".config/wavs")));
        directories.extend([PathBuf::from("/etc/wavs"), PathBuf::from("/var/wavs")]);
        let mut files = directories
            .into_iter()
            .map(|directory| directory.join("wavs.toml"))
            .collect::<Vec<_>>();
        let mut seen = std::collections::BTreeSet::new();
        files.retain(|file| seen.insert(file.clone()));
        files
    }

    /// The data directory when none is configured.
    pub(crate) fn default_data_dir(&self) -> PathBuf {
        // systemd separates several directories by colons; the first one is ours.
        if let Some(directory) = self.variable("STATE_DIRECTORY").and_then(|list| list.split(':').next()) {
            return PathBuf::from(directory);
        }
        let system = PathBuf::from("/var/wavs");
        let probe = if system.exists() {
            system.as_path()
        } else {
            Path::new("/var")
        };
        if access(probe, AccessFlags::W_OK).is_ok() {
            return system;
        }
        let share = self.variable("XDG_DATA_HOME").map(PathBuf::from);
        let share = share.or_else(|| Some(self.home()?.join(".local/share")));
        share.map_or(system, |share| share.join("wavs"))
    }
}
