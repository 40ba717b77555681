//! The service document as the guest sees it. Lists are sorted by key, as the maps of the document are.

use wavs_types::{
    AllowedHosts, Component, ComponentSource, Permissions, Service, ServiceManager, ServiceStatus, Submit, Workflow,
};
use wavs_types::{SignatureAlgorithm, SignatureKind, SignaturePrefix};

use super::address;
use super::trigger::trigger;
use crate::bindings::operator::wavs::types::service as wit;

pub(in crate::host) fn service(service: &Service) -> wit::Service {
    wit::Service {
        name: service.name.clone(),
        workflows: service
            .workflows
            .iter()
            .map(|(id, value)| (id.as_str().to_owned(), workflow(value)))
            .collect(),
        status: match service.status {
            ServiceStatus::Active => wit::ServiceStatus::Active,
            ServiceStatus::Paused => wit::ServiceStatus::Paused,
        },
        manager: match &service.manager {
            ServiceManager::Evm { chain, address } => wit::ServiceManager::Evm(wit::EvmManager {
                chain: chain.as_str().to_owned(),
                address: address::evm(address),
            }),
            ServiceManager::Cosmos { chain, address } => wit::ServiceManager::Cosmos(wit::CosmosManager {
                chain: chain.as_str().to_owned(),
                address: address::cosmos(address),
            }),
        },
    }
}

pub(in crate::host) fn workflow(workflow: &Workflow) -> wit::Workflow {
    wit::Workflow {
        trigger: trigger(&workflow.trigger),
        component: component(&workflow.component),
        submit: match &workflow.submit {
            Submit::None => wit::Submit::None,
            Submit::Aggregator(submit) => wit::Submit::Aggregator(wit::AggregatorSubmit {
                component: component(&submit.component),
                signature_kind: signature_kind(&submit.signature_kind),
            }),
        },
    }
}

fn component(component: &Component) -> wit::Component {
    wit::Component {
        source: source(&component.source),
        permissions: permissions(&component.permissions),
        fuel_limit: component.fuel_limit,
        time_limit_seconds: component.time_limit_seconds,
        config: component
            .config
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        env_keys: component.env_keys.iter().cloned().collect(),
    }
}

fn source(source: &ComponentSource) -> wit::ComponentSource {
    match source {
        ComponentSource::Download { uri, digest } => wit::ComponentSource::Download(wit::ComponentSourceDownload {
            uri: uri.clone(),
            digest: digest.to_string(),
        }),
        ComponentSource::Registry {
            digest,
            domain,
            version,
            package,
        } => wit::ComponentSource::Registry(wit::Registry {
            digest: digest.to_string(),
            domain: domain.clone(),
            version: version.clone(),
            pkg: package.clone(),
        }),
        ComponentSource::Digest(digest) => wit::ComponentSource::Digest(digest.to_string()),
    }
}

fn permissions(permissions: &Permissions) -> wit::Permissions {
    wit::Permissions {
        allowed_http_hosts: match &permissions.allowed_http_hosts {
            AllowedHosts::All => wit::AllowedHostPermission::All,
            AllowedHosts::Only(hosts) => wit::AllowedHostPermission::Only(hosts.clone()),
            AllowedHosts::None => wit::AllowedHostPermission::None,
        },
        file_system: permissions.file_system,
        raw_sockets: permissions.raw_sockets,
        dns_resolution: permissions.dns_resolution,
    }
}

fn signature_kind(kind: &SignatureKind) -> wit::SignatureKind {
    wit::SignatureKind {
        algorithm: match kind.algorithm {
            SignatureAlgorithm::Secp256k1 => wit::SignatureAlgorithm::Secp256k1,
        },
        prefix: kind.prefix.map(|prefix| match prefix {
            SignaturePrefix::Eip191 => wit::SignaturePrefix::Eip191,
        }),
    }
}
