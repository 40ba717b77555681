//! Rules of AT Protocol triggers: namespaced ids (atproto.com/specs/nsid) and decentralised identifiers (W3C DID Core 3.1).

use super::Findings;

/// Longest namespaced id in characters.
const MAX_NSID: usize = 317;
/// Longest segment of a namespaced id.
const MAX_SEGMENT: usize = 63;
/// Longest identifier of a repository.
const MAX_DID: usize = 2_048;

pub(super) fn check(collection: &str, repo_did: Option<&str>, at: &str, findings: &mut Findings) {
    let at_collection = format!("{at}/collection");
    if collection.strip_suffix(".*").unwrap_or(collection).contains('*') {
        let detail =
            format!("`{collection}` never matches: `*` stands only at the end, after a dot, as in app.bsky.feed.*");
        findings.warning(at_collection, "collection-wildcard", detail);
    } else if !is_collection(collection) {
        let detail = format!(
            "`{collection}` is no collection: expected a namespaced id such as app.bsky.feed.post, a prefix such as app.bsky.*, identity or account"
        );
        findings.error(at_collection, "collection", detail);
    }
    if let Some(did) = repo_did.filter(|did| !is_did(did)) {
        let detail =
            format!("`{did}` is no DID: expected did:method:identifier, such as did:plc:ewvi7nxzyoun6zhxrhs64oiz");
        findings.error(format!("{at}/repo_did"), "repo-did", detail);
    }
}

fn is_collection(text: &str) -> bool {
    if matches!(text, "identity" | "account") {
        return true;
    }
    match text.strip_suffix(".*") {
        Some(prefix) => text.len() <= MAX_NSID && prefix.split('.').all(is_segment),
        None => is_nsid(text),
    }
}

fn is_nsid(text: &str) -> bool {
    let segments: Vec<_> = text.split('.').collect();
    let name = segments.last().copied().unwrap_or_default();
    text.len() <= MAX_NSID
        && segments.len() >= 3
        && segments.iter().all(|segment| is_segment(segment))
        && name.bytes().all(|b| b.is_ascii_alphanumeric())
        && [text, name]
            .iter()
            .all(|part| part.starts_with(|c: char| c.is_ascii_alphabetic()))
}

fn is_segment(segment: &str) -> bool {
    (1..=MAX_SEGMENT).contains(&segment.len())
        && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !segment.starts_with('-')
        && !segment.ends_with('-')
}

fn is_did(text: &str) -> bool {
    let Some((method, identifier)) = text.strip_prefix("did:").and_then(|rest| rest.split_once(':')) else {
        return false;
    };
    text.len() <= MAX_DID
        && !method.is_empty()
        && method.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && !identifier.is_empty()
        && identifier
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'%' | b'-'))
        && !identifier.ends_with([':', '%'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collections() {
        for good in [
            "app.bsky.feed.post",
            "com.example.fooBar",
            "app.bsky.*",
            "app.*",
            "identity",
            "account",
            "cn.8.lex.stuff",
        ] {
            assert!(is_collection(good), "{good}");
        }
        for bad in [
            "",
            "post",
            "app.post",
            "app..feed",
            "app.bsky.feed.3",
            "app.bsky.fe-ed",
            "8.bsky.feed.post",
            ".*",
            "a b.c.d",
            "-a.b.c",
        ] {
            assert!(!is_collection(bad), "{bad}");
        }
    }

    #[test]
    fn dids() {
        for good in [
            "did:plc:ewvi7nxzyoun6zhxrhs64oiz",
            "did:web:example.com",
            "did:example:123",
            "did:web:localhost%3A80",
        ] {
            assert!(is_did(good), "{good}");
        }
        for bad in [
            "",
            "did:",
            "did:plc",
            "did:plc:",
            "DID:plc:x",
            "did:PLC:x",
            "did:plc:x:",
            "did:plc:a b",
            "alice.example",
        ] {
            assert!(!is_did(bad), "{bad}");
        }
    }
}
