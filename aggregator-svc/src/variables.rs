//! Component variables: which of the operator's values a component may read.
//!
//! A component sees a variable only if its name starts with `WAVS_ENV`, the component lists it in `env_keys`, a value is
//! set, and the operator granted it where the configuration asks for grants.

use std::collections::BTreeMap;

use wavs_service::Secret;
use wavs_types::{Component, ServiceId};

use crate::settings::Settings;

/// What every variable starts with. The reference asks for no underscore behind it, so neither do we.
pub const PREFIX: &str = "WAVS_ENV";

/// The operator's values. No `Debug`: the values are secrets.
#[derive(Default)]
pub struct Variables {
    values: BTreeMap<String, Secret>,
}

impl Variables {
    /// Takes the values; names without the prefix are dropped, because no component may read them.
    #[must_use]
    pub fn new(values: impl IntoIterator<Item = (String, Secret)>) -> Self {
        Self {
            values: values
                .into_iter()
                .filter(|(name, _)| name.starts_with(PREFIX))
                .collect(),
        }
    }

    /// What `component` of `service` may read, sorted by name.
    #[must_use]
    pub fn of(&self, settings: &Settings, service: &ServiceId, component: &Component) -> Vec<(String, String)> {
        component
            .env_keys
            .iter()
            .filter(|name| name.starts_with(PREFIX) && granted(settings, service, name))
            .filter_map(|name| Some((name.clone(), self.values.get(name)?.expose_secret().to_owned())))
            .collect()
    }
}

/// Whether `service` may read a variable that it lists.
#[must_use]
pub fn granted(settings: &Settings, service: &ServiceId, name: &str) -> bool {
    !settings.env_needs_grant
        || settings
            .grants
            .get(service)
            .is_some_and(|grant| grant.env.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Grant;
    use wavs_types::{ComponentDigest, ComponentSource, Permissions};

    #[test]
    fn a_variable_must_be_declared_set_prefixed_and_granted() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let values = ["WAVS_ENV_A", "WAVS_ENVB", "PATH", "WAVS_ENV_C"];
        let variables = Variables::new(values.map(|name| (name.to_owned(), secret("v"))));
        let component = Component {
            source: ComponentSource::Digest(ComponentDigest::new([0; 32])),
            permissions: Permissions::default(),
            fuel_limit: None,
            time_limit_seconds: None,
            config: BTreeMap::new(),
            env_keys: ["WAVS_ENV_A", "WAVS_ENVB", "PATH", "WAVS_ENV_UNSET"]
                .map(str::to_owned)
                .into(),
        };
        let service = ServiceId::new([1; 32]);
        let names = |settings: &Settings| -> Vec<String> {
            variables
                .of(settings, &service, &component)
                .into_iter()
                .map(|(name, _)| name)
                .collect()
        };
        let mut settings = Settings::default();
        assert_eq!(names(&settings), ["WAVS_ENVB", "WAVS_ENV_A"]);
        settings.env_needs_grant = true;
        assert!(names(&settings).is_empty());
        let grant = Grant {
            env: ["WAVS_ENV_A".to_owned()].into(),
            ..Grant::default()
        };
        settings.grants.insert(service, grant);
        assert_eq!(names(&settings), ["WAVS_ENV_A"]);
    }
}
