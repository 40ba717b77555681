//! What keeps components of a service from running: they could not be prepared, or engine-svc dies of them.
//!
//! The first is found out at every start and forgotten when a component is ready. Of the second, what is certain is in the ledger
//! ([`blame`](crate::ledger::blame)), and this is its view in memory; what is not is a [`doubt`](super::doubt).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use wavs_types::{ComponentDigest, Service};

use super::doubt::Doubt;
use crate::clock;
use crate::ledger::blame::{Blame, MAX_DEATHS};

/// Harmless runs by itself after which a component is forgiven the deaths that were put down to it.
const FORGIVEN_AFTER: u32 = 100;

/// The components of one service. Kept over updates of its document.
#[derive(Default)]
pub struct Components {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By place in the document.
    unprepared: BTreeMap<String, String>,
    blamed: BTreeMap<ComponentDigest, Blamed>,
    doubted: BTreeMap<ComponentDigest, Doubt>,
}

/// A component that deaths are put down to.
struct Blamed {
    blame: Blame,
    /// Its harmless runs since the last of them.
    harmless: u32,
}

impl Components {
    /// Why a component is not run at all.
    #[must_use]
    pub fn quarantine(&self, component: &ComponentDigest) -> Option<String> {
        let state = self.state();
        let Blamed { blame, .. } = state.blamed.get(component)?;
        blame.is_quarantine().then(|| text(component, blame))
    }

    /// Whether engine-svc may have died of a component lately, so that its runs are looked at one by one.
    #[must_use]
    pub fn is_suspect(&self, component: &ComponentDigest) -> bool {
        let (state, now_ms) = (self.state(), clock::now_ms());
        let blamed = state.blamed.get(component);
        let doubt = state.doubted.get(component);
        blamed.is_some_and(|blamed| blamed.blame.is_suspicion(now_ms))
            || doubt.is_some_and(|doubt| doubt.is_suspicion(now_ms))
    }

    /// A component was under way when engine-svc died on this connection.
    pub fn died(&self, component: &ComponentDigest, connection: Option<u64>) {
        let mut state = self.state();
        if let Some(blamed) = state.blamed.get_mut(component) {
            blamed.harmless = 0;
        }
        state
            .doubted
            .entry(*component)
            .or_default()
            .died(connection, clock::now_ms());
    }

    /// A component ran beside no other suspect and did no harm. True: it is forgiven what was held against it.
    pub fn survived(&self, component: &ComponentDigest) -> bool {
        let mut state = self.state();
        if let Some(doubt) = state.doubted.get_mut(component) {
            doubt.survived();
        }
        let Some(blamed) = state.blamed.get_mut(component) else {
            return false;
        };
        blamed.harmless = blamed.harmless.saturating_add(1);
        let is_forgiven = blamed.harmless >= FORGIVEN_AFTER;
        if is_forgiven {
            state.blamed.remove(component);
        }
        is_forgiven
    }

    /// Why the service is degraded, if a component is the reason.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let state = self.state();
        let now_ms = clock::now_ms();
        let blamed = state
            .blamed
            .iter()
            .map(|(component, blamed)| (component, &blamed.blame));
        let texts: Vec<_> = blamed
            .filter(|(_, blame)| blame.is_suspicion(now_ms))
            .map(|(component, blame)| text(component, blame))
            .chain(
                state
                    .unprepared
                    .iter()
                    .map(|(place, cause)| format!("{place}: {cause}; it is tried again, and its triggers wait")),
            )
            .collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    /// How many are quarantined.
    #[must_use]
    pub fn quarantined(&self) -> usize {
        self.state()
            .blamed
            .values()
            .filter(|blamed| blamed.blame.is_quarantine())
            .count()
    }

    /// Takes over what the ledger holds against a component.
    pub fn blame(&self, component: ComponentDigest, blame: Blame) {
        self.state().blamed.insert(component, Blamed { blame, harmless: 0 });
    }

    /// All may run again.
    pub fn forgive(&self) {
        let mut state = self.state();
        state.blamed.clear();
        state.doubted.clear();
    }

