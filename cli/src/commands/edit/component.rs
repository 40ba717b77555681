//! `… component …`: what a component may do and what it is given, the same for operator and aggregator components.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::{Deserialize, Serialize};
use wavs_types::{AllowedHosts, JsonTree, Permissions, WorkflowId};

use super::component_source::{SourceArgs, SourceResult};
use crate::failure::Failure;
use crate::service_file::{ServiceFile, get, get_mut, is_unset, object, set, tree_of};
use crate::session::Session;

/// Largest file with config values in bytes.
const MAX_CONFIG_FILE: u64 = 1 << 20;

/// What can be set.
#[derive(Debug, Subcommand)]
pub(super) enum ComponentCommand {
    #[command(flatten)]
    Source(SourceArgs),
    /// Set what the component asks to be allowed; what is left out stays as it is
    Permissions {
        /// Hosts for HTTP requests: names, '' for none, '*' for all
        #[arg(long, value_name = "HOST", num_args = 0..)]
        http_hosts: Option<Vec<String>>,
        /// A directory of its own
        #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
        file_system: Option<bool>,
        /// TCP and UDP sockets
        #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
        raw_sockets: Option<bool>,
        /// Name lookups
        #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
        dns_resolution: Option<bool>,
    },
    /// Set the fuel of a run; without --fuel there is no limit
    FuelLimit {
        /// Units of fuel
        #[arg(long)]
        fuel: Option<u64>,
    },
    /// Set the longest time of a run; without --seconds the node decides
    TimeLimit {
        /// Seconds
        #[arg(long)]
        seconds: Option<u64>,
    },
    /// Replace the config values; without any they are cleared
    Config {
        /// key=value, separated by commas or blanks
        #[arg(long, value_name = "KEY=VALUE", num_args = 0.., conflicts_with = "config_file")]
        values: Vec<String>,
        /// A JSON object of texts, or a file with key=value lines, whose values may have commas
        #[arg(long, value_name = "FILE")]
        config_file: Option<PathBuf>,
    },
    /// Replace the names of operators' variables that the component reads; without any they are cleared
    Env {
        /// Names that start with WAVS_ENV, separated by commas or blanks
        #[arg(long, value_name = "NAME", num_args = 0..)]
        values: Vec<String>,
    },
}

/// Whose component it is.
#[derive(Clone, Serialize)]
pub(super) enum Context {
    Workflow { workflow_id: WorkflowId },
    Aggregator { workflow_id: WorkflowId },
}

/// The results: one tag each.
#[derive(Serialize)]
pub(super) enum ComponentResult<'a> {
    Permissions {
        context: Context,
        permissions: Permissions,
        file_path: &'a Path,
    },
    FuelLimit {
        context: Context,
        fuel_limit: Option<u64>,
        file_path: &'a Path,
    },
    TimeLimit {
        context: Context,
        time_limit_seconds: Option<u64>,
        file_path: &'a Path,
    },
    Config {
        context: Context,
        config: BTreeMap<String, String>,
        file_path: &'a Path,
    },
    EnvKeys {
        context: Context,
        env_keys: BTreeSet<String>,
        file_path: &'a Path,
    },
    #[serde(untagged)]
    Source(SourceResult<'a>),
}

impl ComponentCommand {
    pub(super) async fn run(
        self,
        id: WorkflowId,
        aggregator: bool,
        path: &Path,
        session: &mut Session<'_>,
    ) -> Result<(), Failure> {
        let mut file = ServiceFile::read(path)?;
        let context = if aggregator {
            Context::Aggregator {
                workflow_id: id.clone(),
            }
        } else {
            Context::Workflow {
                workflow_id: id.clone(),
            }
        };
        let slot = slot(file.workflow(&id)?, aggregator)?;
        let (result, done) = if let Self::Source(args) = self {
            let (result, done) = args.apply(slot, context, path, session).await?;
            (ComponentResult::Source(result), done)
        } else {
            self.apply(component(slot)?, context, path)?
        };
        file.write()?;
        let whose = if aggregator {
            "aggregator component"
        } else {
            "component"
        };
        session.result(&result, |_| {
            format!("{whose} of workflow {id}: {done}, in {}", path.display())
        })
    }

