//! What an endpoint means when it refuses a request.
//!
//! No two providers word it alike, and one code stands for different things: -32005 is a range that is too large at one
//! and a rate limit at another. The texts decide first, then the code.

/// What is to be done about a refused request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The answer would be too large or take too long: ask for less. Some providers propose a range of blocks.
    TooMuch {
        /// First and last block that the provider would answer for.
        proposed: Option<(u64, u64)>,
    },
    /// Too many requests: ask again later.
    Busy,
    /// Asking for less or later does not help.
    Final,
}

/// What providers say when too many requests come.
const BUSY: [&str; 15] = [
    "rate limit",
    "ratelimit",
    "rate-limit",
    "too many requests",
    "request limit",
    "requests limit",
    "request count exceeded",
    "requests per second",
    "compute units",
    "over rate",
    "request rate",
    "throughput",
    "capacity exceeded",
    "quota",
    "credits",
];

/// What providers say when one request asks for too much.
const TOO_MUCH: [&str; 17] = [
    "range",
    "more than",
    "response size",
    "size exceeded",
    "too large",
    "too big",
    "too many logs",
    "too many results",
    "too many blocks",
    "exceed max",
    "exceeds max",
    "limited to",
    "logs limit",
    "timeout",
    "timed out",
    "time out",
    "took too long",
];

/// What endpoints say when they cannot answer at all.
const FINAL: [&str; 12] = [
    "not supported",
    "unsupported",
    "not available",
    "does not exist",
    "unauthorized",
    "forbidden",
    "api key",
    "pruned",
    "missing trie",
    "header not found",
    "unknown block",
    "invalid argument",
];

/// "Limit exceeded" in EIP-1474; Infura uses it for large answers too.
const LIMIT_EXCEEDED: i64 = -32_005;
/// JSON-RPC: the text was not JSON, or the method is not known.
const HOPELESS: [i64; 2] = [-32_700, -32_601];
/// HTTP: too many requests.
const TOO_MANY_REQUESTS: i64 = 429;

impl Refusal {
    /// Reads an error object of JSON-RPC. What nobody knows is taken for [`Refusal::TooMuch`]: asking for less is cheap
    /// and ends at a single block.
    pub(crate) fn of_error(code: i64, message: &str) -> Self {
        let text = message.to_ascii_lowercase();
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
        if code == TOO_MANY_REQUESTS || says(&BUSY) {
            Self::Busy
        } else if HOPELESS.contains(&code) {
            Self::Final
        } else if says(&TOO_MUCH) {
            Self::TooMuch {
                proposed: proposed_range(&text),
            }
        } else if code == LIMIT_EXCEEDED {
            Self::Busy
        } else if says(&FINAL) {
            Self::Final
        } else {
            Self::TooMuch { proposed: None }
        }
    }

    /// Reads an HTTP status that came without a JSON-RPC answer; `None` when it says nothing about the request.
    pub(crate) fn of_status(status: u16) -> Option<Self> {
        match status {
            429 | 503 => Some(Self::Busy),
            408 | 413 | 504 => Some(Self::TooMuch { proposed: None }),
            _ => None,
        }
    }
}

/// The range in texts such as `this block range should work: [0x0, 0x133bb4]` and `retry with the range 12-34`.
fn proposed_range(text: &str) -> Option<(u64, u64)> {
    let pair = |text: &str, mark: char| {
        let (first, last) = text.split_once(mark)?;
        let (first, last) = (block(first)?, block(last)?);
        (first <= last).then_some((first, last))
    };
    let bracketed = || {
        let (_, rest) = text.split_once('[')?;
        pair(rest.split_once(']')?.0, ',')
    };
    let dashed = || {
        let (_, rest) = text.split_once("the range ")?;
        pair(rest.split_whitespace().next()?, '-')
    };
    bracketed().or_else(dashed)
}

