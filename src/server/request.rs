//! Reads the headers of requests that authenticate the caller.

use axum::http::{HeaderMap, header};

use crate::domain::reason::Reason;

/// The header with the client that an appUserIdToken is validated for.
pub const CLIENT_HEADER: &str = "x-anon-sdk-client-id";

/// The credential of an `Authorization: Bearer` header (RFC 6750 section 2.1).
///
/// # Errors
/// The header occurs twice, has another scheme, or the credential contains invalid characters.
pub fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Reason> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Reason::TwoCredentials);
    }
    let (scheme, credential) = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or(Reason::AuthorizationMalformed)?;
    let credential = credential.trim_matches(' ');
    let bearer = scheme.eq_ignore_ascii_case("bearer");
    if !bearer || credential.is_empty() || credential.contains([' ', ',']) {
        return Err(Reason::AuthorizationMalformed);
    }
    Ok(Some(credential))
}

/// The client id in the header. Existing clients send the header with every call, empty if they
/// have no client id: an empty header is treated as absent.
///
/// # Errors
/// The header occurs more than once.
pub fn client_header(headers: &HeaderMap) -> Result<Option<&str>, Reason> {
    let mut values = headers.get_all(CLIENT_HEADER).iter();
    let value = values.next().map(|value| value.to_str().unwrap_or("not text"));
    if values.next().is_some() {
        return Err(Reason::ClientAmbiguous);
    }
    Ok(value.map(str::trim).filter(|value| !value.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn bearer_credentials() {
        let read =
            |value| bearer(&headers(&[("authorization", value)])).map(|it| it.map(str::to_owned));
        assert_eq!(read("Bearer abc"), Ok(Some("abc".into())));
        assert_eq!(read("bearer  abc "), Ok(Some("abc".into())));
        for bad in ["abc", "Basic abc", "Bearer", "Bearer ", "Bearer a b", "Bearer a,b"] {
            assert_eq!(read(bad), Err(Reason::AuthorizationMalformed), "{bad}");
        }
        assert_eq!(bearer(&HeaderMap::new()), Ok(None));
        let two = headers(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]);
        assert_eq!(bearer(&two), Err(Reason::TwoCredentials));
    }

    #[test]
    fn an_empty_client_header_is_absent() {
        assert_eq!(client_header(&headers(&[(CLIENT_HEADER, "")])), Ok(None));
        assert_eq!(client_header(&headers(&[(CLIENT_HEADER, " x ")])), Ok(Some("x")));
        let two = headers(&[(CLIENT_HEADER, "a"), (CLIENT_HEADER, "b")]);
        assert_eq!(client_header(&two), Err(Reason::ClientAmbiguous));
    }
}
