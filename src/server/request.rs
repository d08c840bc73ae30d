//! Reads requests: bodies, field by field so that an error names the field, and credentials.
//! Unknown fields are ignored unless an operation rejects them.
//!
//! A body takes memory only while it is read: it is dropped once it is parsed, the size of the
//! parsed values is limited, and a handler drops the fields before it waits for anything.

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use serde_json::{Map, Value};

use super::error::ApiError;
use crate::domain::json::parse_small_object;
use crate::domain::reason::Reason;

/// The header with the client that an appUserIdToken is validated for.
pub const CLIENT_HEADER: &str = "x-anon-sdk-client-id";

/// The JSON object in a body.
#[derive(Debug, Default)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body; an empty one gives `None`.
    ///
    /// # Errors
    /// It is not a JSON object, contains a field twice, or has too many values or levels.
    pub fn read(body: Bytes) -> Result<Option<Self>, ApiError> {
        if body.is_empty() {
            return Ok(None);
        }
        let fields = parse_small_object(&body);
        drop(body);
        let fields = fields.map_err(|error| {
            // serde_json's messages about syntax contain a position but no input. Those about
            // values would contain input, but cannot occur here.
            ApiError::malformed(format!("the body is not a JSON object: {error}"))
        })?;
        Ok(Some(Self(fields)))
    }

    /// Reads a required body.
    ///
    /// # Errors
    /// There is none, or as for [`Fields::read`].
    pub fn required_body(body: Bytes) -> Result<Self, ApiError> {
        Self::read(body)?.ok_or_else(ApiError::missing_body)
    }

    /// Reads the parameters of a query.
    ///
    /// # Errors
    /// A parameter occurs twice.
    pub fn from_query(query: &str) -> Result<Self, ApiError> {
        let mut fields = Map::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if fields.insert(name.into_owned(), Value::String(value.into_owned())).is_some() {
                return Err(ApiError::malformed("a query parameter occurs twice"));
            }
        }
        Ok(Self(fields))
    }

    /// Rejects all fields except these. Otherwise a misspelled field would be ignored and its
    /// default used.
    ///
    /// # Errors
    /// There is another field. Its name is repeated only if it is too short for a credential.
    pub fn refuse_others(&self, known: &[&str]) -> Result<(), ApiError> {
        let Some(other) = self.0.keys().find(|name| !known.contains(&name.as_str())) else {
            return Ok(());
        };
        let short = other.len() <= 24 && other.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let what = if short { format!("`{other}`") } else { "a field of the body".to_owned() };
        let known: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
        let message = format!("{what} is unknown; known fields: {}", known.join(", "));
        Err(ApiError::unknown_field(message))
    }

    /// An optional string; null is treated as absent.
    ///
    /// # Errors
    /// It is not a string.
    pub fn string(&self, field: &'static str) -> Result<Option<&str>, ApiError> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ApiError::invalid_field(field, format!("`{field}` must be a string"))),
        }
    }

    /// A required string, which must not be empty.
    ///
    /// # Errors
    /// It is missing, empty or not a string.
    pub fn required(&self, field: &'static str) -> Result<&str, ApiError> {
        self.string(field)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| ApiError::missing_field(field, format!("`{field}` is required")))
    }

    /// The value of a field, of any type; null is treated as absent.
    pub fn value(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    /// An optional boolean.
    ///
    /// # Errors
    /// It is not a boolean.
    pub fn bool(&self, field: &'static str) -> Result<Option<bool>, ApiError> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => {
                Err(ApiError::invalid_field(field, format!("`{field}` must be true or false")))
            }
        }
    }

    /// An optional object.
    ///
    /// # Errors
    /// It is not an object.
    pub fn object(&self, field: &'static str) -> Result<Option<Self>, ApiError> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Self(fields.clone()))),
            Some(_) => Err(ApiError::invalid_field(field, format!("`{field}` must be an object"))),
        }
    }

    /// An optional list of strings.
    ///
    /// # Errors
    /// It is not a list of strings.
    pub fn strings(&self, field: &'static str) -> Result<Option<Vec<String>>, ApiError> {
        let Some(value) = self.value(field) else { return Ok(None) };
        let text = |item: &Value| item.as_str().map(str::to_owned);
        let texts = value.as_array().and_then(|items| items.iter().map(text).collect());
        texts.map(Some).ok_or_else(|| {
            ApiError::invalid_field(field, format!("`{field}` must be a list of strings"))
        })
    }

    /// An optional string; an empty one is treated as absent.
    ///
    /// # Errors
    /// It is not a string.
    pub fn text(&self, field: &'static str) -> Result<Option<String>, ApiError> {
        Ok(self.string(field)?.filter(|text| !text.is_empty()).map(str::to_owned))
    }

    /// The required `name` of an object.
    ///
    /// # Errors
    /// It is missing, too long or not a string, or contains control characters.
    pub fn name(&self) -> Result<String, ApiError> {
        let name = bounded("name", self.required("name")?, 128)?;
        if name.chars().any(char::is_control) {
            let message = "`name` must not contain control characters";
            return Err(ApiError::invalid_field("name", message));
        }
        Ok(name)
    }

    /// The optional `description` of an object.
    ///
    /// # Errors
    /// It is too long or not a string.
    pub fn description(&self) -> Result<Option<String>, ApiError> {
        let text = self.text("description")?;
        text.map(|text| bounded("description", &text, 1024)).transpose()
    }

    /// Adds `name` and `description`, if they are to be changed, to a patch of a spec. An empty
    /// description removes it.
    ///
    /// # Errors
    /// One of them is invalid.
    pub fn patch_texts(&self, spec: &mut Map<String, Value>) -> Result<(), ApiError> {
        self.patch_name(spec)?;
        if self.value("description").is_some() {
            spec.insert("description".to_owned(), self.description()?.into());
        }
        Ok(())
    }

    /// Adds `name`, if it is to be changed, to a patch of a spec.
    ///
    /// # Errors
    /// It is invalid.
    pub fn patch_name(&self, spec: &mut Map<String, Value>) -> Result<(), ApiError> {
        if self.value("name").is_some() {
            spec.insert("displayName".to_owned(), self.name()?.into());
        }
        Ok(())
    }

    /// Adds an optional string, if it is to be changed, to a patch of a spec. An empty one removes
    /// the field.
    ///
    /// # Errors
    /// It is not a string.
    pub fn patch_text(
        &self,
        field: &'static str,
        spec: &mut Map<String, Value>,
    ) -> Result<(), ApiError> {
        if let Some(text) = self.string(field)? {
            let value = if text.is_empty() { Value::Null } else { text.into() };
            spec.insert(field.to_owned(), value);
        }
        Ok(())
    }

    /// An optional integer from 0 to 4294967295; null is treated as absent.
    ///
    /// # Errors
    /// It is not such an integer.
    pub fn u32(&self, field: &'static str) -> Result<Option<u32>, ApiError> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
                number.map(Some).ok_or_else(|| {
                    ApiError::invalid_field(
                        field,
                        format!("`{field}` must be an integer from 0 to 4294967295"),
                    )
                })
            }
        }
    }
}

impl From<Map<String, Value>> for Fields {
    fn from(fields: Map<String, Value>) -> Self {
        Self(fields)
    }
}

fn bounded(field: &'static str, text: &str, max: usize) -> Result<String, ApiError> {
    if text.chars().count() > max {
        let message = format!("`{field}` must have at most {max} characters");
        return Err(ApiError::invalid_field(field, message));
    }
    Ok(text.to_owned())
}

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
    let Ok(text) = value.to_str() else { return Ok(Authorization::Other) };
    let text = text.trim_matches(' ');
    let (scheme, credential) = text.split_once(' ').unwrap_or((text, ""));
    let credential = credential.trim_matches(' ');
    let bearer = scheme.eq_ignore_ascii_case("bearer");
    Ok(match credential {
        "" if bearer || scheme.is_empty() => Authorization::Absent,
        _ if !bearer || credential.contains([' ', ',']) => Authorization::Other,
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
    let values = headers.get_all(CLIENT_HEADER).iter();
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
            let pairs: Vec<_> = values.iter().map(|value| (CLIENT_HEADER, *value)).collect();
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
