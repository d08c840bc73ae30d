//! The types of credential that a request may present.

/// The types of credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialType {
    /// JWTs of end users.
    AppUserIdToken,
    /// API keys of backends.
    ApiKey,
    /// Session tokens of members.
    SessionToken,
}

impl CredentialType {
    /// Every type.
    pub const ALL: [Self; 3] = [Self::AppUserIdToken, Self::ApiKey, Self::SessionToken];

    /// Its name in the documentation.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AppUserIdToken => "appUserIdToken",
            Self::ApiKey => "API key",
            Self::SessionToken => "session token",
        }
    }

    /// The type with this name in the configuration.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "appUserIdToken" => Some(Self::AppUserIdToken),
            "apiKey" => Some(Self::ApiKey),
            "sessionToken" => Some(Self::SessionToken),
            _ => None,
        }
    }
}
