//! What a fuzzer calls: values of guests and of service documents on their way into the host. Built for tests and by
//! `cargo fuzz` alone. The tests call the same functions with a bounded number of inputs.

use url::Url;
use wavs_service::config::GuestLimits;
use wavs_types::HostPattern;

use crate::bindings::aggregator::wavs::aggregator::output as aggregator;
use crate::bindings::operator::wavs::operator::output::WasmResponse;
use crate::bindings::operator::wavs::types::{chain, core};
use crate::egress::Destination;
use crate::host;

/// Largest result in these runs, and the most responses or actions.
const MAX_BYTES: usize = 1 << 10;
const MAX_RESULTS: usize = 64;

/// Takes `bytes` for what a guest returned, and converts it.
///
/// # Panics
/// When an accepted result breaks a rule, which is a finding.
pub fn results(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut responses = Vec::new();
    let mut actions = Vec::new();
    while let Some(kind) = input.byte() {
        match kind % 4 {
            0 => responses.push(WasmResponse {
                payload: input.bytes().to_vec(),
                ordering: input.number(),
                event_id_salt: (kind > 127).then(|| input.bytes().to_vec()),
            }),
            1 => actions.push(aggregator::AggregatorAction::Timer(aggregator::TimerAction {
                delay: core::Duration {
                    secs: input.number().unwrap_or(u64::MAX),
                },
            })),
            2 => {
                let submit = aggregator::EvmSubmitAction {
                    chain: input.text(),
                    address: chain::EvmAddress {
                        raw_bytes: input.bytes().to_vec(),
                    },
                    gas_price: None,
                };
                actions.push(aggregator::AggregatorAction::Submit(aggregator::SubmitAction::Evm(
                    submit,
                )));
            }
            _ => {
                let submit = aggregator::CosmosSubmitAction {
                    chain: input.text(),
                    address: chain::CosmosAddress {
                        bech32_addr: input.text(),
                        prefix_len: input
                            .number()
                            .map_or(0, |number| u32::try_from(number % 16).unwrap_or(0)),
                    },
                    gas_price: Some(core::U128 { value: (u64::MAX, 1) }),
                };
                actions.push(aggregator::AggregatorAction::Submit(aggregator::SubmitAction::Cosmos(
                    submit,
                )));
            }
        }
    }
    let limits = GuestLimits {
        response: MAX_BYTES,
        results: MAX_RESULTS,
        ..GuestLimits::default()
    };
    if let Ok(accepted) = host::responses(responses, &limits) {
        let bytes: usize = accepted.iter().map(|response| response.payload.len()).sum();
        assert!(bytes <= MAX_BYTES, "{bytes} bytes were accepted");
        assert!(accepted.len() <= MAX_RESULTS, "{} were accepted", accepted.len());
        let salted = accepted
            .iter()
            .filter(|response| response.event_id_salt.is_some())
            .count();
        assert!(
            accepted.len() < 2 || salted == accepted.len(),
            "several responses without salts"
        );
    }
    let asked = actions.len();
    if let Ok(accepted) = host::actions(actions, &limits) {
        assert_eq!(accepted.len(), asked, "an action was lost");
    }
}

/// Takes `bytes` for a host pattern and a URL, with a line break between them.
///
/// # Panics
/// When a pattern matches what it must not, which is a finding.
pub fn patterns(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (pattern, url) = text.split_once('\n').unwrap_or((&text, &text));
    let Ok(parsed) = pattern.parse::<HostPattern>() else {
        return;
    };
    let destination = Url::parse(url)
        .ok()
        .and_then(|url| Destination::of(url.scheme(), url.host_str()?, url.port()));
    let Some(destination) = destination else { return };
    if !parsed.matches(&destination.scheme, &destination.host, destination.port) {
        return;
    }
    // Nothing but the pattern for everything opens a host whose name it does not hold.
    let host = destination.host.to_string();
    let labels = |text: &str| text.to_lowercase().contains(host.rsplit('.').next().unwrap_or(&host));
    let spelled = pattern.is_ascii() && !pattern.contains(['%', '\t', '\r']);
    let is_name = matches!(destination.host, url::Host::Domain(_));
    assert!(
        pattern.contains('*') || !spelled || !is_name || labels(pattern),
        "{pattern:?} matches {url:?}"
    );
    let rest = pattern.split_once("://").map_or(pattern, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    assert!(!authority.contains('@'), "{pattern:?} has user information");
}

/// Bytes as numbers and texts.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    /// As many bytes as the next one says, or as there are.
    fn bytes(&mut self) -> &'a [u8] {
        let length = self.byte().map_or(0, usize::from).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }

    fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    fn number(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_result_of_a_guest_breaks_the_conversion(bytes in proptest::collection::vec(any::<u8>(), 0..2_048)) {
            results(&bytes);
        }

        #[test]
        fn no_pattern_opens_more_than_it_says(
            pattern in "(https?://)?(\\*\\.)?[a-zA-Z0-9.*\\[\\]:@%-]{0,16}(:[0-9]{0,6})?(/.{0,4})?",
            url in "https?://[a-zA-Z0-9.\\[\\]:@-]{1,16}(:[0-9]{1,5})?/?",
        ) {
            patterns(format!("{pattern}\n{url}").as_bytes());
        }

        #[test]
        fn no_text_breaks_the_patterns(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            patterns(&bytes);
        }

        /// Names that almost match are the interesting ones.
        #[test]
        fn near_misses_do_not_match(prefix in "[a-z]{0,3}", suffix in "[a-z.]{0,3}") {
            patterns(format!("example.org\nhttps://{prefix}example.org{suffix}/").as_bytes());
            patterns(format!("*.example.org\nhttps://{prefix}.example.org{suffix}/").as_bytes());
        }
    }
}
