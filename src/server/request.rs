//! Reads the headers of requests that authenticate the caller.

use axum::http::{HeaderMap, HeaderName, header};
use memchr::memchr2;

use crate::domain::reason::Reason;

/// The header with the client that an appUserIdToken is validated for.
pub const CLIENT_HEADER: HeaderName = HeaderName::from_static("x-anon-sdk-client-id");

/// What the `Authorization` header of a request contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authorization<'h> {
    /// No credential: there is no header, or nothing follows `Bearer`. Existing clients without a
    /// credential send the latter.
    Absent,
    /// The credential of `Bearer <credential>` (RFC 6750 section 2.1).
    Bearer(&'h str),
    /// Another scheme, or invalid characters.
    Other,
}

/// Reads the `Authorization` header.
///
/// # Errors
/// The header occurs twice.
pub fn authorization(headers: &HeaderMap) -> Result<Authorization<'_>, Reason> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(Authorization::Absent) };
    if values.next().is_some() {
        return Err(Reason::TwoCredentials);
    }
    // Not `HeaderValue::to_str`: it looks at one byte after the other, and the text may be long.
    let text = str::from_utf8(value.as_bytes()).ok().filter(|text| text.is_ascii());
    let Some(text) = text else { return Ok(Authorization::Other) };
    let text = text.trim_matches(' ');
    let (scheme, credential) = text.split_once(' ').unwrap_or((text, ""));
    let credential = credential.trim_matches(' ');
    let bearer = scheme.eq_ignore_ascii_case("bearer");
    Ok(match credential {
        "" if bearer || scheme.is_empty() => Authorization::Absent,
        // Several words, or several values.
        _ if !bearer || memchr2(b' ', b',', credential.as_bytes()).is_some() => {
            Authorization::Other
        }
        _ => Authorization::Bearer(credential),
    })
}

/// The credential of a request that requires one.
///
/// # Errors
/// There is none, the header has another scheme or invalid characters, or occurs twice.
pub fn bearer(headers: &HeaderMap) -> Result<&str, Reason> {
    match authorization(headers)? {
        Authorization::Bearer(credential) => Ok(credential),
        Authorization::Absent => Err(Reason::CredentialMissing),
        Authorization::Other => Err(Reason::AuthorizationMalformed),
    }
}

/// The client id in the header. Existing clients send the header with every call, empty if they
/// have no client id: an empty header is treated as absent. A header that was sent several times,
/// or joined by a proxy (RFC 9110 section 5.3), is one if its values are the same client.
///
/// # Errors
/// The header specifies several clients.
pub fn client_header(headers: &HeaderMap) -> Result<Option<&str>, Reason> {
    let values = headers.get_all(&CLIENT_HEADER).iter();
    let values = values.flat_map(|value| value.to_str().unwrap_or("not text").split(','));
    let mut ids = values.map(str::trim).filter(|value| !value.is_empty());
    let Some(first) = ids.next() else { return Ok(None) };
    if ids.all(|id| is_same_client(first, id)) {
        Ok(Some(first))
    } else {
        Err(Reason::ClientAmbiguous)
    }
}

/// Whether two client ids specify the same client. They are UUIDs, which are read in either letter
/// case (RFC 9562 section 4).
pub const fn is_same_client(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
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
        let read = |value| bearer(&headers(&[("authorization", value)])).map(str::to_owned);
        assert_eq!(read("Bearer abc"), Ok("abc".into()));
        assert_eq!(read("bearer  abc "), Ok("abc".into()));
        for empty in ["", " ", "Bearer", "Bearer ", "bearer   "] {
            assert_eq!(read(empty), Err(Reason::CredentialMissing), "{empty:?}");
        }
        for other in ["abc", "Basic abc", "Basic", "Basic ", "Bearer a b", "Bearer a,b"] {
            assert_eq!(read(other), Err(Reason::AuthorizationMalformed), "{other:?}");
        }
        assert_eq!(bearer(&HeaderMap::new()), Err(Reason::CredentialMissing));
        let two = headers(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]);
        assert_eq!(bearer(&two), Err(Reason::TwoCredentials));
    }

    #[test]
    fn client_headers() {
        let read = |values: &[&'static str]| {
            let pairs: Vec<_> =
                values.iter().map(|value| ("x-anon-sdk-client-id", *value)).collect();
            client_header(&headers(&pairs)).map(|id| id.map(str::to_owned))
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[""]), Ok(None), "an empty header is absent");
        assert_eq!(read(&[" x "]), Ok(Some("x".into())));
        for same in [&["a", "a"][..], &["a", "A"], &["", "a"], &["a", ""], &["a, a"], &["a,", "A"]]
        {
            let id = read(same).unwrap().unwrap();
            assert!(is_same_client(&id, "a"), "{same:?}");
        }
        for several in [&["a", "b"][..], &["a,b"], &["a", "a", "b"]] {
            assert_eq!(read(several), Err(Reason::ClientAmbiguous), "{several:?}");
        }
    }
}
