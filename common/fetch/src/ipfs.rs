//! `ipfs://` URIs and the gateways that serve them.

use cid::Cid;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::content::Content;

/// HTTP gateways, tried in order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Gateways(Vec<Url>);

/// A gateway or an `ipfs://` URI that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// The gateway is not an http(s) URL.
    #[error("IPFS gateway {0:?} is not an http or https URL")]
    Gateway(String),
    /// The authority of the URI is not a content id.
    #[error("{uri:?} does not name a CID: {cause}")]
    Cid {
        /// The URI.
        uri: String,
        /// Why its authority does not parse.
        cause: String,
    },
}

impl Gateways {
    /// Parses gateway URLs; a missing `/` at the end is added.
    ///
    /// # Errors
    /// [`GatewayError::Gateway`] for the first text that is not an http(s) URL.
    pub fn parse<'a>(gateways: impl IntoIterator<Item = &'a str>) -> Result<Self, GatewayError> {
        gateways
            .into_iter()
            .map(|text| {
                let slash = if text.ends_with('/') { "" } else { "/" };
                Url::parse(&format!("{text}{slash}"))
                    .ok()
                    .filter(|url| matches!(url.scheme(), "http" | "https"))
                    .ok_or_else(|| GatewayError::Gateway(text.to_owned()))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The gateways themselves: the operator chose them, so their addresses are not subject to the address policy.
    pub fn urls(&self) -> impl Iterator<Item = &Url> {
        self.0.iter()
    }

    /// The URLs under which the gateways serve `ipfs://<cid>[/path]`.
    ///
    /// # Errors
    /// [`GatewayError::Cid`] when the authority is not a CID v0 or v1.
    pub fn resolve(&self, uri: &str) -> Result<Vec<Url>, GatewayError> {
        self.locate(uri).map(|(_, urls)| urls)
    }

    /// What the URI names, and the URLs under which the gateways serve it.
    pub(crate) fn locate(&self, uri: &str) -> Result<(Content, Vec<Url>), GatewayError> {
        let error = |cause: String| GatewayError::Cid {
            uri: uri.to_owned(),
            cause,
        };
        // A CID v0 is case sensitive, and a URL parser would lower the case of its authority: take the text apart here.
        let rest = uri.get(7..).filter(|_| uri.is_char_boundary(7)).unwrap_or_default();
        let (cid, path) = rest.split_once('/').map_or((rest, ""), |(cid, path)| (cid, path));
        let parsed = Cid::try_from(cid).map_err(|cause| error(cause.to_string()))?;
        let content = Content {
            cid: parsed,
            path: path.to_owned(),
        };
        let urls = self.0.iter().map(|gateway| {
            let slash = if path.is_empty() { "" } else { "/" };
            gateway
                .join(&format!("{parsed}{slash}{path}"))
                .map_err(|cause| error(cause.to_string()))
        });
        Ok((content, urls.collect::<Result<_, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V0: &str = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG";
    const V1: &str = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi";

    #[test]
    fn both_versions_resolve_on_each_gateway_with_their_case_kept() {
        let gateways = Gateways::parse(["https://ipfs.io/ipfs/", "http://127.0.0.1:8080/ipfs"]).unwrap();
        let urls = gateways.resolve(&format!("ipfs://{V0}/a/service.json")).unwrap();
        assert_eq!(urls[0].as_str(), format!("https://ipfs.io/ipfs/{V0}/a/service.json"));
        assert_eq!(
            urls[1].as_str(),
            format!("http://127.0.0.1:8080/ipfs/{V0}/a/service.json")
        );
        assert_eq!(
            gateways.resolve(&format!("ipfs://{V1}")).unwrap()[0].as_str(),
            format!("https://ipfs.io/ipfs/{V1}")
        );
    }

    #[test]
    fn what_is_not_a_cid_or_a_gateway_is_refused() {
        let gateways = Gateways::parse(["https://ipfs.io/ipfs/"]).unwrap();
        for uri in ["ipfs://", "ipfs://hello", "ipfs://../x", "ipfs"] {
            assert!(gateways.resolve(uri).is_err(), "{uri}");
        }
        assert!(Gateways::parse(["ftp://x/"]).is_err());
    }
}
