//! How requests name services, chains and documents, and the errors when they do it wrong.

use std::str::FromStr;

use wavs_ipc::contract::registry::ServiceView;
use wavs_types::{ChainConfig, ChainKey, CosmosAddress, EvmAddress, ServiceId, ServiceManager};

use crate::http::api::{Api, READ};
use crate::http::problem::Problem;

/// A registered service by id.
pub async fn service(api: &Api, id: ServiceId) -> Result<ServiceView, Problem> {
    let view = api
        .registry(READ, async move |client, context| client.service(context, id).await)
        .await;
    view.map_err(|error| error.or_missing("service-not-found", unknown(id)))
}

/// The service of a manager. Without it, a chain that the node does not know is the better reason.
pub async fn of_manager(api: &Api, manager: &ServiceManager) -> Result<ServiceView, Problem> {
    match service(api, manager.service_id()).await {
        Err(problem) if problem.code == "service-not-found" => {
            chain_config(api, manager.chain()).await?;
            Err(problem)
        }
        found => found,
    }
}

/// The text of an unknown service.
#[must_use]
pub fn unknown(id: ServiceId) -> String {
    format!("Service ID {id} has not been set on the http server")
}

/// A part of the path as `T`.
pub fn parse<T: FromStr<Err: std::fmt::Display>>(what: &str, text: &str) -> Result<T, Problem> {
    text.parse()
        .map_err(|cause| Problem::parameter(format!("{text} is not a {what}: {cause}")))
}

/// The manager that `/services/{chain}/{address}` names. The prefix of a Cosmos address must be that of its chain.
pub async fn manager(api: &Api, chain: &str, address: &str) -> Result<ServiceManager, Problem> {
    let chain: ChainKey = parse("chain key", chain)?;
    if is_evm(&chain, address) {
        let address: EvmAddress = parse("EVM address", address)?;
        return Ok(ServiceManager::Evm { chain, address });
    }
    let address: CosmosAddress = parse("bech32 address", address)?;
    let wanted = bech32_prefix(api, &chain).await?;
    if wanted.as_deref().is_some_and(|prefix| prefix != address.prefix()) {
        let wanted = wanted.unwrap_or_default();
        return Err(Problem::parameter(format!(
            "{} does not have the prefix {wanted} of {chain}",
            address.as_str()
        )));
    }
    Ok(ServiceManager::Cosmos { chain, address })
}

/// A `dev` chain can be of either family; then the address decides.
fn is_evm(chain: &ChainKey, address: &str) -> bool {
    match chain.namespace() {
        "evm" => true,
        "cosmos" => false,
        _ => address.starts_with("0x"),
    }
}

async fn bech32_prefix(api: &Api, key: &ChainKey) -> Result<Option<String>, Problem> {
    match chain_config(api, key).await? {
        ChainConfig::Cosmos(config) => Ok(Some(config.bech32_prefix)),
        ChainConfig::Evm(_) => Ok(None),
    }
}

async fn chain_config(api: &Api, key: &ChainKey) -> Result<ChainConfig, Problem> {
    let chains = api
        .registry(READ, async |client, context| client.chains(context).await)
        .await?;
    let missing = || Problem::missing("chain-not-configured", format!("missing chain config for {key}"));
    let (_, config) = chains.into_iter().find(|(name, _)| name == key).ok_or_else(missing)?;
    config.decode().map_err(|error| Problem::internal(error.detail))
}
