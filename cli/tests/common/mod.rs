//! Runs command lines in this process, with a directory and an environment of their own.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "every test file uses a part")]

pub mod chain;
pub mod scripted;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use wavs_cli::{Exit, Surroundings};

/// A place for one test.
pub struct Tool {
    dir: TempDir,
    variables: Vec<(String, String)>,
}

/// How a command line ended.
#[derive(Debug)]
pub struct Ended {
    pub exit: Exit,
    pub stdout: String,
    pub stderr: String,
}

impl Tool {
    pub fn new() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
            variables: Vec::new(),
        }
    }

    /// Sets a variable of the environment.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The service document that [`Tool::service`] works on.
    pub fn document(&self) -> PathBuf {
        self.dir.path().join("service.json")
    }

    /// Runs `wavs-cli` with words separated by blanks; `FILE` stands for the document.
    pub fn run(&self, line: &str) -> Ended {
        let document = self.document().display().to_string();
        let words = line.split_whitespace().map(|word| {
            if word == "FILE" {
                document.clone()
            } else {
                word.to_owned()
            }
        });
        self.run_words(words)
    }

    pub fn run_words(&self, words: impl IntoIterator<Item = String>) -> Ended {
        let home = self.dir.path().join("home").display().to_string();
        let mut variables: std::collections::BTreeMap<_, _> = self.variables.iter().cloned().collect();
        variables.entry("HOME".to_owned()).or_insert(home);
        let surroundings = Surroundings {
            variables,
            current_dir: self.dir.path().to_owned(),
            terminal: false,
        };
        let arguments = std::iter::once("wavs-cli".to_owned()).chain(words).map(OsString::from);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let exit = wavs_cli::main(arguments, surroundings, &mut stdout, &mut stderr);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended {
            exit,
            stdout: text(stdout),
            stderr: text(stderr),
        }
    }

    /// Runs `service -f FILE … --json true` and expects it to work.
    pub fn service(&self, line: &str) -> Value {
        let ended = self.run(&format!("service -f FILE {line} --json true"));
        assert_eq!(ended.exit, Exit::Done, "{line}: {ended:?}");
        ended.json()
    }

    /// The document as it is in its file.
    pub fn written(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.document()).unwrap()).unwrap()
    }

    pub fn write(&self, text: &str) {
        std::fs::write(self.document(), text).unwrap();
    }
}

impl Ended {
    /// Stdout as one JSON value.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