    fn apply<'a>(
        self,
        component: &mut JsonTree,
        context: Context,
        path: &'a Path,
    ) -> Result<(ComponentResult<'a>, String), Failure> {
        let file_path = path;
        Ok(match self {
            // Handled before, because it also works for a component that is not set yet.
            Self::Source(_) => return Err(Failure::failed("internal", "a source is no term of a component")),
            Self::Permissions {
                http_hosts,
                file_system,
                raw_sockets,
                dns_resolution,
            } => {
                if get(component, "permissions").is_none() {
                    set(component, "permissions", object());
                }
                let tree =
                    get_mut(component, "permissions").ok_or_else(|| Failure::failed("internal", "no permissions"))?;
                if let Some(hosts) = http_hosts {
                    set(tree, "allowed_http_hosts", tree_of(&allowed_hosts(&words(&hosts)))?);
                }
                let flags = [
                    ("file_system", file_system),
                    ("raw_sockets", raw_sockets),
                    ("dns_resolution", dns_resolution),
                ];
                for (name, flag) in flags {
                    if let Some(flag) = flag {
                        set(tree, name, JsonTree::Bool(flag));
                    }
                }
                let permissions: Permissions = typed(tree)?;
                let done = format!("permissions are {}", shown(&permissions));
                (
                    ComponentResult::Permissions {
                        context,
                        permissions,
                        file_path,
                    },
                    done,
                )
            }
            Self::FuelLimit { fuel } => {
                set(component, "fuel_limit", tree_of(&fuel)?);
                let done = fuel.map_or("no fuel limit".to_owned(), |fuel| format!("fuel limit {fuel}"));
                (
                    ComponentResult::FuelLimit {
                        context,
                        fuel_limit: fuel,
                        file_path,
                    },
                    done,
                )
            }
            Self::TimeLimit { seconds } => {
                set(component, "time_limit_seconds", tree_of(&seconds)?);
                let done = seconds.map_or("no time limit".to_owned(), |seconds| format!("time limit {seconds} s"));
                (
                    ComponentResult::TimeLimit {
                        context,
                        time_limit_seconds: seconds,
                        file_path,
                    },
                    done,
                )
            }
            Self::Config { values, config_file } => {
                let config = match config_file {
                    Some(file) => config_of_file(&file)?,
                    None => pairs(&words(&values))?,
                };
                set(component, "config", tree_of(&config)?);
                let done = format!("{} config values", config.len());
                (
                    ComponentResult::Config {
                        context,
                        config,
                        file_path,
                    },
                    done,
                )
            }
            Self::Env { values } => {
                let env_keys: BTreeSet<String> = words(&values).into_iter().collect();
                for key in env_keys.iter().filter(|key| !key.starts_with("WAVS_ENV")) {
                    tracing::warn!("`{key}` does not start with WAVS_ENV, so no node passes it to the component");
                }
                set(component, "env_keys", tree_of(&env_keys)?);
                let done = format!("{} variables", env_keys.len());
                (
                    ComponentResult::EnvKeys {
                        context,
                        env_keys,
                        file_path,
                    },
                    done,
                )
            }
        })
    }
}

/// The place of the component in its workflow.
fn slot(workflow: &mut JsonTree, aggregator: bool) -> Result<&mut JsonTree, Failure> {
    if !aggregator {
        if get(workflow, "component").is_none() {
            set(workflow, "component", object());
        }
        return get_mut(workflow, "component").ok_or_else(|| Failure::failed("internal", "no component"));
    }
    let submit = get_mut(workflow, "submit").and_then(|submit| get_mut(submit, "aggregator"));
    let aggregator = submit.ok_or_else(|| {
        Failure::failed(
            "submit-not-set",
            "the workflow has no aggregator; run `… workflow submit --id ID set-aggregator` first",
        )
    })?;
    if get(aggregator, "component").is_none() {
        set(aggregator, "component", object());
    }
    get_mut(aggregator, "component").ok_or_else(|| Failure::failed("internal", "no component"))
}

/// The component in its place; one without a source has no terms to change.
fn component(slot: &mut JsonTree) -> Result<&mut JsonTree, Failure> {
    if is_unset(Some(slot)) || get(slot, "source").is_none() {
        let detail = "the component is not set; name its source first with set-source-digest, set-source-uri or set-source-registry";
        return Err(Failure::failed("component-not-set", detail));
    }
    Ok(slot)
}

fn typed<T: for<'de> Deserialize<'de>>(tree: &JsonTree) -> Result<T, Failure> {
    let text = serde_json::to_string(tree);
    text.and_then(|text| serde_json::from_str(&text)).map_err(|cause| {
        Failure::failed(
            "invalid-service",
            format!("the document has something else there: {cause}"),
        )
    })
}

/// Values of a flag that may repeat, take several words, and have commas between them.
fn words(values: &[String]) -> Vec<String> {
    values
        .iter()
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn allowed_hosts(hosts: &[String]) -> AllowedHosts {
    match hosts {
        [] => AllowedHosts::None,
        [all] if all == "*" => AllowedHosts::All,
        _ => AllowedHosts::Only(hosts.to_vec()),
    }
}

fn shown(permissions: &Permissions) -> String {
    let hosts = match &permissions.allowed_http_hosts {
        AllowedHosts::All => "HTTP to all hosts".to_owned(),
        AllowedHosts::None => "no HTTP".to_owned(),
        AllowedHosts::Only(hosts) => format!("HTTP to {}", hosts.join(", ")),
    };
    let flags = [
        (permissions.file_system, "files"),
        (permissions.raw_sockets, "sockets"),
        (permissions.dns_resolution, "name lookups"),
    ];
    let granted = flags
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, name)| format!(", {name}"))
        .collect::<String>();
    hosts + &granted
}

fn pairs(words: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let pair = |word: &String| {
        let wrong = || {
            Failure::usage(format!(
                "`{word}` is not key=value; a value with a comma needs --config-file"
            ))
        };
        word.split_once('=')
            .map(|(key, value)| (key.trim().to_owned(), value.to_owned()))
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(wrong)
    };
    words.iter().map(pair).collect()
}

fn config_of_file(path: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let wrong = |cause: String| Failure::failed("config-file", format!("cannot use {}: {cause}", path.display()));
    let size = std::fs::metadata(path).map_err(|cause| wrong(cause.to_string()))?.len();
    if size > MAX_CONFIG_FILE {
        return Err(wrong(format!("it has {size} bytes, the limit is {MAX_CONFIG_FILE}")));
    }
    let text = std::fs::read_to_string(path).map_err(|cause| wrong(cause.to_string()))?;
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(&text).map_err(|cause| wrong(format!("expected an object of texts: {cause}")));
    }
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    pairs(&lines.map(str::to_owned).collect::<Vec<_>>()).map_err(|failure| wrong(failure.to_string()))
}
