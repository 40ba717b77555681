//! Adding, removing, updating and pausing services, over scripted processes behind real sockets.

#![allow(missing_docs)]

mod support;

use support::trigger::action;
use support::{World, document, manager};
use wavs_ipc::contract::engine::World as ComponentWorld;
use wavs_ipc::contract::registry::{AddService, AddSource, Document, PauseMode, Registry as _};
use wavs_ipc::contract::trigger_feed::SpoolBody;
use wavs_ipc::{Context, ErrorCode, WireError};

const OTHER: &str = "0x2222222222222222222222222222222222222222";

#[tokio::test]
async fn an_added_service_has_a_key_components_and_triggers() {
    let world = World::new();
    let node = world.start().await;
    let summary = node.add(support::ADDRESS).await.unwrap();
    assert_eq!(
        (summary.state.as_str(), summary.hd_index, summary.workflows),
        ("active", 1, 2)
    );
    let address = wavs_types::EvmAddress::from(summary.signer).to_string();
    assert_eq!(address, "0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
    assert_eq!(summary.uri.as_deref(), Some("http://x/service.json"));

    let mut worlds = world.engine.prefetched();
    worlds.sort_by_key(|world| *world == ComponentWorld::Aggregator);
    assert_eq!(
        worlds,
        [
            ComponentWorld::Operator,
            ComponentWorld::Operator,
            ComponentWorld::Aggregator
        ]
    );
    let watch = world.trigger.watch();
    assert_eq!(watch.routes.len(), 2);
    assert!(
        watch
            .routes
            .iter()
            .all(|route| route.active && route.service_id == summary.service_id)
    );
    assert_eq!(watch.managers, [(summary.service_id, manager(support::ADDRESS))]);

    let again = node.add(support::ADDRESS).await.unwrap_err();
    assert_eq!(again.code, ErrorCode::Conflict);
    assert!(again.detail.contains("already registered"));
    node.stop().await;
}

#[tokio::test]
async fn who_asks_for_more_than_the_node_gives_is_warned() {
    let mut world = World::new();
    world.toml = "[wavs]\nmax_execution_seconds = 10\nmax_wasm_fuel = 1000\n".to_owned();
    let greedy = String::from_utf8(document(support::ADDRESS, "active"))
        .unwrap()
        .replacen(
            r#""env_keys":[]"#,
            r#""env_keys":[],"time_limit_seconds":60,"fuel_limit":5000"#,
            1,
        );
    world.trigger.publish(support::ADDRESS, greedy.clone().into_bytes());
    let node = world.start().await;
    let summary = node.add(support::ADDRESS).await.unwrap();
    let said: Vec<_> = summary
        .warnings
        .iter()
        .map(|(place, text)| (place.as_str(), text.as_str()))
        .collect();
    assert_eq!(said.len(), 2, "{said:?}");
    for (place, asked, given) in [("time_limit_seconds", "60", "10"), ("fuel_limit", "5000", "1000")] {
        let found = said
            .iter()
            .find(|(pointer, _)| *pointer == format!("/workflows/silent/component/{place}"));
        let (_, text) = found.unwrap_or_else(|| panic!("{place}: {said:?}"));
        assert!(text.contains(asked) && text.contains(given), "{text}");
    }
    node.stop().await;

    // A grant of more than any run may have is no help.
    let id = summary.service_id;
    let mut world = World::new();
    world.toml = format!("[wavs]\nengine.hard_timeout_secs = 20\n[wavs.grants.\"{id}\"]\nmax_seconds = 9000\n");
    world.trigger.publish(support::ADDRESS, greedy.into_bytes());
    let node = world.start().await;
    let summary = node.add(support::ADDRESS).await.unwrap();
    let capped = |(_, text): &(String, String)| text.contains("asks for 60") && text.contains("gives its runs 20");
    assert!(summary.warnings.iter().any(capped), "{:?}", summary.warnings);
    node.stop().await;
}

#[tokio::test]
async fn keys_stay_with_their_services_over_restart_removal_and_another_order() {
    let world = World::new();
    world.trigger.publish(OTHER, document(OTHER, "active"));
    let node = world.start().await;
    assert_eq!(node.add(support::ADDRESS).await.unwrap().hd_index, 1);
    assert_eq!(node.add(OTHER).await.unwrap().hd_index, 2);
    for address in [support::ADDRESS, OTHER] {
        node.node
            .service
            .clone()
            .remove_service(Context::current(), manager(address), false)
            .await
            .unwrap();
    }
    assert!(world.trigger.watch().routes.is_empty());
    assert!(
        node.node
            .service
            .clone()
            .services(Context::current())
            .await
            .unwrap()
            .is_empty()
    );
    node.stop().await;

    let node = world.start().await;
    assert_eq!(node.add(OTHER).await.unwrap().hd_index, 2);
    assert_eq!(node.add(support::ADDRESS).await.unwrap().hd_index, 1);
    node.stop().await;

    let node = world.start().await;
    let services = node.node.service.clone().services(Context::current()).await.unwrap();
    assert_eq!(services.len(), 2);
    assert!(services.iter().all(|service| service.state == "active"));
    node.stop().await;
}

#[tokio::test]
async fn a_failed_add_leaves_nothing_behind() {
    let world = World::new();
    let node = world.start().await;
    world.engine.on_prefetch(|_| {
        let text = "No wasm found for digest abab";
        Err(WireError::backoff(ErrorCode::Component, text))
    });
    let error = node.add(support::ADDRESS).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Component);
    assert!(error.detail.starts_with("/workflows/"), "{error}");
    world.engine.on_prefetch(|_| Ok(()));

    world
        .trigger
        .refuse_sync(Some(WireError::never(ErrorCode::Invalid, "no such source")));
    assert_eq!(node.add(support::ADDRESS).await.unwrap_err().detail, "no such source");
    world.trigger.refuse_sync(None);
    assert!(
        node.node
            .service
            .clone()
            .services(Context::current())
            .await
            .unwrap()
            .is_empty()
    );

    // The index of the failed add was never shown, so it is free.
    world.trigger.publish(OTHER, document(OTHER, "active"));
    assert_eq!(node.add(OTHER).await.unwrap().hd_index, 1);
    node.stop().await;
}

