//! Constraints that the custom resources and the REST API share. Each is stated here once: the CRDs
//! make validation rules of them (`crd/rules.rs`), the REST API the schemas of its OpenAPI document.
//!
//! The patterns mean the same in RE2, which the API server uses, and in the regular expressions of
//! JSON Schema (ECMA 262).

/// The maximum length of a display name, in characters.
pub const MAX_NAME: usize = 128;
/// The maximum length of a description, in characters.
pub const MAX_DESCRIPTION: usize = 1024;
/// The maximum length of an e-mail address, in characters.
pub const MAX_EMAIL: usize = 254;
/// The maximum length of the URL of a logo or of a redirect, in characters.
pub const MAX_URL: usize = 2048;
/// The maximum number of redirect URLs of a client.
pub const MAX_REDIRECT_URLS: usize = 32;
/// The maximum number of browser origins of a client.
pub const MAX_ORIGINS: usize = 32;
/// The maximum length of a browser origin, in characters.
pub const MAX_ORIGIN: usize = 255;
/// The maximum length of the URL of a key set, in characters.
pub const MAX_JWKS_URL: usize = 1024;
/// The maximum length of the name of a claim, in characters.
pub const MAX_ID_CLAIM: usize = 256;

/// Text for people. Control characters (Unicode category Cc) could forge a line of a log or of a
/// table, or control a terminal.
pub const NO_CONTROL_CHARACTERS: &str = r"^[^\x00-\x1f\x7f-\x9f]+$";
/// An e-mail address.
pub const EMAIL: &str = r"^[^@\s\x00-\x1f\x7f-\x9f]+@[^@\s\x00-\x1f\x7f-\x9f]+$";
/// The URL of a logo.
pub const LOGO_URL: &str = r"^https?://[^\s]+$";
/// A browser origin: scheme, host and port (RFC 6454).
pub const ORIGIN: &str = r"^(https?|chrome-extension)://[A-Za-z0-9.\-\[\]:]+$";
/// The URL of a key set.
pub const JWKS_URL: &str = r"^https://[^\s/?#@]+([/?][^\s#]*)?$";
/// The id of a Chrome extension.
pub const CHROME_EXTENSION_ID: &str = "^[a-p]{32}$";
/// A URL that Link redirects to.
pub const REDIRECT_URL: &str = r"^[a-z][a-z0-9+.\-]*://[^\s#]+$";
