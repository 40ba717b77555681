//! How a command line names a registered service: by its id, by its manager, or not at all, which means the service of the
//! document file.

use std::path::Path;
use std::str::FromStr;

use serde_json::Value;
use wavs_types::{ChainKey, ServiceId, ServiceManager};

use crate::failure::Failure;
use crate::node::Node;
use crate::service_file::{ServiceFile, get, is_unset};

/// A named service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceRef {
    /// 64 hex digits.
    Id(ServiceId),
    /// `<chain>/<address>`.
    Manager(ServiceManager),
}

impl ServiceRef {
    /// The service that was named, or that of the document in `file`.
    ///
    /// # Errors
    /// When none was named and the file has no manager.
    pub fn or_of_file(named: Option<Self>, file: &Path) -> Result<Self, Failure> {
        named.map_or_else(|| Self::of_file(file), Ok)
    }

    fn of_file(path: &Path) -> Result<Self, Failure> {
        let file = ServiceFile::read(path).map_err(|error| {
            Failure::usage(format!(
                "name a service by its id or as CHAIN/ADDRESS, or give a document: {error}"
            ))
        })?;
        let manager = get(file.tree(), "manager").filter(|manager| !is_unset(Some(manager)));
        let manager = manager
            .and_then(|tree| serde_json::to_value(tree).ok())
            .and_then(|value| serde_json::from_value(value).ok());
        let unset = || {
            Failure::failed(
                "manager-not-set",
                format!("{} has no manager; set it with `service manager`", path.display()),
            )
        };
        manager.map(Self::Manager).ok_or_else(unset)
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> ServiceId {
        match self {
            Self::Id(id) => *id,
            Self::Manager(manager) => manager.service_id(),
        }
    }

    /// The manager, which the node is asked for when only the id is known.
    ///
    /// # Errors
    /// When the node does not know the service.
    pub async fn manager(&self, node: &Node) -> Result<ServiceManager, Failure> {
        match self {
            Self::Manager(manager) => Ok(manager.clone()),
            Self::Id(id) => {
                let service = node.get(&["v1", "services", &id.to_string()], &[]).await?;
                let manager = service.get("manager").cloned().unwrap_or(Value::Null);
                let strange = |cause| {
                    Failure::failed(
                        "unexpected-answer",
                        format!("the node answered a service without manager: {cause}"),
                    )
                };
                serde_json::from_value(manager).map_err(strange)
            }
        }
    }
}

/// The last two segments of `/services/{chain}/{address}`.
#[must_use]
pub fn path_of(manager: &ServiceManager) -> [String; 2] {
    match manager {
        ServiceManager::Evm { chain, address } => [chain.to_string(), address.to_checksum(None)],
        ServiceManager::Cosmos { chain, address } => [chain.to_string(), address.as_str().to_owned()],
    }
}

impl FromStr for ServiceRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((chain, address)) = text.split_once('/') else {
            let expected = "expected a service id (64 hex digits) or CHAIN/ADDRESS, such as evm:31337/0x5fbd…";
            return text.parse().map(Self::Id).map_err(|_| expected.to_owned());
        };
        let chain: ChainKey = chain
            .parse()
            .map_err(|error: wavs_types::ParseChainKeyError| error.to_string())?;
        let is_evm = chain.namespace() == "evm" || (chain.namespace() != "cosmos" && address.starts_with("0x"));
        let manager = if is_evm {
            let address = address
                .parse()
                .map_err(|error| format!("`{address}` is not an EVM address: {error}"))?;
            ServiceManager::Evm { chain, address }
        } else {
            let address = address
                .parse()
                .map_err(|error: wavs_types::ParseCosmosAddressError| error.to_string())?;
            ServiceManager::Cosmos { chain, address }
        };
        Ok(Self::Manager(manager))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_managers_name_the_same_service() {
        let id = "76d41ff256803de151fce2ed99d145cf985af50e6def0809072e9f68932f5d11";
        let by_manager: ServiceRef = "evm:31337/0x5FbDB2315678afecb367f032d93F642f64180aa3".parse().unwrap();
        assert_eq!(by_manager.id().to_string(), id);
        assert_eq!(id.parse::<ServiceRef>().unwrap().id(), by_manager.id());
        let cosmos = "cosmos:pion-1/neutron1qypqxpq9qcrsszg2pvxq6rs0zqg3yyc5z5tpwxqergd3c8g7rusqpsa9eu";
        assert!(matches!(
            cosmos.parse(),
            Ok(ServiceRef::Manager(ServiceManager::Cosmos { .. }))
        ));
        for text in [
            "",
            "demo",
            "evm:31337/0x12",
            "evm/0x5FbDB2315678afecb367f032d93F642f64180aa3",
        ] {
            assert!(text.parse::<ServiceRef>().is_err(), "{text}");
        }
    }
}