#[tokio::test]
async fn a_document_that_does_not_fit_is_refused_with_its_reasons() {
    let world = World::new();
    let node = world.start().await;
    world.trigger.publish(OTHER, document(support::ADDRESS, "active"));
    assert_eq!(node.add(OTHER).await.unwrap_err().code, ErrorCode::ManagerMismatch);
    world.trigger.publish(OTHER, b"{\"name\":1}".to_vec());
    let error = node.add(OTHER).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidService);
    let findings: Vec<serde_json::Value> = serde_json::from_str(&error.detail).unwrap();
    assert!(!findings.is_empty() && findings[0]["pointer"].is_string());

    let elsewhere = wavs_types::ServiceManager::Evm {
        chain: "evm:1".parse().unwrap(),
        address: support::ADDRESS.parse().unwrap(),
    };
    let request = AddService {
        source: AddSource::Manager(elsewhere),
        hd_index: None,
    };
    let error = node
        .node
        .service
        .clone()
        .add_service(Context::current(), request)
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::ChainNotConfigured);
    assert!(error.detail.contains("Could not get chain config for chain evm:1"));
    node.stop().await;
}

#[tokio::test]
async fn without_a_signing_key_the_node_starts_and_refuses_services() {
    let mut world = World::new();
    world.phrase = None;
    let node = world.start().await;
    let error = node.add(support::ADDRESS).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::SignerMissing);
    assert!(error.detail.contains("missing signing mnemonic"));
    node.stop().await;
}

#[tokio::test]
async fn another_mnemonic_stops_signing_for_known_services() {
    let mut world = World::new();
    let node = world.start().await;
    let summary = node.add(support::ADDRESS).await.unwrap();
    node.stop().await;

    world.phrase =
        Some("abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about");
    let node = world.start().await;
    let known = node
        .node
        .service
        .clone()
        .services(Context::current())
        .await
        .unwrap()
        .remove(0);
    assert_eq!((known.state.as_str(), known.signer), ("failed", summary.signer));
    assert!(known.reason.unwrap().contains("another one than before"));
    world
        .trigger
        .fire("manual/1/0", &action(summary.service_id, "submit", b"1"), Some(1));
    let progress = node.injected(1, 1).await;
    assert!(progress.first_error.unwrap().starts_with("signer_missing: "));
    node.stop().await;
}

#[tokio::test]
async fn a_paused_service_drops_triggers_and_goes_on_when_resumed() {
    let world = World::new();
    let node = world.start().await;
    let service = node.add(support::ADDRESS).await.unwrap();
    let registry = node.node.service.clone();
    let paused = registry
        .clone()
        .pause_service(
            Context::current(),
            service.service_id,
            Some(PauseMode::Drop),
            "test".to_owned(),
        )
        .await;
    assert_eq!(paused.unwrap().state, "paused");
    world
        .trigger
        .fire("manual/1/0", &action(service.service_id, "silent", b"1"), Some(1));
    node.injected(1, 1).await;
    assert_eq!(node.jobs().await[0].state, "skipped");
    assert!(world.engine.runs().is_empty());

    registry
        .pause_service(Context::current(), service.service_id, None, String::new())
        .await
        .unwrap();
    world
        .trigger
        .fire("manual/2/0", &action(service.service_id, "silent", b"2"), Some(2));
    node.injected(2, 1).await;
    assert_eq!(node.jobs().await[0].state, "executed");
    node.stop().await;
}

