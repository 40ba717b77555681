//! What the tool looks at beside its arguments, as data, so that tests need no global state.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// The surroundings of the process.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Environment variables; those that are not text are left out.
    pub variables: BTreeMap<String, String>,
    /// Where relative paths start.
    pub current_dir: PathBuf,
    /// Whether stdout is a terminal.
    pub terminal: bool,
}

impl Surroundings {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            variables: std::env::vars_os().filter_map(text).collect(),
            current_dir: std::env::current_dir().unwrap_or_default(),
            terminal: std::io::stdout().is_terminal(),
        }
    }

    /// A variable that is set and not empty.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Whether tables may be coloured (<https://no-color.org>).
    #[must_use]
    pub fn colour(&self) -> bool {
        self.terminal && self.variable("NO_COLOR").is_none() && self.variable("TERM") != Some("dumb")
    }

    /// `text` with a leading `~` expanded, relative to `base`.
    #[must_use]
    pub fn path(&self, text: &str, base: &Path) -> PathBuf {
        match (text.strip_prefix('~'), self.home()) {
            (Some(""), Some(home)) => home,
            (Some(rest), Some(home)) if rest.starts_with('/') => home.join(&rest[1..]),
            _ => base.join(text),
        }
    }

    /// Where `wavs.toml` may be, in order.
    pub(super) fn file_candidates(&self, home_flag: Option<&Path>) -> Vec<PathBuf> {
        let named = ["WAVS_CLI_HOME", "WAVS_HOME"]
            .iter()
            .find_map(|name| self.variable(name))
            .map(PathBuf::from);
        let named = home_flag.map(Path::to_owned).or(named);
        let named = named.map(|path| self.path(&path.to_string_lossy(), &self.current_dir));
        let home = self.home();
        let directories = [
            named,
            Some(self.current_dir.clone()),
            home.as_ref().map(|home| home.join(".wavs")),
            self.variable("XDG_CONFIG_HOME")
                .map(|directory| Path::new(directory).join("wavs")),
            home.map(|home| home.join(".config/wavs")),
            Some(PathBuf::from("/etc/wavs")),
            Some(PathBuf::from("/var/wavs")),
        ];
        directories
            .into_iter()
            .flatten()
            .map(|directory| directory.join("wavs.toml"))
            .collect()
    }

    /// The data directory when none is configured: the one in `/var` if it was prepared for this user, else one of the user's own.
    pub(super) fn default_data(&self) -> PathBuf {
        let system = PathBuf::from("/var/wavs-cli");
        let writable = system
            .metadata()
            .is_ok_and(|metadata| !metadata.permissions().readonly());
        let share = self.variable("XDG_DATA_HOME").map(PathBuf::from);
        let share = share.or_else(|| Some(self.home()?.join(".local/share")));
        match share {
            Some(share) if !writable => share.join("wavs-cli"),
            _ => system,
        }
    }

    fn home(&self) -> Option<PathBuf> {
        self.variable("HOME").map(PathBuf::from)
    }
}