    /// The component at `place` of the document could not be prepared for this reason, or it is ready. True: that is news.
    pub fn prepared(&self, place: &str, result: Result<(), String>) -> bool {
        let mut state = self.state();
        match result {
            Ok(()) => state.unprepared.remove(place).is_some(),
            Err(cause) => state.unprepared.insert(place.to_owned(), cause.clone()) != Some(cause),
        }
    }

    /// A new document is in force, all of whose components are ready.
    pub fn update(&self, service: &Service) {
        let used = used(service);
        let mut state = self.state();
        state.unprepared.clear();
        state.blamed.retain(|component, _| used.contains(component));
        state.doubted.retain(|component, _| used.contains(component));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one call of a map, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The components that a document uses.
pub(super) fn used(service: &Service) -> Vec<ComponentDigest> {
    let workflows = service.workflows.values();
    let sources = workflows.flat_map(|workflow| {
        let aggregator = workflow.aggregator().map(|submit| &submit.component.source);
        std::iter::once(&workflow.component.source).chain(aggregator)
    });
    sources.map(wavs_types::ComponentSource::digest).collect()
}

fn text(component: &ComponentDigest, blame: &Blame) -> String {
    let Blame { deaths, detail, .. } = blame;
    let what = if blame.is_quarantine() {
        "is quarantined"
    } else {
        "runs one at a time"
    };
    let then = if blame.is_quarantine() {
        "Its triggers wait, for as long as results may be collected (aggregator.collect_ttl_secs), and fail then: update the service with a \
         mended component, or let it run again with wavs-cli service resume"
            .to_owned()
    } else {
        format!("{MAX_DEATHS} such deaths put it into quarantine, {FORGIVEN_AFTER} harmless runs in a row clear it")
    };
    format!(
        "component {component} {what}, because engine-svc died, or stopped answering, {deaths} times while it ran beside nothing else \
         that is suspected, the last time: {detail}. {then}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::blame::FORGIVEN_AFTER_MS;

    fn blame(deaths: u32, last_ms: u64) -> Blame {
        Blame {
            deaths,
            last_ms,
            detail: "the connection broke".to_owned(),
        }
    }

    #[test]
    fn a_component_is_suspected_then_quarantined_then_forgiven() {
        let components = Components::default();
        let component = ComponentDigest::new([1; 32]);
        assert!(!components.is_suspect(&component));
        components.blame(component, blame(1, clock::now_ms()));
        assert!(components.is_suspect(&component));
        assert_eq!(components.quarantine(&component), None);
        assert!(components.reason().unwrap().contains("runs one at a time"));
        for _ in 1..FORGIVEN_AFTER {
            assert!(!components.survived(&component));
        }
        assert!(components.survived(&component) && !components.is_suspect(&component));
        components.blame(component, blame(1, clock::now_ms() - FORGIVEN_AFTER_MS - 1));
        assert!(!components.is_suspect(&component), "it was long ago");
        components.blame(component, blame(MAX_DEATHS, 0));
        assert!(components.is_suspect(&component), "a quarantine does not end by itself");
        let text = components.quarantine(&component).unwrap();
        assert!(
            text.contains(&component.to_string()) && text.contains("the connection broke"),
            "{text}"
        );
        assert_eq!(components.reason(), Some(text));
        assert_eq!(components.quarantine(&ComponentDigest::new([2; 32])), None);
        components.forgive();
        assert_eq!((components.reason(), components.quarantined()), (None, 0));
    }

    #[test]
    fn a_component_that_is_not_ready_is_named_by_its_place() {
        let components = Components::default();
        assert!(components.prepared("/workflows/a/component", Err("not found".to_owned())));
        assert!(!components.prepared("/workflows/a/component", Err("not found".to_owned())));
        let reason = components.reason().unwrap();
        assert!(reason.starts_with("/workflows/a/component: not found"), "{reason}");
        assert!(!components.prepared("/workflows/b/component", Ok(())));
        assert!(components.reason().is_some());
        assert!(components.prepared("/workflows/a/component", Ok(())));
        assert_eq!(components.reason(), None);
    }
}