#[tokio::test]
async fn an_announced_document_replaces_the_old_one_and_a_broken_one_does_not() {
    let world = World::new();
    let node = world.start().await;
    let service = node.add(support::ADDRESS).await.unwrap();
    let announce = |uri: &str| {
        let uri = uri.to_owned();
        world.trigger.push(SpoolBody::ServiceUri {
            service_id: service.service_id,
            uri,
            height: 1,
        });
    };
    let registry = node.node.service.clone();
    let wait = async |wanted: &str| loop {
        let summary = registry.clone().services(Context::current()).await.unwrap().remove(0);
        if summary.state == wanted {
            return summary;
        }
        tokio::task::yield_now().await;
    };
    world.trigger.publish(support::ADDRESS, document(OTHER, "active"));
    announce("http://x/2.json");
    let degraded = wait("degraded").await;
    assert_eq!(degraded.digest, service.digest);
    assert!(degraded.reason.unwrap().contains("names manager"));

    world
        .trigger
        .publish(support::ADDRESS, document(support::ADDRESS, "paused"));
    announce("http://x/3.json");
    let updated = wait("paused").await;
    assert_ne!(updated.digest, service.digest);
    assert_eq!(updated.uri.as_deref(), Some("http://x/3.json"));
    assert_eq!((updated.hd_index, updated.reason), (1, None));
    node.stop().await;
}

#[tokio::test]
async fn a_stored_document_can_be_registered_without_its_chain() {
    let world = World::new();
    let node = world.start().await;
    let registry = node.node.service.clone();
    let raw = Document(document(support::ADDRESS, "active"));
    let digest = registry.clone().put_document(Context::current(), raw).await.unwrap();
    let echoed = registry.clone().document(Context::current(), digest).await.unwrap();
    assert!(String::from_utf8(echoed.0).unwrap().starts_with("{\"name\":\"demo\""));
    let request = AddService {
        source: AddSource::Document(digest),
        hd_index: Some(12),
    };
    let summary = registry.clone().add_service(Context::current(), request).await.unwrap();
    assert_eq!((summary.hd_index, summary.uri, summary.digest), (12, None, digest));
    let missing = registry
        .document(Context::current(), wavs_types::ServiceDigest::new([9; 32]))
        .await
        .unwrap_err();
    assert_eq!(missing.code, ErrorCode::NotFound);
    node.stop().await;
}

#[tokio::test]
async fn at_start_a_component_that_is_not_ready_degrades_its_service_alone_and_is_tried_again() {
    let world = World::new();
    let missing = "cd".repeat(32);
    let text = String::from_utf8(document(OTHER, "active")).unwrap();
    world
        .trigger
        .publish(OTHER, text.replacen(&"ab".repeat(32), &missing, 1).into_bytes());
    let node = world.start().await;
    for address in [support::ADDRESS, OTHER] {
        node.add(address).await.unwrap();
    }
    node.stop().await;

    world.engine.on_prefetch(move |request| {
        if String::from_utf8_lossy(request.source.text()).contains(&missing) {
            return Err(WireError::never(ErrorCode::Component, "No wasm found for digest cdcd"));
        }
        Ok(())
    });
    let prepared = world.engine.prefetched().len();
    let node = world.start().await;
    let state = async |address: &str| {
        let all = node.node.service.clone().services(Context::current()).await.unwrap();
        let found = all.into_iter().find(|service| service.manager == manager(address));
        let service = found.unwrap();
        (service.state, service.reason.unwrap_or_default())
    };
    support::eventually(async || state(OTHER).await.0 == "degraded").await;
    let (_, reason) = state(OTHER).await;
    assert!(
        reason.contains("/workflows/silent/component") && reason.contains("No wasm found"),
        "{reason}"
    );
    // Neither the other components of the service nor the other service wait for it.
    support::eventually(async || world.engine.prefetched().len() >= prepared + 6).await;
    assert_eq!(state(support::ADDRESS).await.0, "active");

    world.engine.on_prefetch(|_| Ok(()));
    support::eventually(async || state(OTHER).await.0 == "active").await;
    node.stop().await;
}
