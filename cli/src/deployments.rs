//! `deployments.json` in the data directory: what this tool has deployed. Entries of other tools are kept.

use std::path::Path;

use wavs_types::{JsonTree, ServiceDocument, ServiceManager};

use crate::failure::Failure;
use crate::service_file::{get, get_mut, object, replace, set, tree_of};

/// Adds a deployed service: its manager under `evm_service_managers`, its document under `services`.
///
/// # Errors
/// When the file cannot be read or written.
pub fn record(data: &Path, document: &ServiceDocument) -> Result<(), Failure> {
    let path = data.join("deployments.json");
    let failed = |cause: String| {
        let detail = format!(
            "cannot record the deployment in {}: {cause}; --save-deployment false leaves it out",
            path.display()
        );
        Failure::failed("deployments", detail)
    };
    let mut tree = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|cause| failed(cause.to_string()))?,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => object(),
        Err(cause) => return Err(failed(cause.to_string())),
    };
    for name in ["evm_service_managers", "services"] {
        if get(&tree, name).is_none() {
            set(&mut tree, name, object());
        }
    }
    let service = document.service();
    if let ServiceManager::Evm { chain, address } = &service.manager
        && let Some(managers) = get_mut(&mut tree, "evm_service_managers")
    {
        let address = tree_of(address)?;
        match get_mut(managers, chain.as_str()) {
            Some(JsonTree::Array(known)) if known.contains(&address) => {}
            Some(JsonTree::Array(known)) => known.push(address),
            _ => set(managers, chain.as_str(), JsonTree::Array(vec![address])),
        }
    }
    if let Some(services) = get_mut(&mut tree, "services") {
        let echo = serde_json::from_str(&document.echo()).map_err(|cause| failed(cause.to_string()))?;
        set(services, &service.id().to_string(), echo);
    }
    let text = serde_json::to_string_pretty(&tree).map_err(|cause| failed(cause.to_string()))?;
    let written = std::fs::create_dir_all(data).and_then(|()| replace(&path, &format!("{text}\n")));
    written.map_err(|cause| failed(cause.to_string()))
}
