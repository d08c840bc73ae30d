//! One GET: over a fresh connection, without redirects, proxies, cookies or compression, bounded
//! in time and size.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HOST,
    HeaderMap, HeaderName, IF_NONE_MATCH, USER_AGENT,
};
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use url::{Position, Url};

use crate::domain::fetch_error::FetchError;

/// The longest answer that is read, in bytes.
pub const MAX_BYTES: usize = 512 * 1024;
/// The most of an answer's head that is read, in bytes.
const MAX_HEAD: usize = 32 * 1024;
/// The longest entity tag that is kept and sent back, in bytes.
const MAX_ETAG: usize = 256;

/// What was answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// 200 with a body, which is not parsed.
    Body {
        /// The body.
        body: Bytes,
        /// Names this state of it, to be sent back with the next request.
        etag: Option<String>,
        /// How long it is fresh, as the host says.
        max_age: Option<Duration>,
    },
    /// 304: as when this entity tag was given.
    Unchanged {
        /// How long it is fresh, as the host says.
        max_age: Option<Duration>,
    },
}

/// A URL that is fetched: https, with a host, without credentials.
///
/// # Errors
/// It is not.
pub fn parse_url(text: &str) -> Result<Url, FetchError> {
    let url = Url::parse(text).map_err(|_| FetchError::UrlRefused)?;
    let plain = url.scheme() == "https"
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none();
    if plain { Ok(url) } else { Err(FetchError::UrlRefused) }
}

/// Sends the request over `stream` and reads the answer.
///
/// # Errors
/// There is no answer, or one that is no use.
pub async fn get(
    stream: TlsStream<TcpStream>,
    url: &Url,
    etag: Option<&str>,
) -> Result<Answer, FetchError> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(|_| FetchError::NotHttp)?;
    let request = request(url, etag)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|_| FetchError::NotHttp)?;
        read(response, etag.is_some()).await
    };
    // The connection moves the bytes for as long as it is polled; what it has read when it ends
    // is still to be taken.
    tokio::pin!(exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        _ = connection => exchange.await,
    }
}

fn request(url: &Url, etag: Option<&str>) -> Result<Request<Empty<Bytes>>, FetchError> {
    let host = &url[Position::BeforeHost..Position::AfterPort];
    let path = &url[Position::BeforePath..Position::AfterQuery];
    let mut request = Request::get(path)
        .header(HOST, host)
        .header(ACCEPT, "application/jwk-set+json, application/json")
        // What unpacks to gigabytes is not unpacked.
        .header(ACCEPT_ENCODING, "identity")
        .header(USER_AGENT, concat!("anon-operator/", env!("CARGO_PKG_VERSION")));
    if let Some(etag) = etag {
        request = request.header(IF_NONE_MATCH, etag);
    }
    request.body(Empty::new()).map_err(|_| FetchError::UrlRefused)
}

async fn read(response: Response<Incoming>, asked_by_etag: bool) -> Result<Answer, FetchError> {
    let (parts, body) = response.into_parts();
    let max_age = max_age(&parts.headers);
    match parts.status {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED if asked_by_etag => return Ok(Answer::Unchanged { max_age }),
        status if status.is_redirection() => return Err(FetchError::Redirected),
        _ => return Err(FetchError::UnexpectedStatus),
    }
    let text = |name: &HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok());
    if text(&CONTENT_ENCODING).is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(FetchError::NotJson);
    }
    let length = text(&CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if length.is_some_and(|length| length > MAX_BYTES) {
        return Err(FetchError::TooLarge);
    }
    let body = Limited::new(body, MAX_BYTES).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() { FetchError::TooLarge } else { FetchError::NotHttp }
    })?;
    let etag = text(&ETAG).filter(|etag| etag.len() <= MAX_ETAG).map(str::to_owned);
    Ok(Answer::Body { body: body.to_bytes(), etag, max_age })
}

/// How long the answer is fresh (RFC 9111 section 4.2): its `max-age`, less the time that it has
/// spent in caches. Nothing is said by one that is not to be kept.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let mut age = None;
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().ok()?.split(',') {
            let (name, value) = directive.trim().split_once('=').unwrap_or((directive.trim(), ""));
            match name.to_ascii_lowercase().as_str() {
                "no-cache" | "no-store" => return None,
                "max-age" => age = value.trim_matches('"').parse().ok(),
                _ => {}
            }
        }
    }
    let spent = headers.get(AGE).and_then(|age| age.to_str().ok()?.parse().ok()).unwrap_or(0);
    age.map(|age: u64| Duration::from_secs(age.saturating_sub(spent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_without_credentials() {
        for good in ["https://id.example.com/jwks", "https://id.example.com:8443/a?b=c"] {
            assert!(parse_url(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "http://id.example.com/jwks",
            "file:///etc/passwd",
            "https://user@id.example.com/",
            "https://:secret@id.example.com/",
            "//id.example.com/",
            "https://",
            "data:application/json,{}",
        ] {
            assert_eq!(parse_url(bad), Err(FetchError::UrlRefused), "{bad}");
        }
    }

    /// However an address is written, the parsed URL has it as an address, or it is a name that is
    /// resolved; the filter sees it in either case.
    #[test]
    fn odd_spellings_of_addresses_are_addresses() {
        for odd in
            ["https://2130706433/", "https://0x7f.1/", "https://127.1/", "https://0177.0.0.1/"]
        {
            assert_eq!(parse_url(odd).unwrap().host_str(), Some("127.0.0.1"), "{odd}");
        }
    }

    #[test]
    fn the_request_has_host_and_path_and_no_fragment() {
        let url = parse_url("https://id.example.com:8443/a/b?c=d#e").unwrap();
        let request = request(&url, Some("\"x\"")).unwrap();
        assert_eq!(request.uri(), "/a/b?c=d");
        assert_eq!(request.headers()[HOST], "id.example.com:8443");
        assert_eq!(request.headers()[IF_NONE_MATCH], "\"x\"");
    }

    #[test]
    fn freshness() {
        let age = |headers: &[(HeaderName, &str)]| {
            let pairs = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
            max_age(&pairs.collect()).map(|age| age.as_secs())
        };
        assert_eq!(age(&[]), None);
        assert_eq!(age(&[(CACHE_CONTROL, "public, max-age=300")]), Some(300));
        assert_eq!(age(&[(CACHE_CONTROL, "Max-Age=\"300\""), (AGE, "100")]), Some(200));
        assert_eq!(age(&[(CACHE_CONTROL, "max-age=300"), (AGE, "400")]), Some(0));
        assert_eq!(age(&[(CACHE_CONTROL, "max-age=300, no-cache")]), None);
        assert_eq!(age(&[(CACHE_CONTROL, "no-store")]), None);
        assert_eq!(age(&[(CACHE_CONTROL, "max-age=99999999999999999999999")]), None);
        assert_eq!(age(&[(CACHE_CONTROL, "max-age=-1")]), None);
    }
}
