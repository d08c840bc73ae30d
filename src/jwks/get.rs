//! A single GET request without redirects and cookies, and with a limited response size.

use std::io::Read as _;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
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

/// The maximum size of a response body, in bytes, as sent and decompressed.
pub const MAX_BYTES: usize = 512 * 1024;
/// The maximum size of a response's status line and headers, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// The maximum length of an entity tag that is stored and sent back, in bytes.
const MAX_ETAG_BYTES: usize = 256;

/// The response.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// 200 with a body, which is not parsed.
    Body {
        /// The body.
        body: Bytes,
        /// The entity tag, for the next request.
        etag: Option<String>,
        /// How long the body is fresh, according to the host.
        max_age: Option<Duration>,
    },
    /// 304: unchanged since the response with this entity tag.
    Unchanged {
        /// How long the body is fresh, according to the host.
        max_age: Option<Duration>,
    },
}

/// Parses a URL to fetch, which must be https, with a host and without credentials.
///
/// # Errors
/// The URL is not of this form.
pub fn parse_url(text: &str) -> Result<Url, FetchError> {
    let url = Url::parse(text).map_err(|_| FetchError::UrlRefused)?;
    let plain = url.scheme() == "https"
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none();
    if plain { Ok(url) } else { Err(FetchError::UrlRefused) }
}

/// Sends the request over `stream` and reads the response.
///
/// # Errors
/// There is no response, or none that can be used.
pub async fn get(
    stream: TlsStream<TcpStream>,
    url: &Url,
    etag: Option<&str>,
) -> Result<Answer, FetchError> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD_BYTES);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(|_| FetchError::NotHttp)?;
    let request = request(url, etag)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|_| FetchError::NotHttp)?;
        read(response, etag.is_some()).await
    };
    // The connection must be polled for the exchange to progress. When it ends, the data that it
    // has read may still have to be processed.
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
    let encoding = text(&CONTENT_ENCODING).map(str::to_ascii_lowercase);
    let is_gzip = match encoding.as_deref() {
        None | Some("identity") => false,
        Some("gzip" | "x-gzip") => true,
        Some(_) => return Err(FetchError::NotJson),
    };
    let length = text(&CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if length.is_some_and(|length| length > MAX_BYTES) {
        return Err(FetchError::TooLarge);
    }
    let body = Limited::new(body, MAX_BYTES).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() { FetchError::TooLarge } else { FetchError::NotHttp }
    })?;
    let body = body.to_bytes();
    let body = if is_gzip { decompress(&body)? } else { body };
    let etag = text(&ETAG).filter(|etag| etag.len() <= MAX_ETAG_BYTES).map(str::to_owned);
    Ok(Answer::Body { body, etag, max_age })
}

/// The content of a gzip body. Some hosts compress whatever the request accepts. A few bytes could
/// expand to gigabytes, so decompression ends at the maximum size.
fn decompress(body: &[u8]) -> Result<Bytes, FetchError> {
    let mut content = Vec::new();
    let mut decoder = MultiGzDecoder::new(body);
    let mut within_limit = decoder.by_ref().take(MAX_BYTES as u64);
    within_limit.read_to_end(&mut content).map_err(|_| FetchError::NotJson)?;
    match decoder.read(&mut [0]) {
        Ok(0) => Ok(content.into()),
        Ok(_) => Err(FetchError::TooLarge),
        Err(_) => Err(FetchError::NotJson),
    }
}

/// How long the response is fresh (RFC 9111 section 4.2): its `max-age` minus the time that it has
/// spent in caches. `None` if it is not specified, or if the response must not be cached.
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

    /// Unusual spellings of an address are parsed as an address or as a name that is resolved, so
    /// the address filter is applied in either case.
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
