//! The fields that several requests have. A text is checked when it is taken out of its type, which
//! is after the whole body has been read: a missing field is reported before an invalid one.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::domain::constraint::{
    CHROME_EXTENSION_ID, EMAIL, JWKS_URL, LOGO_URL, MAX_DESCRIPTION, MAX_EMAIL, MAX_ID_CLAIM,
    MAX_JWKS_URL, MAX_NAME, MAX_ORIGIN, MAX_ORIGINS, MAX_REDIRECT_URLS, MAX_URL,
    NO_CONTROL_CHARACTERS, ORIGIN, REDIRECT_URL,
};
use crate::domain::password::{MAX_BYTES, MIN_CHARS, Password};
use crate::server::ApiError;

/// Display name: 1 to 128 characters, without control characters.
#[derive(Deserialize, JsonSchema)]
#[schemars(inline, example = "Acme Shop".to_owned())]
pub struct Name(
    #[schemars(length(min = 1, max = MAX_NAME), regex(pattern = NO_CONTROL_CHARACTERS))] String,
);

impl Name {
    /// The name.
    ///
    /// # Errors
    /// It is empty or too long, or contains control characters.
    pub fn checked(self) -> Result<String, ApiError> {
        let name = required("name", Some(self.0))?;
        if name.chars().any(char::is_control) {
            let message = "`name` must not contain control characters";
            return Err(ApiError::invalid_field("name", message));
        }
        bounded("name", name, MAX_NAME)
    }
}