fn block(text: &str) -> Option<u64> {
    let text = text.trim().trim_end_matches(['.', ',']);
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LESS: Refusal = Refusal::TooMuch { proposed: None };

    #[test]
    fn providers_are_understood() {
        let proposed = |first, last| Refusal::TooMuch {
            proposed: Some((first, last)),
        };
        let cases = [
            // Alchemy
            (
                -32_602,
                "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range and no limit on \
                 the response size, or you can request any block range with a cap of 10K logs in the response. Based on \
                 your parameters and the response size limit, this block range should work: [0x0, 0x133bb4]",
                proposed(0, 0x13_3bb4),
            ),
            (
                -32_600,
                "Under the Free tier plan, you can make eth_getLogs requests with up to a 10 block range.",
                LESS,
            ),
            (
                429,
                "Your app has exceeded its compute units per second capacity. If you have retries enabled, you can safely \
                 ignore this message.",
                Refusal::Busy,
            ),
            // Infura
            (
                -32_005,
                "query returned more than 10000 results. Try with this block range [0xC59A5B, 0xC59B1F].",
                proposed(0x00C5_9A5B, 0x00C5_9B1F),
            ),
            (
                -32_005,
                "daily request count exceeded, request rate limited",
                Refusal::Busy,
            ),
            (-32_005, "Too Many Requests", Refusal::Busy),
            (-32_005, "limit exceeded", Refusal::Busy),
            // QuickNode
            (-32_614, "eth_getLogs is limited to a 10,000 range", LESS),
            (
                -32_007,
                "50/second request limit reached - reduce calls per second or upgrade your account",
                Refusal::Busy,
            ),
            // geth and its relatives
            (-32_000, "exceed maximum block range: 5000", LESS),
            (-32_602, "exceed max addresses or topics per search position", LESS),
            (-32_000, "query timeout exceeded", LESS),
            (-32_000, "missing trie node", Refusal::Final),
            (-32_000, "header not found", Refusal::Final),
            (
                -32_601,
                "the method eth_getLogs does not exist/is not available",
                Refusal::Final,
            ),
            // Erigon, Nethermind, Besu
            (-32_000, "query returned more than 20000 results", LESS),
            (-32_005, "Requested range exceeds maximum RPC range limit", LESS),
            (
                -32_000,
                "Too many logs requested. Max logs per response is 20000.",
                LESS,
            ),
            // Ankr, Base, Cloudflare, dRPC, Chainstack, BlockPI, LlamaRPC
            (-32_062, "Block range is too large", LESS),
            (-32_016, "over rate limit", Refusal::Busy),
            (
                -32_047,
                "Invalid eth_getLogs request. 'fromBlock'-'toBlock' range too large. Max range: 800",
                LESS,
            ),
            (35, "ranges over 10000 blocks are not supported on freetier", LESS),
            (
                -32_000,
                "Block range limit exceeded. See more details at the documentation of limits",
                LESS,
            ),
            (
                -32_602,
                "eth_getLogs block range too large, range: 5000, max: 1024",
                LESS,
            ),
            (
                -32_000,
                "query exceeds max results 20000, retry with the range 17000000-17000512",
                proposed(17_000_000, 17_000_512),
            ),
            (-32_603, "request timed out", LESS),
            (-32_603, "something nobody has seen before", LESS),
        ];
        for (code, text, expected) in cases {
            assert_eq!(Refusal::of_error(code, text), expected, "{code} {text}");
        }
    }

    #[test]
    fn a_range_that_makes_no_sense_is_no_proposal() {
        for text in [
            "[0x5, 0x1] range",
            "range []",
            "range [1",
            "the range 9-",
            "the range five-six",
        ] {
            assert_eq!(Refusal::of_error(-32_000, text), LESS, "{text}");
        }
    }

    #[test]
    fn a_status_without_answer_says_whether_to_wait() {
        assert_eq!(Refusal::of_status(429), Some(Refusal::Busy));
        assert_eq!(Refusal::of_status(413), Some(LESS));
        assert_eq!(Refusal::of_status(500), None);
    }
}
