//! Keeps endpoints' credentials out of texts.
//!
//! RPC providers put API keys into paths, queries and user parts of URLs, and HTTP libraries print whole URLs in their
//! errors. Every text from below passes through here before it becomes part of an error, a log line or a status.

use url::Url;

/// Longest text taken over from an endpoint or a library, in characters.
const TEXT_MAX: usize = 300;
/// Parts of a URL shorter than this are not treated as secrets: they are words like `rpc` or `v2`.
const SECRET_MIN: usize = 8;

/// Removes the secrets of one URL from texts.
#[derive(Clone)]
pub(super) struct Redactor {
    shown: String,
    secrets: Vec<String>,
}

impl Redactor {
    /// For one endpoint.
    pub(super) fn new(url: &Url) -> Self {
        let mut secrets = vec![url.as_str().to_owned(), url.as_str().trim_end_matches('/').to_owned()];
        let parts = url.path_segments().into_iter().flatten().map(str::to_owned);
        let query = url.query_pairs().map(|(_, value)| value.into_owned());
        let user = [Some(url.username().to_owned()), url.password().map(str::to_owned)]
            .into_iter()
            .flatten();
        secrets.extend(parts.chain(query).chain(user).filter(|part| part.len() >= SECRET_MIN));
        // Long secrets first: a part of a longer one must not break it up.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let shown = format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or("?"));
        Self { shown, secrets }
    }

    /// Scheme, host and port of the endpoint.
    pub(super) fn endpoint(&self) -> &str {
        &self.shown
    }

    /// `text` without the endpoint's secrets and without control characters, cut to a bounded length.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.secrets {
            if clean.contains(secret.as_str()) {
                clean = clean.replace(secret.as_str(), "<redacted>");
            }
        }
        clean
            .chars()
            .take(TEXT_MAX)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_key_survives() {
        let url: Url = "https://alice:pa55word99@rpc.example.org:8443/v2/0123456789abcdef?apikey=zyxwvutsrq"
            .parse()
            .unwrap();
        let redactor = Redactor::new(&url);
        assert_eq!(redactor.endpoint(), "https://rpc.example.org:8443");
        let text = redactor.clean(&format!(
            "GET {url} failed; key 0123456789abcdef, zyxwvutsrq, pa55word99\n"
        ));
        for secret in ["0123456789abcdef", "zyxwvutsrq", "pa55word99"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(!text.contains('\n'));
    }
}
