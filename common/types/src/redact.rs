//! Making endpoints safe to show: providers put API keys in user names, paths and queries.

/// What replaces a part that may be secret.
const MASK: &str = "***";
/// Path segments of at least this many characters are taken for keys, whatever they are made of: words are shorter.
const KEY_LENGTH: usize = 20;

/// Masks userinfo, every query value, the fragment, and path segments of 20 or more characters, which look like keys.
///
/// Works on text, not on parsed URLs, so an endpoint with a typing error is masked as well.
#[must_use]
pub fn redacted_url(url: &str) -> String {
    let (url, fragment) = split_at_mark(url, '#');
    let (url, query) = split_at_mark(url, '?');
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));

    let mut safe = String::with_capacity(url.len());
    if !scheme.is_empty() {
        safe.push_str(scheme);
        safe.push_str("://");
    }
    match authority.rsplit_once('@') {
        Some((_, host)) => {
            safe.push_str(MASK);
            safe.push('@');
            safe.push_str(host);
        }
        None => safe.push_str(authority),
    }
    let segments: Vec<_> = path
        .split('/')
        .map(|segment| if segment.len() >= KEY_LENGTH { MASK } else { segment })
        .collect();
    safe.push_str(&segments.join("/"));
    if let Some(query) = query {
        let pairs: Vec<_> = query.split('&').map(masked_pair).collect();
        safe.push('?');
        safe.push_str(&pairs.join("&"));
    }
    if fragment.is_some() {
        safe.push('#');
        safe.push_str(MASK);
    }
    safe
}

fn split_at_mark(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark)
        .map_or((text, None), |(front, back)| (front, Some(back)))
}

/// A pair without `=` may be a bare key, so it is masked whole.
fn masked_pair(pair: &str) -> String {
    pair.split_once('=')
        .map_or_else(|| MASK.to_owned(), |(name, _)| format!("{name}={MASK}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_what_may_be_secret() {
        for (url, safe) in [
            ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
            ("wss://user:pass@h.example:1/x", "wss://***@h.example:1/x"),
            ("https://h/v3/0123456789abcdef0123", "https://h/v3/***"),
            (
                "https://h/v3/0123456789abcdef012/short",
                "https://h/v3/0123456789abcdef012/short",
            ),
            ("https://h/abcdefghijklmnopqrst/v2", "https://h/***/v2"),
            ("https://h/ABCDEFGHIJKLMNOPQRSTUVWXYZ", "https://h/***"),
            ("https://h/v2/a.b~c%2Bd=e:f@0123456789", "https://h/v2/***"),
            ("https://h/x?key=abc&b=&bare#frag", "https://h/x?key=***&b=***&***#***"),
            ("https://h?token=a/b@c", "https://h?token=***"),
            ("user:pa@ss@host/x", "***@host/x"),
            ("", ""),
        ] {
            assert_eq!(redacted_url(url), safe);
            assert_eq!(redacted_url(safe), safe);
        }
    }
}
