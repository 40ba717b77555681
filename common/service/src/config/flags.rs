//! Configuration keys as command line flags.

use clap::{Arg, ArgAction, ArgMatches, Command, Error, FromArgMatches};

use super::error::ConfigError;
use super::keys::{KEYS, Key};
use super::kind::Kind;
use super::layer::{Entry, Layer, Origin};

/// The flags of one command line. Works with clap's derive too: `#[command(flatten)] config: Flags`.
#[derive(Clone, Default)]
pub struct Flags {
    /// `--home`: directory that is searched first for wavs.toml.
    pub home: Option<String>,
    /// `--dotenv`: file with variables.
    pub dotenv: Option<String>,
    /// `--strict-config`: warnings about the configuration are errors.
    pub strict: bool,
    /// Keys with their texts.
    values: Vec<(&'static str, String)>,
}

impl Flags {
    /// Adds all flags to `command`.
    #[must_use]
    pub fn add_to(command: Command) -> Command {
        let heading = "Configuration (each also as WAVS_<NAME>, and in wavs.toml under [wavs])";
        let command = command.next_help_heading(heading).args([
            Arg::new("home")
                .long("home")
                .value_name("DIRECTORY")
                .help("Look for wavs.toml here first"),
            Arg::new("dotenv")
                .long("dotenv")
                .value_name("FILE")
                .help("Read variables from this file"),
            Arg::new("strict-config")
                .long("strict-config")
                .action(ArgAction::SetTrue)
                .help("Treat warnings about the configuration as errors"),
        ]);
        KEYS.iter()
            .filter(|key| key.flag)
            .fold(command, |command, key| command.arg(argument(key)))
    }

    /// Takes the flags out of a parsed command line.
    #[must_use]
    pub fn from_matches(matches: &ArgMatches) -> Self {
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        let value = |key: &Key| {
            Some((
                key.path,
                matches
                    .get_many::<String>(key.path)?
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(","),
            ))
        };
        Self {
            home: text("home"),
            dotenv: text("dotenv"),
            strict: matches.get_flag("strict-config"),
            values: KEYS.iter().filter(|key| key.flag).filter_map(value).collect(),
        }
    }

    /// Sets a key as its flag would. For programs that compute a value, such as a development mode.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.values.push((key, value.into()));
        self
    }

    pub(crate) fn layer(&self) -> Result<Layer, ConfigError> {
        let mut layer = Layer::default();
        for (path, text) in &self.values {
            let origin = Origin::CommandLine(format!("--{}", long(path)));
            let segments = path.split('.').map(str::to_owned).collect::<Vec<_>>();
            let kind = super::keys::find(&segments).map_or(Kind::Text, |key| key.kind);
            match kind.parse(text) {
                Ok(value) => layer.set(segments, Entry { value, origin }),
                Err(detail) => {
                    return Err(ConfigError::Value {
                        key: (*path).to_owned(),
                        origin,
                        detail,
                    });
                }
            }
        }
        Ok(layer)
    }
}

fn long(path: &str) -> String {
    path.replace(['.', '_'], "-")
}

fn argument(key: &'static Key) -> Arg {
    let mut help = key.meaning();
    if let Some(default) = key.default.filter(|default| !default.is_empty()) {
        help = format!("{help} [default: {default}]");
    }
    let argument = Arg::new(key.path).long(long(key.path)).help(help);
    match key.kind {
        // A flag may stand alone; what follows it is its value only after `=` or if it reads like one.
        Kind::Flag => argument
            .num_args(0..=1)
            .default_missing_value("true")
            .value_parser(["true", "false"])
            .value_name("BOOL"),
        Kind::List => argument.action(ArgAction::Append).value_name("LIST"),
        Kind::Number(..) => argument.value_name("NUMBER"),
        Kind::Path => argument.value_name("PATH"),
        Kind::Url => argument.value_name("URL"),
        Kind::Credential => argument.value_name("CREDENTIAL"),
        _ => argument.value_name("TEXT"),
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(Self::from_matches(matches))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_matches(matches);
        Ok(())
    }
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        Self::add_to(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::add_to(command)
    }
}
