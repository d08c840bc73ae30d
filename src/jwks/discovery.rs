//! Discovery documents (OpenID Connect Discovery 1.0 section 4). Pure.

use serde::de::MapAccess;

use crate::domain::fetch_error::FetchError;
use crate::domain::json::{self, Names, Shape, Within};

/// The two relevant members of a discovery document; the others are skipped.
#[derive(Default)]
struct Document {
    is_object: bool,
    issuer: Option<String>,
    jwks_uri: Option<String>,
}

impl<'de> Shape<'de> for Document {
    fn other() -> Self {
        Self::default()
    }

    fn object<A: MapAccess<'de>>(mut object: A, depth: usize) -> Result<Self, A::Error> {
        let mut names = Names::default();
        let mut document = Self { is_object: true, ..Self::default() };
        while let Some(name) = object.next_key::<String>()? {
            names.add(&name)?;
            let member = match name.as_str() {
                "issuer" => &mut document.issuer,
                "jwks_uri" => &mut document.jwks_uri,
                _ => {
                    object.next_value_seed(Within::<()>::new(depth))?;
                    continue;
                }
            };
            *member = object.next_value_seed(Within::<Text>::new(depth))?.0;
        }
        Ok(document)
    }
}

/// The value if it is a string.
struct Text(Option<String>);

impl Shape<'_> for Text {
    fn other() -> Self {
        Self(None)
    }

    fn text(text: &str) -> Self {
        Self(Some(text.to_owned()))
    }
}

/// The URL of an issuer's discovery document. Section 4.1: a trailing slash of the issuer is
/// removed.
pub fn url(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer))
}

/// The `jwks_uri` in the discovery document of `issuer`, which must specify the same issuer
/// (section 4.3).
///
/// # Errors
/// The document is not a JSON object, belongs to another issuer, or has no https `jwks_uri`.
pub fn jwks_uri(issuer: &str, document: &[u8]) -> Result<String, FetchError> {
    let document: Document = json::read(document).map_err(|_| FetchError::NotJson)?;
    if !document.is_object {
        return Err(FetchError::NotJson);
    }
    if document.issuer.ok_or(FetchError::DiscoveryInvalid)? != issuer {
        return Err(FetchError::IssuerMismatch);
    }
    let uri = document.jwks_uri.ok_or(FetchError::DiscoveryInvalid)?;
    super::parse_url(&uri).map_err(|_| FetchError::DiscoveryInvalid)?;
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_document_is_at_the_issuer() {
        let tail = "/.well-known/openid-configuration";
        assert_eq!(url("https://id.example.com"), format!("https://id.example.com{tail}"));
        assert_eq!(url("https://id.example.com/"), format!("https://id.example.com{tail}"));
        assert_eq!(url("https://id.example.com/a/b/"), format!("https://id.example.com/a/b{tail}"));
    }

    #[test]
    fn the_document_has_to_be_the_issuers_own() {
        let issuer = "https://id.example.com/";
        let read = |document: Value| jwks_uri(issuer, document.to_string().as_bytes());
        let uri = "https://keys.example.net/jwks";
        assert_eq!(read(json!({"issuer": issuer, "jwks_uri": uri})).unwrap(), uri);
        for other in ["https://id.example.com", "https://ID.example.com/", "https://evil.example"] {
            assert_eq!(
                read(json!({"issuer": other, "jwks_uri": uri})),
                Err(FetchError::IssuerMismatch)
            );
        }
        for bad in [
            json!({}),
            json!({"issuer": issuer}),
            json!({"jwks_uri": uri}),
            json!({"issuer": [issuer], "jwks_uri": uri}),
            json!({"issuer": issuer, "jwks_uri": "http://id.example.com/jwks"}),
            json!({"issuer": issuer, "jwks_uri": "/jwks"}),
            json!({"issuer": issuer, "jwks_uri": 1}),
        ] {
            assert_eq!(read(bad.clone()), Err(FetchError::DiscoveryInvalid), "{bad}");
        }
    }
}