/// What the object is for: at most 1024 characters. Empty removes it.
#[derive(Deserialize, JsonSchema)]
#[schemars(inline, example = "Everybody who signs up".to_owned())]
pub struct Description(#[schemars(length(max = MAX_DESCRIPTION))] String);

impl Description {
    /// The description, which may be empty.
    ///
    /// # Errors
    /// It is too long.
    pub fn checked(self) -> Result<String, ApiError> {
        bounded("description", self.0, MAX_DESCRIPTION)
    }
}

/// E-mail address: at most 254 characters. Spaces around it are removed.
#[derive(Deserialize, JsonSchema)]
#[schemars(inline, example = "ada@acme.example".to_owned())]
pub struct Email(
    #[schemars(length(max = MAX_EMAIL), regex(pattern = surrounded_by_spaces(EMAIL)))] String,
);

impl Email {
    /// The address, in the form that the CRD requires.
    ///
    /// # Errors
    /// It is empty, or not an e-mail address.
    pub fn checked(self) -> Result<String, ApiError> {
        let email = required("email", Some(self.0.trim()))?;
        let parts = email
            .split_once('@')
            .filter(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'));
        let odd = |char: char| char.is_whitespace() || char.is_control();
        if parts.is_none() || email.chars().any(odd) || email.chars().count() > MAX_EMAIL {
            let message = "`email` must be an e-mail address, such as `ada@acme.example`";
            return Err(ApiError::invalid_field("email", message));
        }
        Ok(email.to_owned())
    }
}

/// A new password: at least 8 characters, at most 1024 bytes.
#[derive(Deserialize, JsonSchema)]
#[schemars(inline, example = "correct horse".to_owned())]
pub struct NewPassword(
    #[schemars(with = "String", length(min = MIN_CHARS, max = MAX_BYTES))]
    #[schemars(extend("format" = "password"))]
    Zeroizing<String>,
);

impl NewPassword {
    /// The password.
    ///
    /// # Errors
    /// It is too short or too long.
    pub fn checked(&self) -> Result<Password, ApiError> {
        let password = Password::chosen(required("password", Some(&*self.0))?);
        password.map_err(|refused| ApiError::invalid_field("password", refused.to_string()))
    }

    /// The password in plain text, to be compared with a stored hash.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Settings of Link for a client.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OauthConfig {
    /// URL of the logo: http or https, at most 2048 characters. Empty removes it.
    #[schemars(length(max = MAX_URL), regex(pattern = or_empty(LOGO_URL)))]
    pub logo_url: Option<String>,
    /// Id of the Chrome extension of the client: 32 letters from `a` to `p`. Empty removes it.
    #[schemars(regex(pattern = or_empty(CHROME_EXTENSION_ID)))]
    pub chrome_extension_id: Option<String>,
    /// The URLs that Link may redirect to, at most 32: a website, or an app with a URL scheme of its
    /// own.
    #[schemars(length(max = MAX_REDIRECT_URLS), extend("uniqueItems" = true))]
    #[schemars(example = ["https://shop.acme.example/linked"])]
    #[schemars(inner(length(max = MAX_URL), regex(pattern = REDIRECT_URL)))]
    pub redirect_urls: Option<Vec<String>>,
    /// The browser origins whose pages may read the public data of the client, at most 32: scheme,
    /// host and port, compared exactly. The Link SDK needs that of the page that it runs in.
    #[schemars(length(max = MAX_ORIGINS), extend("uniqueItems" = true))]
    #[schemars(example = ["https://shop.acme.example"])]
    #[schemars(inner(length(max = MAX_ORIGIN), regex(pattern = ORIGIN)))]
    pub allowed_origins: Option<Vec<String>>,
}

/// The key set of your own identity provider.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "AuthorizationRequest")]
pub struct Authorization {
    /// The https URL of the JWK Set (RFC 7517), without user and fragment: at most 1024 characters.
    #[schemars(length(min = 1, max = MAX_JWKS_URL), regex(pattern = JWKS_URL))]
    #[schemars(example = "https://id.acme.example/.well-known/jwks.json".to_owned())]
    pub jwks_uri: String,
    /// The claim with the appUserId: its name or a JSON Pointer (RFC 6901), at most 256 characters.
    /// `sub` by default.
    #[schemars(length(max = MAX_ID_CLAIM))]
    pub id_claim: Option<String>,
}

/// A pattern that an empty text matches, too.
pub fn or_empty(pattern: &str) -> String {
    format!("^$|{pattern}")
}

fn surrounded_by_spaces(pattern: &str) -> String {
    format!(r"^\s*{}\s*$", pattern.trim_start_matches('^').trim_end_matches('$'))
}

fn bounded(field: &'static str, text: String, max: usize) -> Result<String, ApiError> {
    if text.chars().count() > max {
        let message = format!("`{field}` must have at most {max} characters");
        return Err(ApiError::invalid_field(field, message));
    }
    Ok(text)
}

/// A text that is not empty.
///
/// # Errors
/// It is missing or empty.
pub fn required<T: AsRef<str>>(field: &'static str, text: Option<T>) -> Result<T, ApiError> {
    let text = text.filter(|text| !text.as_ref().is_empty());
    text.ok_or_else(|| ApiError::missing_field(field, format!("`{field}` is required")))
}

/// `None` for an empty text.
pub fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// A merge patch of a spec. Fields that a request does not have stay as they are.
#[derive(Default)]
pub struct SpecPatch(Map<String, Value>);

impl SpecPatch {
    /// Sets a field.
    pub fn set(&mut self, field: &str, value: Option<impl Into<Value>>) {
        self.0.extend(value.map(|value| (field.to_owned(), value.into())));
    }

    /// Sets a text. An empty one removes the field.
    pub fn text(&mut self, field: &str, text: Option<String>) {
        let value = text.map(|text| if text.is_empty() { Value::Null } else { text.into() });
        self.set(field, value);
    }

    /// Sets `displayName` and `description`.
    ///
    /// # Errors
    /// One of them is invalid.
    pub fn texts(
        &mut self,
        name: Option<Name>,
        description: Option<Description>,
    ) -> Result<(), ApiError> {
        self.set("displayName", name.map(Name::checked).transpose()?);
        self.text("description", description.map(Description::checked).transpose()?);
        Ok(())
    }
}

impl From<SpecPatch> for Value {
    fn from(patch: SpecPatch) -> Self {
        Self::Object(patch.0)
    }
}
