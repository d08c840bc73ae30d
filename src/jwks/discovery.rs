//! OpenID Connect Discovery 1.0, section 4. Pure.

use serde_json::{Map, Value};

use crate::domain::fetch_error::FetchError;

/// Where the discovery document of an issuer is. Section 4.1: one slash at its end is left out.
pub fn url(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer))
}

/// The URL of the key set, from a document that has to be the issuer's own (section 4.3).
///
/// # Errors
/// It is another issuer's, or names no https URL.
pub fn jwks_uri(issuer: &str, document: &Map<String, Value>) -> Result<String, FetchError> {
    let text =
        |name: &str| document.get(name).and_then(Value::as_str).ok_or(FetchError::DiscoveryInvalid);
    if text("issuer")? != issuer {
        return Err(FetchError::IssuerMismatch);
    }
    let uri = text("jwks_uri")?;
    super::parse_url(uri).map_err(|_| FetchError::DiscoveryInvalid)?;
    Ok(uri.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
        let read = |document: Value| jwks_uri(issuer, document.as_object().unwrap());
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
