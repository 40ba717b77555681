//! A scratch home for the loader: files below a temporary directory, variables and flags as data.

// Each test program uses a part of it.
#![allow(dead_code)]

use std::path::Path;

use tempfile::TempDir;
use wavs_service::config::{Audience, ConfigError, Flags, Loaded, Loader, Sources};

/// The surroundings of one load.
pub(crate) struct Scratch {
    directory: TempDir,
    variables: Vec<(String, String)>,
    flags: Vec<String>,
}

impl Scratch {
    /// Nothing but a home directory.
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
            flags: Vec::new(),
        }
    }

    /// The home directory, which is also the current directory.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file with mode 0600.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        self.file_with_mode(name, text, 0o600)
    }

    /// Writes a file.
    pub(crate) fn file_with_mode(self, name: &str, text: &str, mode: u32) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    /// Sets a variable.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds command line arguments.
    pub(crate) fn flags<const N: usize>(mut self, flags: [&str; N]) -> Self {
        self.flags.extend(flags.map(str::to_owned));
        self
    }

    /// Loads.
    pub(crate) fn load(&self) -> Result<Loaded, ConfigError> {
        self.load_for(Audience::Node)
    }

    /// Loads with the secrets of one process.
    pub(crate) fn load_for(&self, audience: Audience) -> Result<Loaded, ConfigError> {
        let command = Flags::add_to(clap::Command::new("test"));
        let arguments = std::iter::once("test".to_owned()).chain(self.flags.iter().cloned());
        let flags = Flags::from_matches(&command.try_get_matches_from(arguments).unwrap());
        let home = ("HOME".to_owned(), self.path().display().to_string());
        let variables = self.variables.iter().cloned().chain([home]).collect();
        Loader::new(
            flags,
            Sources {
                variables,
                current_dir: self.path().to_owned(),
            },
        )
        .only_for(audience)
        .load()
    }

    /// Loads what must be right.
    pub(crate) fn loaded(&self) -> Loaded {
        self.load().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Loads what must be wrong.
    pub(crate) fn refused(&self) -> String {
        match self.load() {
            Ok(_) => panic!("a wrong configuration was accepted"),
            Err(error) => error.to_string(),
        }
    }
}
